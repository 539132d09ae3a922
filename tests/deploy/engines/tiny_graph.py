"""A graph that an engine would take, of some hundred bytes, for what needs no trained student."""

import json

from onnx import TensorProto, helper

from neurogaze_fast.artifacts import write_artifact
from neurogaze_fast.emotions import EMOTIONS

METADATA = {
    "kind": "graph",
    "precision": "fp32",
    "input_size": 16,
    "emotions": list(EMOTIONS),
    "model": {"sha256": "ab" * 32},
    "synthetic": True,
}


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def tiny():
    """A graph with the right face: a mean over pixels, times weights."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [768, 8], [0.0] * 768 * 8)
    affect = helper.make_tensor("a", TensorProto.FLOAT, [8, 2], [0.1] * 16)
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [-1, 768])
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["x", "s"], ["y"]),
        helper.make_node("MatMul", ["y", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
        helper.make_node("MatMul", ["probabilities", "a"], ["valence_arousal"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("images", TensorProto.UINT8, ["N", 16, 16, 3])],
        [value("probabilities", TensorProto.FLOAT, ["N", 8]),
         value("valence_arousal", TensorProto.FLOAT, ["N", 2])],
        [weights, affect, shape],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    said = {"emotions": json.dumps(list(EMOTIONS)), "model_sha256": "ab" * 32}
    helper.set_model_props(model, said)
    return model


def written(folder, model, metadata=METADATA):
    path = folder / "fp32.onnx"
    data = model if isinstance(model, bytes) else model.SerializeToString()
    write_artifact(path, data, metadata)
    return path
