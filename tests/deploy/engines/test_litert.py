"""LiteRT: the model's answers from a .tflite, what it says of itself, and what is refused."""

import importlib
import io
import json
import zipfile

import numpy as np
import pytest

from neurogaze_fast import export as export_command
from neurogaze_fast.artifacts import read_manifest, write_artifact
from neurogaze_fast.deploy.engines.base import INPUT, EngineError
from neurogaze_fast.deploy.engines.litert_engine import FACTS, LABELS, check_litert
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.export import exporting
from neurogaze_fast.deploy.shipped import SHIPPED
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError, ConfigError
from tests.deploy.small_model import SIZE, colour_faces, linked_copy


def export(run, out, small_set, *options):
    """The command without its limits and its table."""
    options = ["--engine", "litert", "--out", str(out), "--data", str(small_set), *options]
    return exporting.export(export_command.parse([str(run), *options]))


@pytest.fixture(scope="module")
def folder(small_set, quick_timing, tmp_path_factory):
    """Both precisions of the network inside the package."""
    pytest.importorskip("litert_torch")
    out = tmp_path_factory.mktemp("litert")
    for precision in ("fp32", "int8"):
        report = export(SHIPPED, out, small_set, "--precision", precision).report
        assert report["label_agreement_interval"][1] > 0.97
    return out


def test_without_the_package_export_and_predict_say_how_to_install_it(
    fitted_run, small_set, tmp_path, monkeypatch
):
    real = importlib.import_module

    def absent(name):
        if name.split(".")[0] in ("ai_edge_litert", "litert_torch", "ai_edge_quantizer"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"pip install 'neurogaze_fast\[litert\]'"):
        export(fitted_run, tmp_path / "out", small_set)
    assert not (tmp_path / "out").exists()
    file = tmp_path / "litert-fp32.tflite"
    metadata = read_manifest(SHIPPED / "export" / "fp32.onnx")["provenance"]
    write_artifact(file, b"TFL3", metadata)
    for named in (file, tmp_path):  # auto takes a .tflite to be LiteRT's
        with pytest.raises(ConfigError, match=r"pip install 'neurogaze_fast\[litert\]'"):
            open_engine(named, "auto" if named == file else "litert")
    with pytest.raises(EngineError, match="use --engine litert"):
        open_engine(file, "openvino")
    with pytest.raises(EngineError, match="use --engine openvino or onnxruntime"):
        open_engine(SHIPPED / "export" / "fp32.onnx", "litert")


def test_what_it_cannot_be_is_said_before_the_work(fitted_run, small_set, tmp_path):
    for option in ("--triton", "--hub"):
        with pytest.raises(ConfigError, match="with --triton or --hub: they take ONNX"):
            export(fitted_run, tmp_path / "out", small_set, option, str(tmp_path / "to"))
    with pytest.raises(EngineError, match="--engine litert --precision fp32`"):
        open_engine(fitted_run, "litert")


def test_bf16_is_refused(fitted_run, small_set, tmp_path):
    pytest.importorskip("litert_torch")
    with pytest.raises(ConfigError, match="fp32 or int8, not bf16"):
        export(fitted_run, tmp_path, small_set, "--precision", "bf16")


def test_it_gives_the_models_answers_alone_and_among_others(folder):
    faces = colour_faces(5, 48)
    wanted, affect = open_engine(SHIPPED, "torch").run(faces)
    assert np.ptp(wanted.max(1)) > 1e-3  # they differ, or a mix-up would not show
    engine = open_engine(folder, "litert", threads=1)
    assert "fp32, 1 thread" in engine.detail
    np.testing.assert_allclose(engine.run(faces)[0], wanted, atol=1e-5)
    np.testing.assert_allclose(engine.run(faces)[1], affect, atol=1e-5)
    np.testing.assert_array_equal(engine.run(faces[3:4])[0], engine.run(faces)[0][3:4])
    eight = open_engine(folder / "litert-int8.tflite")
    assert eight.name == "litert"
    assert 1e-5 < np.abs(eight.run(faces)[0] - wanted).max() < 0.15


