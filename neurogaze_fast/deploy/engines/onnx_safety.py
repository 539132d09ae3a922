"""Opening an ONNX file without trusting it: hash, size, and that it holds only plain operators."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.artifacts import read_manifest, verified_open
from neurogaze_fast.deploy.engines.base import INPUT, OUTPUTS, import_library
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

KIND = "graph"
MAX_BYTES = 500_000_000
"""Larger files are refused unread; ResNet-50 in float32 has 94 MB."""
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
DOMAINS = ("", "ai.onnx")
OPERATORS = frozenset(
    # The student and its read-out; the sides a face is resized to, and grey for three channels.
    "Add Cast Conv Gemm MatMul MaxPool Mul ReduceMean ReduceSum Relu Softmax Sub Transpose "
    "Unsqueeze Concat Expand Resize Shape QuantizeLinear DequantizeLinear "
    # What other versions of torch's exporter write for the same.
    "Constant Identity Reshape".split()
)
"""All that `export` writes: a standard operator may still cost any amount of time or memory."""
OPSET = range(18, 24)
MOST_NODES = 10_000
MOST_INTEGERS = 64
"""Values of a tensor of integers: these are shapes and axes."""
MOST_JOINED = 8
"""Inputs of all Concat nodes: each could double a shape, and those that follow shapes through a
graph build them, however long."""
VALUES_PER_PIXEL = 128
"""Values of an intermediate result for each pixel of a face; a ResNet-50's first stage has 64."""
MOST_RESULTS = 100
"""All intermediate results together, in multiples of the largest one allowed."""
AGREEING = ("size", "temperature", "synthetic", "valence_arousal")
"""What a graph says of itself for other programs, and its manifest says, too."""
SIDES = range(16, 1025)
"""Sides that a graph's faces can have."""
_AGAIN = "Export the model again with `neurogaze-fast export RUN`."


@dataclass(frozen=True)
class OpenedGraph:
    """A verified graph: its bytes, and what its manifest says."""

    path: Path
    data: bytes
    sha256: str
    metadata: dict[str, Any]

    @property
    def precision(self) -> str:
        """fp32, fp16, bf16 or int8."""
        return self.metadata["precision"]

    @property
    def input_size(self) -> int:
        """S."""
        return self.metadata["input_size"]


