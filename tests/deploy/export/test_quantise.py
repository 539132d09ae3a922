"""int8 graphs: what is quantised, how, and that the answers stay close."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.export.quantise import _Reader, quantised, residual_sums, whole_batches
from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.load import load_faces
from neurogaze_fast.faces.synthetic import draw_faces
from tests.deploy.small_model import SIZE, graphs_of, write_report


@pytest.fixture(scope="module")
def graph(int8_run):
    return onnx.load_model_from_string(open_graph(int8_run / "export" / "int8.onnx").data)


def producers(graph):
    return {output: node for node in graph.graph.node for output in node.output}


def test_both_inputs_of_each_residual_sum_are_quantised(graph):
    made_by = producers(graph)
    fp32_sums = [node for node in graph.graph.node if node.op_type == "Add"]
    quantised_sums = [
        node
        for node in fp32_sums
        if all(
            made_by[name].op_type == "DequantizeLinear" for name in node.input if name in made_by
        )
    ]
    assert len(quantised_sums) == 8  # ResNet-18 has eight blocks


def test_weights_are_int8_per_channel_and_symmetric_and_biases_stay_float(graph):
    made_by = producers(graph)
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 20
    for node in convolutions:
        assert made_by[node.input[0]].op_type == "DequantizeLinear"
        weight = made_by[node.input[1]]
        values, scales, zero = (tensors[name] for name in weight.input)
        assert values.data_type == TensorProto.INT8
        assert len(numpy_helper.to_array(scales)) == values.dims[0]
        assert not numpy_helper.to_array(zero).any()
        assert tensors[node.input[2]].data_type == TensorProto.FLOAT


def test_activations_are_symmetric_int8(graph):
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    pairs = [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    assert pairs
    for node in pairs:
        zero = tensors[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()


def test_answers_stay_close(int8_run, graph):
    faces = np.stack([prepare_face(image, SIZE) for image in draw_faces("train", 64)[0]])
    wanted = open_engine(int8_run, "onnxruntime", precision="fp32").run(faces)[0]
    for name in ("onnxruntime", "openvino"):
        engine = open_engine(int8_run, name, precision="int8", threads=1)
        assert "int8" in engine.detail
        found = engine.run(faces)[0]
        assert np.abs(found - wanted).max() > 1e-5  # it is another graph
        assert np.abs(found - wanted).mean() < 0.03
        assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.8


def test_the_report_says_what_it_was_calibrated_on(int8_run, small_set):
    metadata = open_graph(int8_run / "export" / "int8.onnx").metadata
    labelled, _ = load_faces(None, small_set)["train"].labelled("argmax")
    assert len(labelled) > 70  # which were asked for; the last six fill no batch
    assert metadata["calibration"]["n"] == 64
    assert metadata["calibration"]["split"] == "train"
    report = json.loads((int8_run / "export" / "onnxruntime-int8.parity.json").read_text())
    assert report["limits"] == {"difference": None, "agreement": 0.97, "macro_f1_loss": 0.01}
    fp32 = (int8_run / "export" / "fp32.onnx").stat().st_size
    assert report["file_bytes"] < fp32 / 3


def test_calibration_reads_a_few_faces_at_a_time():
    reader = _Reader(np.zeros((50, 16, 16, 3), np.uint8))
    assert len(reader) == 3
    reader.set_range(1, 2)
    assert reader.get_next()["images"].shape == (16, 16, 16, 3)
    assert reader.get_next() is None
    assert len(_Reader(np.zeros((5, 16, 16, 3), np.uint8))) == 1
    assert [len(whole_batches(np.zeros(n))) for n in (0, 5, 16, 17, 50)] == [0, 5, 16, 16, 48]


def test_no_faces_are_refused():
    with pytest.raises(DataError, match="int8 needs faces"):
        quantised(onnx.ModelProto(), np.zeros((0, 16, 16, 3), np.uint8))


def test_sums_with_a_constant_are_no_residuals(int8_run):
    data = open_graph(int8_run / "export" / "fp32.onnx").data
    assert len(residual_sums(onnx.load_model_from_string(data))) == 8


def test_auto_never_takes_int8_or_fp16_unasked_on_a_cpu(exported_run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = graphs_of(tmp_path, exported_run, "int8", "fp16")
    write_report(folder / "export", "onnxruntime", "int8", False)
    engine = open_engine(folder)
    assert engine.name == "torch"
    assert ["has no fp32 graph" in text for text in engine.passed_over] == [True, True]
    assert "int8" in open_engine(folder, "onnxruntime", precision="int8").detail


def test_int8_alone_is_taken_with_a_note_unless_its_report_failed(
    exported_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = graphs_of(tmp_path, exported_run, "int8", checkpoint=False)
    for path in (folder, folder / "int8.onnx"):
        engine = open_engine(path)
        assert "int8" in engine.detail
        assert "openvino in int8: no parity report" in engine.passed_over[0]
    write_report(folder, "openvino", "int8", True)
    assert "holds no better graph" in open_engine(folder).passed_over[0]
    write_report(folder, "openvino", "int8", False)
    engine = open_engine(folder)
    assert engine.name == "onnxruntime"
    assert "changes answers" in engine.passed_over[0]
    with pytest.raises(EngineError, match="openvino in int8: its parity report says"):
        open_engine(folder, "openvino")
