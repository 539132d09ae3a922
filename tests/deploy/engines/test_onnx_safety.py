"""Hostile and damaged ONNX files are refused before any inference library sees them."""

import json

import onnx
import pytest
from onnx import TensorProto, helper

from neurogaze_fast.artifacts import manifest_path
from neurogaze_fast.deploy.engines import onnx_safety
from neurogaze_fast.deploy.engines.graph import DTYPES, FaceGraph, build_onnx
from neurogaze_fast.deploy.engines.onnx_safety import check_graph, open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError
from neurogaze_fast.student.resnet import ResNet
from tests.deploy.engines.tiny_graph import METADATA, tiny, value, written


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def external_in_attribute(model):
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], name="hidden")
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def function(model):
    model.functions.append(
        helper.make_function("ai.onnx", "f", ["x"], ["y"], [], [helper.make_opsetid("", 18)])
    )


def foreign_domain(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def foreign_operator(model):
    model.graph.node.append(helper.make_node("Evil", ["x"], ["e"], domain="my.plugin"))


def subgraph(model):
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("If", ["x"], ["i"], then_branch=inner, else_branch=inner)
    model.graph.node.append(node)


def other_operator(model):
    model.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[1 << 40]))


def sparse(model):
    model.graph.sparse_initializer.add()


