"""What must hold of TensorRT on a GPU; run with ``make gpu``."""

import numpy as np
import pytest
import torch

from neurogaze_fast import export as export_command
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.engines.tensorrt_engine import BATCHES, TensorRTEngine, library
from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.faces.synthetic import draw_faces
from tests.deploy.small_model import SIZE

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def faces():
    return np.stack([prepare_face(image, SIZE) for image in draw_faces("train", 70)[0]])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_tensorrt_gives_the_models_answers(exported_run, small_set, faces, precision):
    options = ["--engine", "tensorrt", "--precision", precision, "--data", str(small_set)]
    export = export_command.parse([str(exported_run), *options])
    done = export_command.run(export) if precision != "int8" else _exported(export)
    assert done.engine_file.exists()
    engine = open_engine(exported_run, "tensorrt", precision=precision)
    wanted = open_engine(exported_run, "torch").run(faces)[0]
    for count in (0, 1, 3, 8, 33, 70):
        found = engine.run(faces[:count])[0]
        assert found.shape == (count, 8)
        tolerance = {"fp32": 2e-3, "fp16": 2e-2, "bf16": 1e-1, "int8": 0.6}[precision]
        np.testing.assert_allclose(found, wanted[:count], atol=tolerance)
    assert tuple(engine._lanes) == BATCHES  # no request waits for a capture
    many = engine.run(np.resize(faces, (300, SIZE, SIZE, 3)))[0]
    np.testing.assert_allclose(many[70:140], engine.run(faces)[0], atol=2e-2)
    # Batch sizes share one memory: they must not disturb one another, in any order.
    for count in (70, 1, 33, 2, 70, 1):
        np.testing.assert_allclose(engine.run(faces[:count])[0], many[:count], atol=2e-2)
    engine.close()


def test_tensorrt_rtx_gives_the_models_answers(exported_run, faces):
    graph = open_graph(exported_run / "export" / "fp32.onnx")
    trt = library("tensorrt-rtx")
    major, minor = torch.cuda.get_device_capability()
    if not hasattr(trt.module.ComputeCapability, f"SM{major}{minor}"):
        pytest.skip("TensorRT-RTX has no kernels for this GPU")
    engine = TensorRTEngine(trt, graph)
    wanted = open_engine(exported_run, "torch").run(faces)[0]
    for count in (1, 3, 70, 1):
        np.testing.assert_allclose(engine.run(faces[:count])[0], wanted[:count], atol=2e-3)
    engine.close()


def _exported(config):
    from neurogaze_fast.deploy.export.exporting import export

    return export(config)  # int8 of a fitted, untrained student may miss its limits


def test_auto_takes_the_gpu(exported_run, faces):
    engine = open_engine(exported_run)
    assert engine.name == "tensorrt"
    assert torch.cuda.get_device_name() in engine.detail
    before = engine.run(faces[:1])[0]
    assert open_engine(exported_run).run(faces[:1])[0] == pytest.approx(before)
