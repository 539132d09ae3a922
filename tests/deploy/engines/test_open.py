"""Every CPU engine: the model's answers, any number of faces, and reasons where it cannot run."""

import importlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.torch
import torch

from neurogaze_fast.artifacts import manifest_path, verified_open, write_artifact
from neurogaze_fast.deploy.engines import open as engine_module
from neurogaze_fast.deploy.engines import openvino_engine, torch_engine
from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.open import open_engine, parity_file
from neurogaze_fast.deploy.engines.source import newest_run
from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.errors import ArtifactError, CheckpointError, ConfigError
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import load_model, predict_logits
from tests.deploy.small_model import SIZE, linked_copy, write_run

ON_CPU = ("openvino", "onnxruntime", "torch")


@pytest.fixture(scope="module")
def faces():
    return np.stack([prepare_face(image, SIZE) for image in draw_faces("valid", 70)[0]])


@pytest.fixture(scope="module")
def wanted(exported_run, faces):
    model, _ = load_model(exported_run)
    logits = predict_logits(model, faces[..., 0], size=SIZE, device=torch.device("cpu"))
    return torch.from_numpy(logits).softmax(1).numpy()


@pytest.fixture(scope="module", params=ON_CPU)
def opened(request, exported_run):
    engine = open_engine(exported_run, request.param, precision="fp32", threads=1)
    yield engine
    engine.close()


def test_answers_are_the_models(opened, faces, wanted):
    probabilities, affect = opened.run(faces)
    assert probabilities.dtype == affect.dtype == np.float32
    np.testing.assert_allclose(probabilities, wanted, atol=1e-4)
    assert len(set(wanted.argmax(1))) > 3  # the comparison is not of a constant
    assert affect.shape == (70, 2)
    assert opened.synthetic is True
    assert opened.input_size == SIZE
    assert "fp32" in opened.detail
    assert opened.name in ON_CPU


def test_any_number_of_faces(opened, faces):
    whole = opened.run(faces)
    for count in (0, 1, 2, 69):
        part = opened.run(faces[:count])
        assert part[0].shape == (count, 8)
        assert part[1].shape == (count, 2)
        np.testing.assert_allclose(part[0], whole[0][:count], atol=1e-5)
    many = opened.run(np.resize(faces, (260, SIZE, SIZE, 3)))  # more than one piece
    np.testing.assert_allclose(many[0][256:260], whole[0][np.arange(256, 260) % 70], atol=1e-5)


def test_answers_stay_when_the_next_are_computed(opened, faces):
    first = opened.run(faces[:1])[0]
    before = first.copy()
    opened.run(faces[1:2])
    np.testing.assert_array_equal(first, before)


def test_arrays_as_they_come(opened, faces):
    wanted = opened.run(faces[::2])[0]
    frozen = np.ascontiguousarray(faces[::2])
    frozen.setflags(write=False)
    np.testing.assert_allclose(opened.run(frozen)[0], wanted, atol=1e-6)


def test_threads_may_share_an_engine(opened, faces):
    wanted = opened.run(faces)[0]
    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(opened.run, faces[i : i + 1]) for i in range(16)]
        for index, future in enumerate(work):
            np.testing.assert_allclose(future.result()[0][0], wanted[index], atol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((1, SIZE + 1, SIZE, 3), np.uint8),
        np.zeros((1, 3, SIZE, SIZE), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        [[1]],
    ],
    ids=["floats", "size", "channels first", "one face", "list"],
)
def test_other_input_is_refused(opened, images):
    with pytest.raises(EngineError, match=rf"uint8 \[N, {SIZE}, {SIZE}, 3\]"):
        opened.run(images)


def test_a_closed_engine_says_so(exported_run, faces):
    engine = open_engine(exported_run, "onnxruntime")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        engine.run(faces[:1])


