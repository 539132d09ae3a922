"""Models by folder or by name: bit-equal when read back, and a paragraph where there is none."""

import builtins
import hashlib
import json
import shutil
import sys
import types

import numpy as np
import pytest

from neurogaze_fast import export as export_command
from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.deploy import Predictor, open_engine
from neurogaze_fast.deploy.model_card import Described, readme
from neurogaze_fast.errors import CheckpointError, ConfigError
from neurogaze_fast.student.inference import load_model
from tests.deploy.small_model import colour_faces, linked_copy, write_run


@pytest.fixture(scope="module")
def published(exported_run, small_set, tmp_path_factory):
    """(run, the folder that export --hub wrote of it)."""
    run = linked_copy(exported_run, tmp_path_factory.mktemp("published") / "run")
    folder = run.parent / "hub"
    options = ["--engine", "onnxruntime", "--data", small_set, "--hub", folder]
    export_command.main([str(option) for option in (run, *options, "--parity-faces", 20)])
    return run, folder


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_folder_read_back_is_bit_equal(published, engine):
    run, folder = published
    ours, back = load_model(run)[0].state_dict(), load_model(folder)[0].state_dict()
    assert all(np.array_equal(ours[name], back[name]) for name in ours)
    faces = colour_faces(5)
    wanted = open_engine(run, engine, precision="fp32", threads=1).run(faces)
    found = Predictor.from_pretrained(str(folder), engine, precision="fp32", threads=1)
    for one, other in zip(wanted, found.probabilities(faces), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_folder_holds_what_the_hub_takes_and_nothing_of_the_machine(published, tmp_path):
    run, folder = published
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        *("README.md", "config.json", "model.safetensors", "model.manifest.json"),
        *("export/fp32.onnx", "export/fp32.manifest.json", "export/onnxruntime-fp32.parity.json"),
    } == names
    config = json.loads((folder / "config.json").read_text())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert config["model_sha256"] == digest
    assert config["id2label"]["0"] == "neutral"
    assert config["synthetic"] is True
    assert read_manifest(folder / "model.safetensors")["provenance"]["data"]["source"] == "demo"
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".md"):
            assert str(run.parent.parent) not in path.read_text(), path


def test_the_hub_reads_the_cards_metadata(published):
    hub = pytest.importorskip("huggingface_hub")
    text = (published[1] / "README.md").read_text()
    assert text == readme(Described.read(published[1]))
    data = hub.ModelCard(text).data
    assert (data.license, data.library_name) == ("other", "neurogaze_fast")
    assert data.metrics == ["accuracy", "f1"]
    assert "synthetic" in data.tags
    assert "**drawn faces**" in text


def test_another_model_is_not_written_over_it(published, tmp_path, small_set, capsys):
    _, folder = published
    other = write_run(tmp_path / "other", size=16)
    before = (folder / "model.safetensors").read_bytes()
    options = ["--engine", "onnxruntime", "--data", small_set, "--hub", folder]
    with pytest.raises(SystemExit):
        export_command.main([str(option) for option in (other, *options, "--parity-faces", 5)])
    assert "holds something else than this model" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_damaged_folder_is_refused(published, tmp_path):
    copy = shutil.copytree(published[1], tmp_path / "copy")
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="altered or damaged"):
        Predictor.from_pretrained(copy, "torch")


def test_without_a_name_the_shipped_model_opens():
    assert Predictor.from_pretrained(engine="onnxruntime").engine.input_size == 48


def fake_hub(monkeypatch, download):
    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=download)
    )


def test_a_name_is_fetched_from_the_hub_without_code(published, monkeypatch, tmp_path):
    asked = {}

    def download(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(published[1])

    monkeypatch.chdir(tmp_path)
    fake_hub(monkeypatch, download)
    found = Predictor.from_pretrained("somebody/faces", "torch", revision="v1")
    assert found.engine.synthetic is True
    assert (asked["name"], asked["revision"]) == ("somebody/faces", "v1")
    assert not [pattern for pattern in asked["patterns"] if pattern.endswith((".py", "*"))
                and pattern != "export/*"]  # fmt: skip


def test_without_a_network_one_paragraph_says_what_to_do(monkeypatch, tmp_path):
    def download(*_arguments, **_options):
        raise OSError("no route to host\nTraceback")

    monkeypatch.chdir(tmp_path)
    fake_hub(monkeypatch, download)
    with pytest.raises(CheckpointError, match=r"no route to host Traceback.*needs no network"):
        Predictor.from_pretrained("somebody/faces")


def test_the_real_client_without_a_network_too(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match="could not be fetched"):
        Predictor.from_pretrained("somebody/faces")


def test_without_the_client_the_extra_is_named(monkeypatch, tmp_path):
    real = builtins.__import__

    def absent(name, *rest, **options):
        if name == "huggingface_hub":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest, **options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"neurogaze_fast\[hub\]"):
        Predictor.from_pretrained("somebody/faces")


@pytest.mark.parametrize("name", ["absent", "a/b/c", "../up", "owner/"])
def test_what_is_no_name_of_the_hub_is_not_asked_for(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fake_hub(monkeypatch, lambda *_a, **_o: pytest.fail("it was asked for"))
    with pytest.raises(CheckpointError, match="does not exist here"):
        Predictor.from_pretrained(name)
