"""TensorRT: building without a GPU (TensorRT-RTX can), keeping engines, and refusing others.

Running engines needs a GPU: test_gpu.py.
"""

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from neurogaze_fast.artifacts import manifest_path
from neurogaze_fast.deploy.engines import tensorrt_build, tensorrt_engine
from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph, open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.engines.tensorrt_build import (
    Library,
    _timing_cache,
    build,
    built_engine,
    engine_key,
    library,
)
from neurogaze_fast.deploy.engines.tensorrt_engine import TensorRTEngine, new_context
from neurogaze_fast.errors import ConfigError
from tests.deploy.engines.tiny_graph import tiny, written
from tests.deploy.small_model import graphs_of, write_report


@pytest.fixture
def graph(tmp_path):
    return open_graph(written(tmp_path, tiny()))


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def _a_gpu(monkeypatch):
    device = {"driver": "1", "gpu": "Imaginary", "sm": "9.0"}
    monkeypatch.setattr(tensorrt_build, "device_key", lambda: device)


@pytest.mark.usefixtures("_a_gpu")
def test_rtx_builds_an_engine_and_keeps_it(graph, tmp_path, monkeypatch):
    trt = library("tensorrt-rtx")
    data, path, remark = built_engine(trt, graph)
    assert len(data) > 1000
    assert remark == ""
    assert path.parent == tmp_path
    assert path.read_bytes() == data
    assert manifest_path(path).exists()
    monkeypatch.setattr(tensorrt_build, "build", lambda *_: pytest.fail("it was built again"))
    assert built_engine(trt, graph) == (data, path, "")


@pytest.mark.usefixtures("_a_gpu")
def test_another_profile_library_flag_or_gpu_is_built_anew(graph, monkeypatch):
    trt = library("tensorrt-rtx")
    key = engine_key(trt, graph)
    assert key["graph_sha256"] == graph.sha256
    assert key["version"] == trt.version
    assert engine_key(trt, graph) == key
    others = [engine_key(Library("tensorrt-rtx", SimpleNamespace(__version__="9.9")), graph)]
    for name, other in (
        ("PROFILES", ((1, 1, 2),)),
        ("_FLAGS", {"tensorrt-rtx": ()}),
        ("device_key", lambda: {"sm": "8.0"}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(tensorrt_build, name, other)
            others.append(engine_key(trt, graph))
    assert all(other != key for other in others)


@pytest.mark.usefixtures("_a_gpu")
def test_an_altered_engine_is_never_loaded(graph, monkeypatch):
    trt = library("tensorrt-rtx")
    monkeypatch.setattr(tensorrt_build, "build", lambda *_: b"built " + bytes(100))
    data, path, _ = built_engine(trt, graph)
    path.write_bytes(data[:-1] + b"\x01")
    monkeypatch.setattr(tensorrt_build, "build", lambda *_: b"built again")
    again, same_path, remark = built_engine(trt, graph)
    assert again == b"built again" == same_path.read_bytes()
    assert "was built anew" in remark
    assert "altered or damaged" in remark


@pytest.mark.usefixtures("_a_gpu")
def test_a_folder_that_cannot_be_written_costs_only_the_file(graph, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt_build, "build", lambda *_: b"plan")
    (tmp_path / "file").write_text("")
    data, path, remark = built_engine(
        library("tensorrt-rtx"), graph, folder=tmp_path / "file" / "x"
    )
    assert (data, path) == (b"plan", None)
    assert "could not be kept" in remark


def test_running_without_a_gpu_says_so(graph):
    with pytest.raises(EngineError, match="runs on NVIDIA GPUs, and torch finds no usable one"):
        open_engine(graph.path, "tensorrt-rtx")


def test_tensorrt_itself_needs_a_gpu_to_build(graph):
    with pytest.raises(EngineError, match="finds no usable GPU here"):
        build(Library("tensorrt", SimpleNamespace(__version__="11.1")), graph)


def test_missing_broken_and_old_libraries_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ConfigError, match=r"pip install 'neurogaze_fast\[tensorrt\]'"):
        library("tensorrt")

    def broken(name):
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EngineError, match=r"libcudart\.so\.13.*Reinstall"):
        library("tensorrt-rtx")
    monkeypatch.setattr(importlib, "import_module", lambda _: SimpleNamespace(__version__="8.6.1"))
    with pytest.raises(EngineError, match=r"8\.6\.1 is too old"):
        library("tensorrt")
    monkeypatch.setattr(importlib, "import_module", lambda _: SimpleNamespace(__version__="1.6.9"))
    with pytest.raises(EngineError, match=r"tensorrt-rtx 1\.6\.9 is too old: 1\.7 or later"):
        library("tensorrt-rtx")


