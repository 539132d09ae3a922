"""The model inside the package: it answers as it did when it was shipped, or not at all."""

import json
import shutil

import numpy as np
import pytest

from neurogaze_fast import predict as predict_command
from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.deploy import Predictor, shipped
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.shipped import SHIPPED, describe, find_model, open_model
from neurogaze_fast.errors import ArtifactError, CheckpointError
from neurogaze_fast.faces.synthetic import draw_faces

EXPECTED = SHIPPED / "expected.json"


def ten_faces():
    return draw_faces("valid", 10)[0]


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_it_gives_the_stored_answers_for_ten_drawn_faces(engine):
    wanted = json.loads(EXPECTED.read_text())
    faces = ten_faces()
    predictor = Predictor(engine=engine, precision="fp32", threads=1)
    found = predictor.predict(list(faces))
    assert [face.label for face in found] == wanted["labels"]
    probabilities = np.array([list(face.probabilities.values()) for face in found])
    np.testing.assert_allclose(probabilities, wanted["probabilities"], atol=2e-3)
    assert len(set(wanted["labels"])) > 1, "ten faces of one label would show little"


def test_every_engine_carries_the_temperature():
    metrics = json.loads((SHIPPED / "metrics.json").read_text())
    temperature = metrics["once"]["temperature"]
    assert 0.2 < temperature < 5
    assert temperature != 1
    assert (
        read_manifest(SHIPPED / "export" / "fp32.onnx")["provenance"]["temperature"] == temperature
    )
    faces = np.repeat(ten_faces()[..., None], 3, axis=3)
    size = open_engine(SHIPPED, "torch").input_size
    assert faces.shape[1] == size
    torch_, onnx = (open_engine(SHIPPED, name, precision="fp32").run(faces)[0]
                    for name in ("torch", "onnxruntime"))  # fmt: skip
    np.testing.assert_allclose(torch_, onnx, atol=1e-4)


def test_without_a_model_the_shipped_one_answers_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from PIL import Image

    Image.fromarray(ten_faces()[0]).resize((96, 96)).save("face.png")
    predict_command.main(["face.png", "--no-detect", "--threads", "1"])
    said = " ".join(capsys.readouterr().out.split())
    assert "the compact network inside the package" in said
    assert "% right" in said
    assert "more than half of the votes" in said
    assert "Licence: the code is MIT" in said
    assert len((tmp_path / "predictions" / "results.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "model.manifest.json", "export/fp32.onnx"])
def test_a_flipped_byte_is_refused_and_says_what_to_do(name, tmp_path, monkeypatch):
    copy = tmp_path / "compact"
    shutil.copytree(SHIPPED, copy)
    monkeypatch.setattr(shipped, "SHIPPED", copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    engine = "onnxruntime" if name.endswith("onnx") else "torch"
    with pytest.raises(ArtifactError, match="install neurogaze_fast again"):
        open_model(find_model(None), engine)


@pytest.mark.parametrize("name", ["model.manifest.json", "export/fp32.manifest.json"])
def test_a_missing_manifest_says_what_to_do(name, tmp_path, monkeypatch):
    copy = tmp_path / "compact"
    shutil.copytree(SHIPPED, copy)
    monkeypatch.setattr(shipped, "SHIPPED", copy)
    (copy / name).unlink()
    for engine in ("auto", "onnxruntime"):
        with pytest.raises(ArtifactError, match="install neurogaze_fast again"):
            open_model(None, engine)


def test_weights_cut_short_are_refused(tmp_path, monkeypatch):
    copy = tmp_path / "compact"
    shutil.copytree(SHIPPED, copy)
    monkeypatch.setattr(shipped, "SHIPPED", copy)
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="install neurogaze_fast again"):
        open_model(None, "torch")


def test_a_missing_file_says_how_to_get_it_back(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="install neurogaze_fast again"):
        find_model(None)


def test_its_card_holds_where_it_comes_from_and_no_place_of_a_machine():
    provenance = read_manifest(SHIPPED / "model.safetensors")["provenance"]
    assert provenance["architecture"] == "compact"
    assert provenance["data"]["source"] == "ferplus"
    assert provenance["data"]["synthetic"] is provenance["synthetic"] is False
    assert provenance["options"]["seed"] >= 0
    for path in SHIPPED.rglob("*.json"):
        text = path.read_text()
        assert not [place for place in ("/work", "/home", "/root") if place in text], path
    assert (SHIPPED / "model.safetensors").stat().st_size <= 3e6
    assert (SHIPPED / "export" / "fp32.onnx").stat().st_size <= 3e6


def test_another_model_is_described_by_its_own_scores(fitted_run):
    assert describe(fitted_run) == [f"Model: {fitted_run}"]  # it has no metrics.json
    assert describe(fitted_run / "export" / "fp32.onnx")[0].endswith("fp32.onnx")


def test_newest_is_a_word_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        predict_command.main(["x.png", "--model", "newest"])
    assert "no finished run" in capsys.readouterr().err
