"""The messages of Open Inference Protocol v2 over gRPC, by the names and numbers of its definition.

The definition is open_inference_grpc.proto of github.com/kserve/open-inference-protocol. The
classes are made when this is imported, for whichever protobuf is installed, in a pool of their own:
another library in the process may have the same messages (Triton's client does).
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_TENSOR = "name=1 string, datatype=2 string, shape=3 [int64]"
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live=1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready=1 bool",
    "ModelReadyRequest": "name=1 string, version=2 string",
    "ModelReadyResponse": "ready=1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name=1 string, version=2 string, extensions=3 [string]",
    "ModelMetadataRequest": "name=1 string, version=2 string",
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelMetadataResponse": "name=1 string, versions=2 [string], platform=3 string, "
    "inputs=4 [ModelMetadataResponse.TensorMetadata], "
    "outputs=5 [ModelMetadataResponse.TensorMetadata]",
    "InferParameter": "bool_param=1 bool?, int64_param=2 int64?, string_param=3 string?, "
    "double_param=4 double?, uint64_param=5 uint64?",
    "InferTensorContents": "bool_contents=1 [bool], int_contents=2 [int32], "
    "int64_contents=3 [int64], uint_contents=4 [uint32], uint64_contents=5 [uint64], "
    "fp32_contents=6 [float], fp64_contents=7 [double], bytes_contents=8 [bytes]",
    "ModelInferRequest.InferInputTensor": f"{_TENSOR}, parameters=4 map, "
    "contents=5 InferTensorContents",
    "ModelInferRequest.InferRequestedOutputTensor": "name=1 string, parameters=2 map",
    "ModelInferRequest": "model_name=1 string, model_version=2 string, id=3 string, "
    "parameters=4 map, inputs=5 [ModelInferRequest.InferInputTensor], "
    "outputs=6 [ModelInferRequest.InferRequestedOutputTensor], raw_input_contents=7 [bytes]",
    "ModelInferResponse.InferOutputTensor": f"{_TENSOR}, parameters=4 map, "
    "contents=5 InferTensorContents",
    "ModelInferResponse": "model_name=1 string, model_version=2 string, id=3 string, "
    "parameters=4 map, outputs=5 [ModelInferResponse.InferOutputTensor], "
    "raw_output_contents=6 [bytes]",
}
"""Fields as name=number type; [type] is repeated, type? is one of a choice, map is of
parameters."""
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)
_Field = descriptor_pb2.FieldDescriptorProto


def _add_field(message: descriptor_pb2.DescriptorProto, full_name: str, text: str) -> None:
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(" ")
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.endswith("?"):
        kind = kind[:-1]
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    elif kind.startswith("["):
        kind, field.label = kind[1:-1], _Field.LABEL_REPEATED
    elif kind == "map":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key=1 string")
        _add_field(entry, "", "value=2 InferParameter")
        kind, field.label = f"{full_name}.{entry.name}", _Field.LABEL_REPEATED
    scalar = f"TYPE_{kind.upper()}"
    if kind[0].islower() and scalar in list(_Field.Type.keys()):
        field.type = _Field.Type.Value(scalar)
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="neurogaze_open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    outer: dict[str, descriptor_pb2.DescriptorProto] = {}
    for full_name in sorted(_MESSAGES, key=lambda one: one.count(".")):
        owner, _, name = full_name.rpartition(".")
        if owner:
            message = outer[owner].nested_type.add(name=name)
        else:
            message = outer[name] = file.message_type.add(name=name)
        for text in filter(None, _MESSAGES[full_name].split(", ")):
            _add_field(message, full_name, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in outer
    }


MESSAGES = _build()
"""Name -> class, of the outer messages."""
