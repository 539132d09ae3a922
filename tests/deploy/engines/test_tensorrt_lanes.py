"""TensorRT's lanes on an imaginary GPU: captured or not, sharing memory, and other interfaces."""

import sys

import numpy as np
import pytest
import torch

from neurogaze_fast.deploy.engines import open as engine_module
from neurogaze_fast.deploy.engines import tensorrt_build
from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.engines.tensorrt_build import Library, build, library
from neurogaze_fast.deploy.engines.tensorrt_engine import BATCHES
from tests.deploy.engines.fake_tensorrt import DECLARED, Gpu
from tests.deploy.engines.tiny_graph import tiny, written


@pytest.fixture
def graph(tmp_path):
    return open_graph(written(tmp_path, tiny()))


@pytest.fixture
def gpu(monkeypatch):
    return Gpu().installed(monkeypatch)


def faces(count):
    levels = np.linspace(5, 250, count).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (count, 16, 16, 3)))


def assert_right(engine, count):
    images = faces(count)
    probabilities, affect = engine.run(images)
    grey = images[:, 0, 0, 0] / 255
    np.testing.assert_allclose(probabilities, np.outer(grey, np.arange(1, 9)), rtol=1e-6)
    np.testing.assert_allclose(affect, np.outer(grey, (1, -1)), rtol=1e-6)


COUNTS = (1, 3, 70, 2, 256, 1, 300, 9)


def test_every_size_replays_a_graph_of_its_own(gpu, graph):
    engine = gpu.open(graph)
    gpu.ran.clear()
    for count in COUNTS:
        assert_right(engine, count)
    assert gpu.ran == [("graph", batch) for batch in (1, 4, 128, 2, 256, 1, 256, 64, 16)]
    assert engine.passed_over == []
    assert "CUDA graphs" in engine.detail
    engine.close()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        TypeError("graph() got an unexpected keyword argument"),
    ],
    ids=["refused", "other interface"],
)
def test_a_size_that_cannot_be_captured_is_computed_call_after_call(gpu, graph, error):
    gpu.uncapturable = {4: error, 256: error}
    engine = gpu.open(graph)
    gpu.ran.clear()
    for count in COUNTS:
        assert_right(engine, count)
    assert gpu.ran == [
        ("context" if batch in (4, 256) else "graph", batch)
        for batch in (1, 4, 128, 2, 256, 1, 256, 64, 16)
    ]
    (said,) = engine.passed_over
    assert "without CUDA graphs for batches of 4, 256" in said
    assert str(error) in said
    assert engine.detail.endswith(", CUDA graphs")


def test_where_nothing_can_be_captured_the_detail_says_so(gpu, graph):
    gpu.uncapturable = dict.fromkeys(BATCHES, RuntimeError("no capture"))
    engine = gpu.open(graph)
    assert_right(engine, 70)
    assert engine.detail.endswith(", no CUDA graphs")


def test_a_failed_capture_that_broke_the_gpu_is_an_error(gpu, graph):
    class Breaking(RuntimeError):
        def __str__(self):
            gpu.profile_bytes = (10 * DECLARED,) * 4  # from now on nothing runs
            return "an illegal memory access was encountered"

    gpu.uncapturable = {1: Breaking()}
    with pytest.raises(EngineError, match=r"cannot run a batch of 1: needs 640 bytes"):
        gpu.open(graph)


def test_one_memory_does_for_the_profile_that_needs_most(gpu, graph):
    gpu.profile_bytes = (8, 5000, 64, 700)
    engine = gpu.open(graph)
    assert engine._memory.numel() == 5000
    for count in COUNTS:
        assert_right(engine, count)


@pytest.mark.parametrize(
    "changes",
    [
        {"Runtime": None},
        {"ILogger": None},
        {"ExecutionContextAllocationStrategy": None},
        {"Runtime": lambda: None},  # takes no logger any more
        {"Runtime": lambda log: pytest.importorskip},
    ],
    ids=["no runtime", "no logger", "no strategy", "other arguments", "other engine"],
)
def test_another_interface_is_an_engine_error(gpu, graph, changes):
    with pytest.raises(EngineError, match=r"tensorrt 10\.9\.0 cannot run .*(Attribute|Type)Error"):
        gpu.open(graph, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, r"tensorrt 10\.9\.0 cannot build .*AttributeError.*Builder"),
        ({"__version__": None}, r"does not say which version it is \(AttributeError"),
        ({"__version__": "next"}, r"does not say which version it is \(ValueError"),
    ],
    ids=["no builder", "no version", "odd version"],
)
def test_auto_passes_over_another_interface_and_says_why(
    exported_run, gpu, monkeypatch, changes, said
):
    monkeypatch.undo()  # the real torch, which only is told that there is a GPU
    monkeypatch.setitem(sys.modules, "tensorrt", gpu.library(**changes))
    monkeypatch.setattr(engine_module, "_order", lambda: ("tensorrt", "openvino"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(tensorrt_build, "device_key", lambda: {"sm": "9.0"})
    engine = open_engine(exported_run)
    assert engine.name == "openvino"
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(engine.passed_over[0])
    with pytest.raises(EngineError, match=said):
        open_engine(exported_run, strict=True)


def test_building_for_export_reports_another_interface(gpu, graph, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(EngineError, match=r"cannot build .*AttributeError.*another release"):
        build(Library("tensorrt", gpu.library()), graph)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_whatever_an_engine_raises_auto_goes_on(exported_run, monkeypatch, engine):
    def other(*_):
        raise AttributeError("module has no attribute 'Core'")

    monkeypatch.setitem(engine_module._OPEN, engine, other)
    order = (engine, *(name for name in ("openvino", "torch") if name != engine))
    monkeypatch.setattr(engine_module, "_order", lambda: order)
    opened = open_engine(exported_run)
    assert opened.name != engine
    assert "AttributeError: module has no attribute 'Core'" in opened.passed_over[0]
    with pytest.raises(EngineError, match=f"{engine} cannot run .*AttributeError"):
        open_engine(exported_run, engine)


def test_a_library_of_another_build_of_numpy_is_said(monkeypatch):
    import importlib

    def broken(name):
        raise AttributeError("_ARRAY_API not found")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EngineError, match=r"tensorrt cannot be imported: _ARRAY_API"):
        library("tensorrt")