def other_input(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def more_inputs(model):
    model.graph.input.append(value("path", TensorProto.STRING, [1]))


def other_side(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32


def fixed_batch(model):
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4


def swapped_outputs(model):
    first, second = model.graph.output[0].name, model.graph.output[1].name
    model.graph.output[0].name, model.graph.output[1].name = second, first


def other_order(model):
    helper.set_model_props(
        model, {"emotions": json.dumps(sorted(EMOTIONS)), "model_sha256": "ab" * 32}
    )


def other_model(model):
    helper.set_model_props(
        model, {"emotions": json.dumps(list(EMOTIONS)), "model_sha256": "cd" * 32}
    )


def insert(model, *nodes, tensors=()):
    """Behind everything else, so that nothing contradicts the sizes."""
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(nodes)


def shape(name, *values):
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def huge_expand(model):
    node = helper.make_node("Expand", ["x", "big"], ["e"])
    insert(model, node, tensors=[shape("big", 40_000_000_000, 1, 1, 1)])


def huge_constant(model):
    """Computed when the graph is loaded, not when it runs."""
    wide = helper.make_node("Constant", [], ["c"], value=shape("v", 200_000, 200_000))
    one = helper.make_node("Constant", [], ["o"], value=helper.make_tensor("t", 1, [1, 1], [0.0]))
    model.graph.node.extend([wide, one, helper.make_node("Expand", ["o", "c"], ["e"])])


def huge_by_many_steps(model):
    """The shape is a product of shapes of the input."""
    nodes = [helper.make_node("Shape", ["x"], ["m0"])]
    nodes += [helper.make_node("Mul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(3)]
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [0.0])
    insert(model, *nodes, helper.make_node("Expand", ["one", "m3"], ["e"]), tensors=[one])


def huge_resize(model):
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1e4, 1e4, 1.0])
    insert(model, helper.make_node("Resize", ["x", "", "scales"], ["e"]), tensors=[scales])


def huge_padding(model):
    kernel = helper.make_tensor("k", TensorProto.FLOAT, [1, 16, 1, 1], [0.0] * 16)
    conv = helper.make_node("Conv", ["x", "k"], ["e"], pads=[100_000] * 4)
    insert(model, conv, tensors=[kernel])


def weights_over_and_over(model):
    """Each copy is as large as the weights, which engines make when they load a graph."""
    copies = [helper.make_node("Identity", ["w"], [f"w{i}"]) for i in range(20)]
    insert(model, *copies)


def results_over_and_over(model):
    """None of them too large, and all of them held until they are joined."""
    names = [f"r{i}" for i in range(5000)]
    insert(model, *(helper.make_node("Relu", ["x"], [name]) for name in names))


def doubled_shapes(model):
    """Following these shapes alone would take more than there is."""
    nodes = [helper.make_node("Shape", ["x"], ["d0"])]
    nodes += [helper.make_node("Concat", [f"d{i}"] * 2, [f"d{i + 1}"], axis=0) for i in range(40)]
    insert(model, *nodes, helper.make_node("Reshape", ["x", "d40"], ["e"]))


def many_integers(model):
    model.graph.initializer.append(shape("many", *range(65)))


def many_integers_in_an_attribute(model):
    node = helper.make_node("Constant", [], ["c"], value_ints=list(range(65)))
    model.graph.node.append(node)


def size_by_pixels(model):
    """Nothing bounds what the numbers of a face say."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["count"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["count", "axis"], ["counts"]),
        helper.make_node("Expand", ["one", "counts"], ["e"]),
    ]
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [0.0])
    model.graph.initializer.extend([shape("axis", 0), one])
    model.graph.node.extend(nodes)


def too_few_inputs(model):
    model.graph.node[0].op_type = "Conv"


def nothing_there(model):
    model.graph.node[0].input[0] = "nothing"


def more_than_it_holds(model):
    model.graph.initializer[0].dims[0] = 1 << 40


def other_version(model):
    model.opset_import[0].version = 999


def contradiction(model):
    model.graph.initializer[1].dims[:] = [4, 4]


HOSTILE = {
    huge_expand: r"its operator 'Expand' makes 3.07e\+13 values of one face",
    huge_constant: r"its operator 'Expand' makes 4e\+10 values",
    huge_by_many_steps: "its operator 'Expand'",
    huge_resize: "its operator 'Resize' makes",
    huge_padding: "its operator 'Conv' makes",
    weights_over_and_over: "its operator 'Identity' makes",
    results_over_and_over: "its operator 'Relu' makes",
    doubled_shapes: "more integers than shapes need",
    many_integers_in_an_attribute: "more integers than shapes need",
    many_integers: "more integers than shapes need",
    size_by_pixels: "of its operator 'Expand', is not known",
    too_few_inputs: "no valid graph",
    nothing_there: "no valid graph",
    more_than_it_holds: "no valid graph",
    other_version: r"of version \[999\]",
    contradiction: "its shapes do not fit",
    external: "'w' lies in another file",
    external_in_attribute: "'hidden' lies in another file",
    function: "defines functions",
    foreign_domain: "domain 'com.microsoft'",
    foreign_operator: "'Evil' is of the domain 'my.plugin'",
    other_operator: "never writes its operator 'RandomNormal'",
    subgraph: "'If' holds a graph of its own",
    sparse: "sparse tensors",
    other_input: "its input is not uint8",
    more_inputs: "its input is not uint8",
    other_side: "its input is not uint8",
    fixed_batch: "its outputs are not",
    swapped_outputs: "its outputs are not",
    other_order: "its emotions are",
    other_model: "another model than its manifest",
}


def test_a_plain_graph_opens(tmp_path):
    graph = open_graph(written(tmp_path, tiny()))
    assert (graph.precision, graph.input_size) == ("fp32", 16)
    onnx.checker.check_model(tiny(), full_check=True)


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_what_export_never_writes_is_refused(tmp_path, change):
    model = tiny()
    change(model)
    with pytest.raises(ArtifactError, match=HOSTILE[change]) as caught:
        open_graph(written(tmp_path, model))
    assert "Export the model again" in str(caught.value)


def test_what_is_no_onnx_file_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no ONNX file"):
        open_graph(written(tmp_path, b"\xff\xfe not protobuf"))
    with pytest.raises(ArtifactError, match="its input is not"):
        open_graph(written(tmp_path, b""))


def test_another_kind_of_artifact_is_refused(tmp_path):
    path = written(tmp_path, tiny(), {**METADATA, "kind": "student"})
    with pytest.raises(ArtifactError, match="is a 'student', not a graph"):
        open_graph(path)


def test_a_manifest_without_metadata_is_refused(tmp_path):
    for name in ("precision", "synthetic"):
        path = written(tmp_path, tiny(), {k: v for k, v in METADATA.items() if k != name})
        with pytest.raises(ArtifactError, match="without precision or training data"):
            open_graph(path)


RESEALED = {
    "no metadata": [],
    "precision": {**METADATA, "precision": ["fp32"]},
    "model": {**METADATA, "model": "ab" * 32},
    "model without hash": {**METADATA, "model": {}},
    "no side": {k: v for k, v in METADATA.items() if k != "input_size"},
    "null side": {**METADATA, "input_size": None},
    "true side": {**METADATA, "input_size": True},
    "huge side": {**METADATA, "input_size": 1 << 40},
    "text side": {**METADATA, "input_size": "16"},
}


@pytest.mark.parametrize("metadata", RESEALED.values(), ids=RESEALED)
def test_a_manifest_of_another_form_is_refused(tmp_path, metadata):
    path = written(tmp_path, tiny(), metadata)
    with pytest.raises(ArtifactError, match=r"has a manifest|manifest\.json holds"):
        open_graph(path)
    for named in (path, tmp_path):
        with pytest.raises(ArtifactError, match=r"has a manifest|manifest\.json holds"):
            open_engine(named, "onnxruntime", precision="fp32")


@pytest.mark.parametrize(
    ("architecture", "stem", "channels", "precision", "side"),
    [
        ("resnet18", "small", 1, "fp32", 32),
        ("resnet18", "imagenet", 3, "bf16", 48),
        ("resnet18", "small", 3, "fp16", 20),
        ("resnet50", "imagenet", 1, "fp16", 32),
    ],
)
def test_every_graph_that_export_writes_opens(architecture, stem, channels, precision, side):
    model = ResNet(architecture, stem=stem, channels=channels)
    said = {"emotions": list(EMOTIONS), "model_sha256": "ab" * 32}
    graph = build_onnx(FaceGraph(model, 32, side, DTYPES[precision]), precision, said)
    metadata = {**METADATA, "precision": precision, "input_size": side}
    check_graph(graph.SerializeToString(), metadata, "graph")


def test_flipped_bytes_and_a_missing_manifest_are_refused(tmp_path):
    path = written(tmp_path, tiny())
    whole = path.read_bytes()
    for position in range(0, len(whole), 997):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="altered or damaged"):
            open_graph(path)
    path.write_bytes(whole)
    manifest_path(path).unlink()
    with pytest.raises(ArtifactError, match="needs its manifest"):
        open_graph(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_graph(tmp_path / "absent.onnx")


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    path = written(tmp_path, tiny())
    monkeypatch.setattr(onnx_safety, "MAX_BYTES", 1000)
    monkeypatch.setattr(onnx_safety, "verified_open", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ArtifactError, match="was not read"):
        open_graph(path)
