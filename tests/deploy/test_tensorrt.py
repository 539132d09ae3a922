"""TensorRT: building without a GPU (TensorRT-RTX can), keeping engines, and refusing others.

Running engines needs a GPU: test_gpu.py.
"""

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from neurogaze_fast.artifacts import manifest_path
from neurogaze_fast.deploy import tensorrt_build
from neurogaze_fast.deploy.base import EngineError
from neurogaze_fast.deploy.engine import open_engine
from neurogaze_fast.deploy.onnx_safety import open_graph
from neurogaze_fast.deploy.tensorrt_build import Library, build, built_engine, engine_key, library
from neurogaze_fast.errors import ConfigError
from tests.deploy.test_onnx_safety import tiny, written


@pytest.fixture
def graph(tmp_path):
    return open_graph(written(tmp_path, tiny()))


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_rtx_builds_an_engine_without_a_gpu_and_keeps_it(graph, tmp_path, monkeypatch):
    trt = library("tensorrt-rtx")
    data, path, remark = built_engine(trt, graph)
    assert len(data) > 1000
    assert remark == ""
    assert path.parent == tmp_path
    assert path.read_bytes() == data
    assert manifest_path(path).exists()
    monkeypatch.setattr(tensorrt_build, "build", lambda *_: pytest.fail("it was built again"))
    assert built_engine(trt, graph) == (data, path, "")


def test_a_network_of_another_profile_or_library_is_built_anew(graph):
    trt = library("tensorrt-rtx")
    key = engine_key(trt, graph)
    assert key["graph_sha256"] == graph.sha256
    assert key["version"] == trt.version
    other = engine_key(Library("tensorrt-rtx", SimpleNamespace(__version__="9.9")), graph)
    assert other != key


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


def test_what_the_parser_refuses_is_told(tmp_path):
    model = tiny()
    model.graph.node[3].op_type = "NoSuchOperator"
    graph = open_graph(written(tmp_path, model))
    with pytest.raises(EngineError, match="cannot read"):
        build(library("tensorrt-rtx"), graph)