def test_answers_that_are_not_finite_are_refused(exported_run, faces):
    engine = open_engine(exported_run, "torch")
    engine._graph.student.fc.bias.fill_(torch.nan)
    with pytest.raises(EngineError, match="not finite for 2 of 2 faces"):
        engine.run(faces[:2])
    engine._graph.student.fc.bias.fill_(0)
    engine._graph.affect[0, 1] = torch.inf  # valence and arousal alone
    with pytest.raises(EngineError, match="not finite for 2 of 2 faces"):
        engine.run(faces[:2])


def test_auto_takes_bf16_only_with_a_passing_report(exported_run, tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engine = open_engine(exported_run)
    assert engine.name == "openvino"
    assert "fp32" in engine.detail
    assert "openvino in bf16: no parity report" in engine.passed_over[0]
    folder = tmp_path / "run"
    linked_copy(exported_run, folder)
    report = parity_file(folder / "export", "openvino", "fp32").read_text()
    parity_file(folder / "export", "openvino", "bf16").write_text(report)
    monkeypatch.setattr(openvino_engine, "OpenVinoEngine", Recorder)
    assert open_engine(folder).precision == "bf16"
    changed = report.replace('"passed": true', '"passed": false')
    parity_file(folder / "export", "openvino", "bf16").write_text(changed)
    engine = open_engine(folder)
    assert engine.precision == "fp32"
    assert "changes answers" in engine.passed_over[0]


class Recorder:
    """Stands in for an engine that this processor may not have."""

    def __init__(self, graph, precision, threads):
        self.precision, self.passed_over = precision, []


def test_auto_passes_over_what_is_missing_and_strict_does_not(exported_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(openvino_engine, "_core", openvino_engine._core.__wrapped__)
    engine = open_engine(exported_run)
    assert engine.name == "onnxruntime"
    assert "openvino" in engine.passed_over[0]
    assert "pip install 'neurogaze_fast[onnx]'" in engine.passed_over[0]
    with pytest.raises(ConfigError, match="'openvino' is not installed"):
        open_engine(exported_run, strict=True)
    with pytest.raises(ConfigError, match="'openvino' is not installed"):
        open_engine(exported_run, "openvino")


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_auto_passes_over_a_broken_library(exported_run, monkeypatch, error):
    real = importlib.import_module

    def broken(name):
        if name in ("openvino", "onnxruntime"):
            raise error("libfoo.so.2: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setattr(openvino_engine, "_core", openvino_engine._core.__wrapped__)
    engine = open_engine(exported_run)
    assert engine.name == "torch"
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(EngineError, match=rf"{name} cannot be imported: libfoo.*Reinstall"):
            open_engine(exported_run, name)


def test_auto_passes_over_an_openvino_without_a_device(exported_run, monkeypatch):
    class Core:
        def get_property(self, *_):
            raise RuntimeError("no CPU plugin")

    monkeypatch.setattr(openvino_engine, "openvino_core", Core)
    engine = open_engine(exported_run)
    assert engine.name == "onnxruntime"
    assert "does not start here (no CPU plugin)" in engine.passed_over[0]


def test_a_device_without_room_is_an_engine_error(exported_run, monkeypatch):
    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch_engine.FaceGraph, "to", full)
    with pytest.raises(EngineError, match="CUDA out of memory"):
        open_engine(exported_run, "torch")


def test_auto_runs_a_checkpoint_that_was_never_exported(tmp_path, fitted_run):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("model.safetensors", "model.manifest.json"):
        shutil.copy(fitted_run / name, folder)
    for path in (folder, folder / "model.safetensors"):
        engine = open_engine(path)
        assert engine.name == "torch"
        assert "has no fp32 graph" in engine.passed_over[0]
        assert "neurogaze-fast export" in engine.passed_over[0]


def test_a_damaged_graph_is_refused_not_passed_over(exported_run, tmp_path):
    folder = tmp_path / "run"
    linked_copy(exported_run, folder)
    file = folder / "export" / "fp32.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    file.write_bytes(data)
    for name in ("auto", "openvino", "onnxruntime"):
        with pytest.raises(ArtifactError, match="altered or damaged"):
            open_engine(folder, name)


def test_a_graph_of_another_model_is_refused(exported_run, tmp_path):
    folder = write_run(tmp_path / "run", size=16)
    linked_copy(exported_run / "export", folder / "export")
    with pytest.raises(ArtifactError, match="exported from another model"):
        open_engine(folder)


def test_a_graph_alone_is_enough_but_not_for_torch(exported_run, tmp_path, faces, wanted):
    graph = exported_run / "export" / "fp32.onnx"
    for path in (graph, manifest_path(graph)):
        shutil.copy(path, tmp_path)
    for path in (tmp_path, tmp_path / "fp32.onnx"):
        found = open_engine(path, "onnxruntime").run(faces)[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    with pytest.raises(EngineError, match="exported graph only"):
        open_engine(tmp_path / "fp32.onnx", "torch")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": "onnx"}, ConfigError, "'onnx' cannot run a model"),
        ({"engine": "caffe"}, ConfigError, "choose one of auto, openvino"),
        ({"precision": "fp8"}, ConfigError, "'fp8' is unknown"),
        ({"threads": -1}, ConfigError, "0 or more"),
        ({"engine": "openvino", "precision": "fp16"}, EngineError, "no fp16 graph"),
        ({"engine": "onnxruntime", "precision": "int8"}, EngineError, "no int8 graph"),
        ({"engine": "torch", "precision": "int8"}, EngineError, "cannot compute int8"),
    ],
)
def test_what_cannot_be_is_said(exported_run, tmp_path, options, error, message, monkeypatch):
    folder = tmp_path / "run"  # without the int8 graph that other tests add
    (folder / "export").mkdir(parents=True)
    for name in ("model.safetensors", "model.manifest.json"):
        (folder / name).symlink_to(exported_run / name)
    for name in ("fp32.onnx", "fp32.manifest.json"):
        (folder / "export" / name).symlink_to(exported_run / "export" / name)
    with pytest.raises(error, match=message):
        open_engine(folder, **options)


def test_a_path_without_a_model_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        open_engine(tmp_path)


def test_newest_run_is_the_last_that_finished(tmp_path):
    with pytest.raises(CheckpointError, match="no finished run"):
        newest_run(tmp_path)
    import os

    for age, name in ((5, "old"), (1, "new"), (9, "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"")
        os.utime(tmp_path / name / "model.safetensors", (1000 - age, 1000 - age))
    (tmp_path / "unfinished").mkdir()
    assert newest_run(tmp_path) == tmp_path / "new"
    assert engine_module.ENGINES == (
        "onnx", "openvino", "onnxruntime", "litert", "tensorrt", "tensorrt-rtx", "torch",
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_exported_graph_runs_without_loading_torch(exported_run, engine):
    """Importing torch takes longer than everything else a start does."""
    code = (
        "import sys, numpy as np\n"
        "from neurogaze_fast.deploy import Predictor\n"
        f"predictor = Predictor({str(exported_run)!r}, {engine!r})\n"
        "side = predictor.engine.input_size\n"
        "predictor.predict(np.zeros((side, side), np.uint8))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights, metadata: weights.pop("fc.weight"), r"missing: fc\.weight"),
        (
            lambda weights, metadata: weights.update(
                {"fc.weight": weights["fc.weight"][:4].clone()}
            ),
            r"other shape: fc\.weight",
        ),
        (lambda weights, metadata: metadata.pop("synthetic"), "synthetic|drawn faces"),
    ],
    ids=["no classifier", "four rows", "made of what"],
)
def test_a_model_that_is_not_whole_is_never_served(fitted_run, tmp_path, change, message):
    data, metadata = verified_open(fitted_run / "model.safetensors")
    weights = safetensors.torch.load(data)
    change(weights, metadata)
    write_artifact(tmp_path / "model.safetensors", safetensors.torch.save(weights), metadata)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(CheckpointError, match=message):
            open_engine(path)