def test_what_the_parser_refuses_is_told(tmp_path):
    model = tiny()
    model.graph.node[3].op_type = "NoSuchOperator"
    # open_graph refuses it before.
    graph = OpenedGraph(tmp_path / "x.onnx", model.SerializeToString(), "", {"precision": "fp32"})
    with pytest.raises(EngineError, match="cannot read"):
        build(library("tensorrt-rtx"), graph)


class Timing:
    """A builder configuration that takes some timing caches, and others not."""

    def __init__(self, made, taken, left=b"measured"):
        self.made, self.taken, self.tried = made, taken, []
        self.left = None if left is None else SimpleNamespace(serialize=lambda: left)

    def create_timing_cache(self, data):
        self.tried.append(data)
        return data if self.made(data) else None

    def set_timing_cache(self, cache, ignore_mismatch):
        assert cache is not None
        return self.taken(cache)

    def get_timing_cache(self):
        return self.left


def always(_):
    return True


def never(_):
    return False


@pytest.mark.usefixtures("_a_gpu")
def test_a_timing_cache_is_kept_and_one_that_is_refused_costs_nothing(tmp_path):
    trt = Library("tensorrt", SimpleNamespace(__version__="11.1"))
    first = Timing(always, always)
    _timing_cache(trt, first, tmp_path)()
    assert first.tried == [b""]
    again = Timing(always, always, b"more")
    _timing_cache(trt, again, tmp_path)()
    assert again.tried == [b"measured"]
    for refusing in (Timing(never, always), Timing(always, never)):
        assert _timing_cache(trt, refusing, tmp_path) is None
        assert refusing.tried == [b"more", b""]
    empty = Timing(always, lambda cache: not cache, None)
    _timing_cache(trt, empty, tmp_path)()  # nothing to keep
    assert empty.tried == [b"more", b""]


def test_contexts_take_the_memory_they_are_given_and_rtx_compiles_at_once():
    rtx = library("tensorrt-rtx")
    module = rtx.module
    managed = module.ExecutionContextAllocationStrategy.USER_MANAGED
    config = SimpleNamespace(given=None)
    config.set_execution_context_allocation_strategy = lambda way: setattr(config, "given", way)
    engine = SimpleNamespace(
        create_runtime_config=lambda: config, create_execution_context=lambda how: how
    )
    assert new_context(Library("tensorrt", module), engine) is managed
    assert new_context(rtx, engine) is config
    assert config.given == managed
    kinds = module.DynamicShapesKernelSpecializationStrategy
    assert config.dynamic_shapes_kernel_specialization_strategy == kinds.EAGER
    for kind, names in (  # what only a GPU could try is at least there under its name
        (module.IRuntimeConfig, ("dynamic_shapes_kernel_specialization_strategy",
                                 "set_execution_context_allocation_strategy")),
        (module.ICudaEngine, ("create_runtime_config", "device_memory_size_v2")),
        (module.IExecutionContext, ("set_device_memory", "is_stream_capturable")),
    ):  # fmt: skip
        assert all(hasattr(kind, name) for name in names)


def test_what_cuda_raises_at_the_start_is_an_engine_error(graph, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(tensorrt_engine, "built_engine", full)
    with pytest.raises(EngineError, match=r"cannot run.*CUDA out of memory"):
        TensorRTEngine(library("tensorrt-rtx"), graph)


def test_tensorrt_takes_what_a_report_has_proven(exported_run, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt_engine, "library", lambda name: name)
    monkeypatch.setattr(tensorrt_engine, "TensorRTEngine", GpuRecorder)
    both = graphs_of(tmp_path / "both", exported_run, "fp16", "fp32", "bf16")
    engine = open_engine(both, "tensorrt")
    assert engine.precision == "fp32"
    assert "tensorrt in fp16: no parity report" in engine.passed_over[0]
    assert "--engine tensorrt --precision fp16" in engine.passed_over[0]
    write_report(both / "export", "tensorrt", "fp16", False)
    engine = open_engine(both, "tensorrt")
    assert engine.precision == "fp32"
    assert "changes answers" in engine.passed_over[0]
    write_report(both / "export", "tensorrt", "fp16", True)
    engine = open_engine(both, "tensorrt")
    assert (engine.precision, engine.passed_over) == ("fp16", [])
    alone = graphs_of(tmp_path / "alone", exported_run, "fp16", "int8")
    engine = open_engine(alone, "tensorrt")
    assert engine.precision == "fp16"
    assert "no parity report" in engine.passed_over[0]
    write_report(alone / "export", "tensorrt", "fp16", False)
    with pytest.raises(EngineError, match="tensorrt in fp16: its parity report says"):
        open_engine(alone, "tensorrt")


class GpuRecorder:
    """Stands in for TensorRT."""

    def __init__(self, trt, graph):
        self.precision, self.passed_over = graph.precision, []