def open_graph(path: Path, check: Callable[..., None] | None = None) -> OpenedGraph:
    """Verify an exported graph against its manifest, then look at every part of it.

    Inference libraries follow paths that a file names and load operators that it asks for, so
    nothing reaches them before this. `check`: that of another form than ONNX.

    Raises:
        ArtifactError: missing, altered, too large, or not a graph that `export` writes.
        ConfigError: onnx is not installed. EngineError: it is broken.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError as cause:
        raise ArtifactError(f"{path} cannot be read ({cause.strerror}). {_AGAIN}") from cause
    if size > MAX_BYTES:
        raise ArtifactError(
            f"{path} has {size / 1e6:.0f} MB, more than the {MAX_BYTES // 10**6} MB that a graph "
            f"of this package can have, and was not read. {_AGAIN}"
        )
    data, metadata = verified_open(path, ArtifactError)
    sha256 = read_manifest(path)["sha256"]
    (check or check_graph)(data, metadata, str(path))
    return OpenedGraph(path, data, sha256, metadata)


def check_metadata(metadata: Any, name: str) -> dict[str, Any]:
    """What a graph's manifest says, once it has the form that `export` writes.

    Raises:
        ArtifactError: it has not; a manifest's hash holds for anybody who seals it anew.
    """
    if not isinstance(metadata, dict):
        raise ArtifactError(f"{name} has a manifest without provenance. {_AGAIN}")
    if metadata.get("kind") != KIND:
        raise ArtifactError(
            f"{name} is a {metadata.get('kind', 'file of unknown kind')!r}, not a graph. {_AGAIN}"
        )
    if metadata.get("precision") not in PRECISIONS or not isinstance(
        metadata.get("synthetic"), bool
    ):
        raise ArtifactError(f"{name} has a manifest without precision or training data. {_AGAIN}")
    side, model = metadata.get("input_size"), metadata.get("model")
    if type(side) is not int or side not in SIDES:  # not a bool either
        raise ArtifactError(
            f"{name} has a manifest whose input_size is {side!r:.50}, not a whole number from "
            f"{SIDES[0]} to {SIDES[-1]}. {_AGAIN}"
        )
    if not isinstance(model, dict) or not isinstance(model.get("sha256"), str):
        raise ArtifactError(f"{name} has a manifest that does not name its model. {_AGAIN}")
    return metadata


def check_graph(data: bytes, metadata: dict[str, Any], name: str) -> None:
    """Refuse a serialised graph that holds anything but what `export` writes.

    Raises:
        ArtifactError: metadata of another form, external data, functions, subgraphs, foreign
            operators, other inputs, outputs or emotions, a graph that contradicts itself, or a
            result that takes more memory than a face of this size needs.
        ConfigError: onnx is not installed. EngineError: it is broken.
    """
    check_metadata(metadata, name)
    onnx = import_library("onnx", "onnx")
    import_library("onnx.shape_inference", "onnx")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as cause:  # protobuf has an error class of its own, by version
        raise ArtifactError(f"{name} is no ONNX file ({type(cause).__name__}). {_AGAIN}") from cause
    try:
        reason = next(
            chain(_reasons(model, metadata), _broken(model), _sizes(model, metadata)), None
        )
    except (
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
    ) as cause:  # of shapes that contradict one another
        reason = f"its shapes do not fit ({' '.join(str(cause).split())[:200]})"
    if reason is not None:
        raise ArtifactError(f"{name} was refused: {reason}. {_AGAIN}")


def _reasons(model: onnx.ModelProto, metadata: dict[str, Any]) -> Iterator[str]:
    from onnx import AttributeProto, TensorProto

    if model.functions:
        yield f"it defines functions ({model.functions[0].name!r})"
    if model.training_info:
        yield "it holds training information"
    foreign = [o.domain for o in model.opset_import if o.domain not in DOMAINS]
    if foreign:
        yield f"it asks for operators of the domain {foreign[0]!r}"
    graph = model.graph
    if graph.sparse_initializer:
        yield "it holds sparse tensors"
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in DOMAINS:
            yield f"the operator {node.op_type!r} is of the domain {node.domain!r}"
        for attribute in node.attribute:
            if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
                yield f"the operator {node.op_type!r} holds a graph of its own"
            if attribute.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
                yield f"the operator {node.op_type!r} holds sparse tensors"
            tensors += [attribute.t, *attribute.tensors]
        if node.op_type not in OPERATORS:
            yield f"export never writes its operator {node.op_type!r}"
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            yield f"the tensor {tensor.name!r} lies in another file"
    yield from _interface(model, metadata)


def _interface(model: onnx.ModelProto, metadata: dict[str, Any]) -> Iterator[str]:
    from onnx import TensorProto

    names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in names]
    side = metadata["input_size"]
    found = [_shaped(value) for value in inputs]
    if found != [(INPUT, TensorProto.UINT8, [None, side, side, 3])]:
        yield f"its input is not uint8 {INPUT!r} [N, {side}, {side}, 3]"
    found = [_shaped(value) for value in model.graph.output]
    wanted = [
        (name, TensorProto.FLOAT, [None, width])
        for name, width in zip(OUTPUTS, (len(EMOTIONS), 2), strict=True)
    ]
    if found != wanted:
        yield f"its outputs are not float32 {OUTPUTS[0]!r} [N, 8] and {OUTPUTS[1]!r} [N, 2]"
    said = {entry.key: entry.value for entry in model.metadata_props}
    if said.get("emotions") != json.dumps(list(EMOTIONS)) or metadata.get("emotions") != list(
        EMOTIONS
    ):
        yield f"its emotions are {said.get('emotions', 'not named')}, not {list(EMOTIONS)}"
    if said.get("model_sha256") != metadata["model"]["sha256"]:
        yield "it names another model than its manifest"
    for key in AGREEING:
        # Graphs of older versions say less of themselves, but nothing else.
        text = said.get(key)
        if text is not None and key in metadata and text != _as_property(metadata[key]):
            yield f"it says {text:.40} for {key}, and its manifest {metadata[key]!r:.40}"


def _as_property(value: Any) -> str:
    """As graph.describe writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _broken(model: onnx.ModelProto) -> Iterator[str]:
    """What the format itself forbids; inference libraries have crashed on it."""
    import onnx

    versions = [o.version for o in model.opset_import if o.domain in DOMAINS]
    if len(versions) != 1 or versions[0] not in OPSET:
        yield f"its operators are those of version {versions}, not of {OPSET[0]} to {OPSET[-1]}"
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as cause:
        yield f"it is no valid graph ({' '.join(str(cause).split())[:200]})"


