"""What version 0.1.0 wrote opens as it did then (tests/witness)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from neurogaze_fast import evaluate as evaluate_command
from neurogaze_fast.ablation.results import collect
from neurogaze_fast.artifacts import read_manifest, write_artifact
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.evaluation.verify import verify_run
from neurogaze_fast.faces.load import load_faces
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.student.config import TrainConfig, train_config_from_json
from neurogaze_fast.student.resnet import ResNet
from neurogaze_fast.teacher.config import TrainTeacherConfig, teacher_config_from_json
from neurogaze_fast.teacher.model import TeacherNet, load_teacher

WITNESS = Path(__file__).parent / "witness"
WEIGHTS = json.loads((WITNESS / "weights.json").read_text())
DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "BOOL": "?", "U8": "u1"}


def written(*path):
    return json.loads(WITNESS.joinpath(*path).read_text())


def tensors(path):
    """The arrays of a safetensors file, read by its specification."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(
            data[end + entry["data_offsets"][0] : end + entry["data_offsets"][1]],
            DTYPES[entry["dtype"]],
        ).reshape(entry["shape"])
        for name, entry in header.items()
    }


def made_up_weights(shapes, seed=0):
    """Weights of these names and shapes, small enough for finite outputs."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.ones(shape)
        else:
            state[name] = 0.05 * torch.randn(shape, generator=generator)
    return state


def resealed(folder, name, shapes):
    """Put a model of made-up weights into `folder`, under the provenance the witness has."""
    from safetensors.torch import save

    provenance = read_manifest(WITNESS / folder.name / name)["provenance"]
    state = made_up_weights(shapes)
    write_artifact(folder / name, save(state), provenance)
    return state


@pytest.fixture
def run(tmp_path):
    """The witness run with a model of made-up weights."""
    folder = shutil.copytree(WITNESS / "run", tmp_path / "run")
    resealed(folder, "model.safetensors", WEIGHTS["resnet18 small"])
    return folder


def test_the_bank_opens_with_the_values_it_was_written_with():
    bank = PrototypeBank.load(WITNESS / "run" / "bank.safetensors", width=16, grid=5)
    values = tensors(WITNESS / "run" / "bank.safetensors")
    for name in ("prototypes", "counts", "subjects", "filled_from", "centres"):
        found = getattr(bank, name)
        assert found.dtype == values[name].dtype, name
        np.testing.assert_array_equal(found, values[name])
    assert (bank.counts.sum(), bank.synthetic) == (32, True)
    assert bank.sha256 == written("run", "config.json")["bank"]["sha256"]


def test_the_maps_open_with_the_values_they_were_written_with():
    maps = MapSet.load(WITNESS / "maps")
    values = tensors(WITNESS / "maps" / "maps-00000.safetensors")
    for name, value in values.items():
        np.testing.assert_array_equal(getattr(maps, name), value)
    assert len(values) == 8
    assert maps.subjects[0] == "dreamer-01"
    assert maps.sha256 == written("teacher", "config.json")["maps"]["sha256"]


@pytest.mark.parametrize(
    ("folder", "read", "kind", "paths"),
    [
        ("run", train_config_from_json, TrainConfig, {"data", "bank", "out"}),
        ("teacher", teacher_config_from_json, TrainTeacherConfig, {"maps", "out"}),
    ],
)
def test_the_options_are_read_one_for_one(folder, read, kind, paths):
    config = read(WITNESS / folder / "config.json")
    recorded = written(folder, "config.json")["config"]
    assert isinstance(config, kind)
    assert vars(config).keys() >= recorded.keys()
    for name, value in recorded.items():
        found = getattr(config, name)
        if isinstance(found, tuple):  # options that took one word then take several now
            (found,) = found
        assert found == (Path(value) if name in paths else value), name
    if kind is TrainConfig:
        assert config.kd_view == "plain"  # what a run as KD teacher looked at in that version
        assert config.class_weight_mean == "classes"  # what it trained with
        assert not config.winograd  # so do all of its steps, when it is gone on with


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_students_have_the_weights_they_had(architecture, stem):
    with torch.device("meta"):
        state = ResNet(architecture, stem=stem).state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == WEIGHTS[
        f"{architecture} {stem}"
    ]


def test_the_teacher_has_the_weights_it_had(tmp_path):
    with torch.device("meta"):
        state = TeacherNet().state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == WEIGHTS["teacher"]
    folder = shutil.copytree(WITNESS / "teacher", tmp_path / "teacher")
    with torch.device("meta"):
        small = TeacherNet(bands=2, width=16).state_dict()
    state = resealed(folder, "teacher.safetensors", {k: v.shape for k, v in small.items()})
    model, metadata = load_teacher(folder)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert metadata["split"]["valid"] == ["dreamer-01", "dreamer-02"]
    assert metadata["maps"]["sha256"] == written("teacher", "config.json")["maps"]["sha256"]


def test_the_shards_are_the_set_the_run_was_trained_on():
    faces = load_faces("shards", WITNESS / "shards", side=16)
    recorded = written("run", "config.json")["data"]
    assert faces.sha256 == recorded["sha256"]
    assert {name: len(split) for name, split in faces.splits.items()} == recorded["rows"]
    assert faces.synthetic


def test_the_run_is_evaluated_on_its_set(run, tmp_path, capsys):
    where = ["--data", str(WITNESS / "shards"), "--out", str(tmp_path / "out"), "--json"]
    evaluate_command.main([str(run), *where])
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["valid"]["n"] == 12
    # The training images that the run kept are compared with these.
    assert metrics["valid"]["duplicates"] == {"known": True, "n": 0}


def test_the_run_is_what_its_fingerprint_says_but_for_the_made_up_weights(run):
    checks = verify_run(run, device=torch.device("cpu"), data=WITNESS / "shards")
    found = {check.what: check.result for check in checks}
    assert found.pop("model") == "differs"
    scores = {what: found.pop(what) for what in list(found) if what.startswith("scores")}
    assert scores
    assert set(found) == {
        "fingerprint.json", "config.json", "bank", "metrics.json", "training images", "data"
    }  # fmt: skip
    assert set(found.values()) == {"ok"}


def test_an_ablation_reads_the_run(tmp_path):
    shutil.copytree(WITNESS / "run", tmp_path / "runs" / "b3" / "seed0")
    (result,) = collect(tmp_path)
    history = written("run", "history.json")
    assert result.score("accuracy") == written("run", "metrics.json")["valid"]["8way"]["accuracy"]
    assert result.curve("macro_f1").tolist() == [e["valid"]["macro_f1"] for e in history]


@pytest.mark.parametrize(
    "name",
    ["run/model.safetensors", "run/bank.safetensors", "teacher/teacher.safetensors"],
)
def test_manifests_are_accepted(name):
    manifest = read_manifest(WITNESS / name)
    assert manifest["provenance"]["kind"] in ("student", "prototype bank", "teacher")


def test_the_scores_of_the_teacher_have_the_shape_the_plots_read(tmp_path):
    from neurogaze_fast.teacher.plots import plot_scores

    plot_scores(written("teacher", "scores.json"), tmp_path / "scores.png")
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
