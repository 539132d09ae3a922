"""Published networks as teachers: the route to a bank, and what each refusal says.

Our side of it is tested with a package of two networks in braindecode's place; braindecode's own
are tried where it is installed (pip install 'neurogaze_fast[braindecode]').
"""

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from neurogaze_fast import build_prototypes as build_command
from neurogaze_fast import train_teacher as command
from neurogaze_fast.artifacts import read_manifest, verified_open, write_artifact
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.errors import CheckpointError, ConfigError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.teacher.inputs import InputMaker
from neurogaze_fast.teacher.model import embed, load_teacher, save_teacher
from neurogaze_fast.teacher.networks import SignalNet, make_network
from tests.eeg.trials import CONFIG, people
from tests.teacher.helpers import CPU

QUICK = (
    "--epochs 2 --batch-size 16 --width 8 --threads 1 --folds 2 --clip-folds 2 --train-subjects 2 "
    "--valid-subjects 1"
).split()


class StandIn(nn.Module):
    """As braindecode's networks are: made by these names, one vector a window."""

    least = 16

    def __init__(self, n_chans, n_outputs, n_times, sfreq, chs_info=None):
        super().__init__()
        if n_times < self.least:
            raise ValueError("too\n short")
        self.channels = chs_info
        self.layers = nn.Sequential(
            nn.Conv1d(n_chans, 8, 9), nn.BatchNorm1d(8), nn.ELU(), nn.AdaptiveAvgPool1d(4),
            nn.Flatten(), nn.Linear(32, n_outputs),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


class Dense(StandIn):
    """Answers every sample, not every window."""

    def forward(self, x):
        return x


class Late(StandIn):
    """Is made for any window, and refuses it once it sees it."""

    def forward(self, x):
        raise RuntimeError("kernel size 421 is greater than the input's 155")


@pytest.fixture
def stand_in(monkeypatch):
    """A braindecode with these networks, whether or not there is a real one."""
    package = types.ModuleType("braindecode")
    package.models = types.ModuleType("braindecode.models")
    package.__version__ = "0.stand-in"
    package.models.NoNetwork = dict
    for kind in (StandIn, Dense, Late):
        setattr(package.models, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "braindecode", package)
    monkeypatch.setitem(sys.modules, "braindecode.models", package.models)


@pytest.fixture(scope="module")
def signals():
    return build_maps(people(), replace(CONFIG, keep_signals=True), synthetic=True)


@pytest.fixture(scope="module")
def folder(signals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals") / "maps"
    signals.save(folder)
    return folder


def check_route(name, folder, tmp_path, capsys):
    """Train, score and make the bank as a user does; return the teacher's manifest."""
    out = tmp_path / "teacher"
    command.main([str(folder), *QUICK, "--model", name, "--out", str(out)])
    said = " ".join(capsys.readouterr().out.split())
    assert f"Teacher: braindecode's {name} over signals, divided by each person's own" in said
    scores = json.loads((out / "scores.json").read_text())
    for part in (scores, scores["people_and_clips_out"]):
        assert {"teacher", "ridge", "mean"} <= part["pooled"]["trial"].keys()
    assert "clip_mean" in scores["pooled"]["trial"]
    _, manifest = verified_open(out / "teacher.safetensors")
    assert manifest["network"]["name"] == name
    assert manifest["environment"]["braindecode"] == sys.modules["braindecode"].__version__
    build_command.main([str(out), "--min-subjects", "1"])
    bank = PrototypeBank.load(out / "bank.safetensors")
    weights = read_manifest(out / "teacher.safetensors")["sha256"]
    assert bank.provenance["teacher"]["sha256"] == weights
    assert bank.provenance["maps"]["sha256"] == manifest["maps"]["sha256"]
    assert bank.provenance["subjects"] == manifest["split"]["valid"]
    assert (out / "bank_films_out.safetensors").exists()
    return manifest


def test_a_network_goes_all_the_way_to_a_bank(stand_in, folder, tmp_path, capsys):
    check_route("StandIn", folder, tmp_path, capsys)


@pytest.mark.parametrize("name", ["EEGNet", "TSception", "ShallowFBCSPNet", "DGCNN"])
def test_braindecodes_own_go_all_the_way_to_a_bank(name, folder, tmp_path, capsys):
    pytest.importorskip("braindecode", reason="the extra braindecode is not installed")
    check_route(name, folder, tmp_path, capsys)


def test_braindecodes_late_refusals_are_named_before_training():
    pytest.importorskip("braindecode", reason="the extra braindecode is not installed")
    with pytest.raises(ConfigError, match="HybridNet cannot be used for 14 channels of 256"):
        SignalNet("HybridNet", 14, 256, 128.0, 8)
    with pytest.raises(ConfigError, match="chs_info"):
        SignalNet("DGCNN", 14, 256, 128.0, 8)


def test_the_network_sees_one_row_as_it_sees_many_and_comes_back_as_it_was(
    stand_in, signals, tmp_path
):
    torch.manual_seed(3)
    model = make_network("StandIn", signals, 8)
    store = InputMaker(signals, "subject", "StandIn", CPU).of(np.arange(4)).store
    assert store.maps.shape[1:] == (14, 1, 256)
    rows = np.arange(12)
    whole = embed(model, store.maps, rows, device=CPU)
    alone = embed(model, store.maps, rows[5:6], device=CPU)
    np.testing.assert_allclose(whole[0][5], alone[0][0], atol=1e-5)
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, model, {"maps": {}, "split": {}, "synthetic": True})
    back, _ = load_teacher(path)
    for one, other in zip(whole, embed(back, store.maps, rows, device=CPU), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [channel["ch_name"] for channel in back.body.channels] == list(signals.names)


def test_the_network_is_told_where_the_sites_are(stand_in, signals):
    body = make_network("StandIn", signals, 8).body
    place = {channel["ch_name"]: channel["loc"][:3] for channel in body.channels}
    assert place["AF3"][0] < 0 < place["AF4"][0]  # left and right
    assert place["O1"][1] < 0 < place["AF3"][1]  # back and front
    assert np.linalg.norm(place["T7"]) == pytest.approx(0.095, abs=0.02)
    # One site that has no place, and none has: networks that need them say so.
    odd = SignalNet("StandIn", 2, 256, 128.0, 8, ["AF3", "E999"]).body.channels
    assert not any(np.isfinite(channel["loc"][:3]).all() and channel["loc"][:3].any()
                   for channel in odd)  # fmt: skip


def test_a_teacher_saved_before_names_were_kept_is_read(stand_in, tmp_path):
    model = SignalNet("StandIn", 14, 256, 128.0, 8)
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, model, {"maps": {}, "split": {}, "synthetic": True})
    data, manifest = verified_open(path)
    network = {key: value for key, value in manifest["network"].items() if key != "names"}
    write_artifact(path, data, manifest | {"network": network | {"more": 1}})
    assert load_teacher(path)[0].body.channels is None
    write_artifact(path, data, manifest | {"network": network | {"names": 3}})
    with pytest.raises(CheckpointError, match=r"network\.names"):
        load_teacher(path)


@pytest.mark.parametrize(
    ("name", "samples", "said"),
    [
        ("StandIn", 8, r"StandIn cannot be used for 14 channels of 8 samples .*: too short\."),
        ("Late", 256, r"Late cannot be used for .*421 is greater"),
        ("Dense", 256, r"Dense answers \[2, 14, 256\] where \[N, 8\] is needed.*another --model"),
        ("EEGNot", 256, r"no model 'EEGNot'\. It has Dense, Late, StandIn\."),
        ("NoNetwork", 256, "no model 'NoNetwork'"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_reason(stand_in, name, samples, said):
    with pytest.raises(ConfigError, match=said):
        SignalNet(name, 14, samples, 128.0, 8)


def test_a_missing_package_is_named_and_leaves_no_folder(monkeypatch, folder, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "braindecode", None)
    out = tmp_path / "teacher"
    with pytest.raises(SystemExit) as stop:
        command.main([str(folder), *QUICK, "--model", "EEGNet", "--out", str(out)])
    assert stop.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "EEGNet needs braindecode" in said
    assert "pip install 'neurogaze_fast[braindecode]'" in said
    assert not out.exists()