def _sizes(model: onnx.ModelProto, metadata: dict[str, Any]) -> Iterator[str]:
    """Results that would not fit in memory, by the shapes that everything has for one face."""
    from onnx import ModelProto, TensorProto, helper, shape_inference

    graph = model.graph
    integers = (TensorProto.INT64, TensorProto.INT32)
    tensors = [
        *graph.initializer,
        *(a.t for n in graph.node for a in n.attribute if a.HasField("t")),
    ]
    joined = sum(len(node.input) for node in graph.node if node.op_type == "Concat")
    lengths = [math.prod(tensor.dims) for tensor in tensors if tensor.data_type in integers]
    lengths += [len(a.ints) for node in graph.node for a in node.attribute]
    if len(graph.node) > MOST_NODES:
        yield f"it has {len(graph.node)} operators"
    if joined > MOST_JOINED or max(lengths, default=0) > MOST_INTEGERS:
        yield "it computes with more integers than shapes need"
    # Weights become inputs: their shapes are enough, and there is little to copy.
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = "shapes"
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= MOST_INTEGERS:
            light.graph.initializer.append(tensor)
        else:
            shape = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.graph.input.append(shape)
    for value in (*light.graph.input, *light.graph.output):
        if value.name in (INPUT, *OUTPUTS):
            value.type.tensor_type.shape.dim[0].dim_value = 1
    found = shape_inference.infer_shapes(light, strict_mode=True, data_prop=True).graph
    shapes = {value.name: _shaped(value)[2] for value in (*found.value_info, *found.output)}
    side = max(metadata["input_size"], metadata["size"] if metadata.get("size") in SIDES else 0)
    most = VALUES_PER_PIXEL * side * side
    # What is computed from weights alone (int8 ones to floating point) is as large as they are.
    held = most + 2 * sum(math.prod(tensor.dims) for tensor in tensors)
    of_face, total, fixed = {INPUT}, 0, 0
    for node in graph.node:
        varies = not of_face.isdisjoint(node.input)
        for name in filter(None, node.output):
            sides = shapes.get(name)
            known = [side for side in sides or () if side is not None]
            if sides is None or len(known) < len(sides):
                yield f"the size of {name!r}, of its operator {node.op_type!r}, is not known"
                return
            size = math.prod(known)
            if varies:
                of_face.add(name)
                total += size
            else:
                fixed += size
            if (varies and size > most) or fixed > held or total > MOST_RESULTS * most:
                yield f"its operator {node.op_type!r} makes {size:.3g} values of one face"


def _shaped(value: onnx.ValueInfoProto) -> tuple[str, int, list[int | None]]:
    """(name, element type, sides; None where dynamic)."""
    tensor = value.type.tensor_type
    sides = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return value.name, tensor.elem_type, sides
