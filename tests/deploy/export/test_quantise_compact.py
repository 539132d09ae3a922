"""int8 of the compact network: every convolution is computed in 8 bits, in every CPU engine."""

import collections
import types

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from neurogaze_fast.artifacts import write_artifact
from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.engines.tensorrt_build import Library, build
from neurogaze_fast.deploy.export.config import ExportConfig
from neurogaze_fast.deploy.export.exporting import Graphs
from neurogaze_fast.deploy.export.quantise import quantised
from neurogaze_fast.deploy.shipped import SHIPPED
from neurogaze_fast.evaluation.run_record import read_run
from neurogaze_fast.faces.synthetic import draw_faces
from tests.deploy.small_model import write_run

CONVOLUTIONS = 8


def colour(split, count):
    return np.repeat(draw_faces(split, count)[0][..., None], 3, axis=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped graph, and its int8 form, calibrated on drawn faces."""
    folder = tmp_path_factory.mktemp("compact")
    fp32 = open_graph(SHIPPED / "export" / "fp32.onnx")
    write_artifact(folder / "fp32.onnx", fp32.data, fp32.metadata)
    model = quantised(onnx.load_model_from_string(fp32.data), colour("train", 48), unsigned=True)
    metadata = {**fp32.metadata, "precision": "int8", "activations": "uint8"}
    write_artifact(folder / "int8.onnx", model.SerializeToString(), metadata)
    return folder


def test_activations_are_unsigned_and_weights_symmetric(folder):
    model = onnx.load_model_from_string(open_graph(folder / "int8.onnx").data)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) == CONVOLUTIONS + 1  # also what the mean is taken of
    assert {tensors[node.input[2]].data_type for node in pairs} == {TensorProto.UINT8}
    made_by = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == CONVOLUTIONS
    for node in convolutions:
        values, _, zero = (tensors[name] for name in made_by[node.input[1]].input)
        assert values.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()


def test_onnx_runtime_computes_all_of_them_in_8_bits(folder):
    """It says so itself: with signed activations it brought them back to floating point."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        (folder / "int8.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    kinds = collections.Counter(node.op_type for node in nodes)
    assert kinds["QLinearConv"] == CONVOLUTIONS
    assert kinds["Conv"] == kinds["FusedConv"] == 0


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_answers_stay_close(folder, engine):
    faces = colour("valid", 64)
    wanted = open_engine(folder / "fp32.onnx", "onnxruntime", threads=1).run(faces)[0]
    found = open_engine(folder, engine, precision="int8", threads=1).run(faces)[0]
    assert np.abs(found - wanted).max() > 1e-5
    assert np.abs(found - wanted).mean() < 0.02
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.9


def test_only_the_compact_network_for_cpu_engines_is_quantised_so(tmp_path):
    def unsigned(run, engine):
        return Graphs(read_run(run), ExportConfig(run, engine=engine), tmp_path).unsigned

    assert [unsigned(SHIPPED, name) for name in ("onnx", "onnxruntime", "openvino")] == [True] * 3
    assert not unsigned(SHIPPED, "tensorrt")
    assert not unsigned(write_run(tmp_path / "run", size=16), "onnxruntime")


def test_tensorrt_is_not_given_what_it_cannot_read(folder):
    fake = Library("tensorrt-rtx", types.SimpleNamespace(__version__="1.7"))
    with pytest.raises(EngineError, match=r"uint8 activations.*--engine tensorrt-rtx"):
        build(fake, open_graph(folder / "int8.onnx"))