def test_a_resnet_at_another_side_and_without_a_temperature(
    fitted_run, small_set, quick_timing, tmp_path
):
    pytest.importorskip("litert_torch")
    done = export(fitted_run, tmp_path, small_set, "--input-size", "48")
    assert done.report["passed"] is True
    assert done.report["max_probability_difference"] < 5e-5
    assert done.graph.metadata["temperature"] == 1
    assert open_engine(tmp_path, "litert").input_size == 48 != SIZE  # a resize is inside


def test_labels_and_facts_lie_inside_and_beside(folder):
    for precision, most in (("fp32", 3e6), ("int8", 8e5)):
        path = folder / f"litert-{precision}.tflite"
        assert path.stat().st_size < most
        with zipfile.ZipFile(path) as archive:
            assert archive.read(LABELS).decode().split() == list(EMOTIONS)
            said = json.loads(archive.read(FACTS))
        beside = read_manifest(path)["provenance"]
        assert said["precision"] == precision == beside["precision"]
        assert said["model_sha256"] == beside["model"]["sha256"]
        assert {"temperature", "crop_margin", "licence", "size", "source"} <= said.keys()
        assert said["temperature"] == beside["temperature"] != 1
        report = json.loads((folder / f"litert-{precision}.parity.json").read_text())
        assert report["file_bytes"] == path.stat().st_size
        assert report["graph_sha256"] == read_manifest(path)["sha256"]
    assert read_manifest(path)["provenance"]["calibration"] is None


def test_the_same_export_is_reused(folder, small_set):
    assert export(SHIPPED, folder, small_set).reused


def test_any_program_that_knows_litert_can_run_it(folder):
    interpreter = importlib.import_module("ai_edge_litert.interpreter")
    runner = interpreter.Interpreter(str(folder / "litert-fp32.tflite")).get_signature_runner()
    shape = runner.get_input_details()[INPUT]["shape"]
    assert list(shape) == [1, 48, 48, 3]
    assert runner(images=np.zeros(shape, np.uint8))["probabilities"].sum() == pytest.approx(1)


def test_files_of_other_contents_are_refused(folder, tmp_path):
    path = folder / "litert-fp32.tflite"
    data, metadata = path.read_bytes(), read_manifest(path)["provenance"]
    check_litert(data, metadata, "it")
    end = io.BytesIO(data)
    with zipfile.ZipFile(end) as archive:
        said = json.loads(archive.read(FACTS))
    for other, message in (
        (data[:1000], "no LiteRT file"),
        (b"\xff" * 5000, "not one LiteRT graph"),
        (data.replace(said["model_sha256"].encode(), b"0" * 64), "no LiteRT file"),  # ZIP's sum
        (data[: data.rindex(b"PK\x03\x04")], "no LiteRT file"),
    ):
        with pytest.raises(ArtifactError, match=message):
            check_litert(other, metadata, "it")
    for key, value in (("temperature", 3.0), ("synthetic", True), ("emotions", ["joy"])):
        with pytest.raises(ArtifactError, match=f"for {key}, and its manifest"):
            check_litert(data, {**metadata, key: value}, "it")
    with pytest.raises(ArtifactError, match="another model than its manifest"):
        check_litert(data, {**metadata, "model": {"sha256": "00"}}, "it")


def test_operators_that_export_never_writes_are_refused(folder, monkeypatch):
    from neurogaze_fast.deploy.engines import litert_engine

    path = folder / "litert-fp32.tflite"
    known = litert_engine.OPERATORS - {"SOFTMAX"}
    monkeypatch.setattr(litert_engine, "OPERATORS", known)
    with pytest.raises(ArtifactError, match="never writes its operator number 25"):
        check_litert(path.read_bytes(), read_manifest(path)["provenance"], "it")


def test_a_file_of_another_model_is_refused(folder, fitted_run, tmp_path):
    run = linked_copy(fitted_run, tmp_path / "run")
    (run / "export").mkdir(exist_ok=True)
    for file in folder.iterdir():
        (run / "export" / file.name).symlink_to(file)
    with pytest.raises(ArtifactError, match="exported from another model"):
        open_engine(run, "litert")
