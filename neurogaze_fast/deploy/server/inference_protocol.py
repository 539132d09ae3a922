"""Open Inference Protocol v2: an infer request's body to images, and outputs to a reply's body.

JSON tensors, and the binary tensor extension that Triton's clients use: a JSON part of
``Inference-Header-Content-Length`` bytes, then the tensors' bytes in its order. Everything here is
a pure function of bytes and runs on a helper thread. What a body may cost is bounded by its
size: the numbers of a JSON tensor never become Python objects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurogaze_fast.deploy.server.http_errors import malformed
from neurogaze_fast.deploy.server.json_numbers import Numbers, parse_json
from neurogaze_fast.emotions import EMOTIONS

MODEL = "neurogaze"
VERSION = "1"
INPUT = "images"
OUTPUTS = {"probabilities": len(EMOTIONS), "valence_arousal": 2}
"""Name of each output and its values per image."""
EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]
LENGTH_HEADER = "Inference-Header-Content-Length"
_ID_LENGTH = 256


@dataclass(frozen=True)
class InferRequest:
    """What a caller asked for."""

    images: np.ndarray
    """uint8 [N, S, S, 3]"""
    outputs: tuple[tuple[str, bool], ...]
    """(name, whether as binary), in the order of the reply."""
    id: str | None


def model_metadata(size: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to ``GET /v2/models/neurogaze``."""
    return {
        "name": MODEL,
        "versions": [VERSION],
        "platform": "neurogaze_fast",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, size, size, 3]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, width]}
            for name, width in OUTPUTS.items()
        ],
        "parameters": dict(parameters),
    }


def read_infer(body: bytes, header: str | None, size: int, max_batch: int) -> InferRequest:
    """Parse an infer request; `header` is the value of :data:`LENGTH_HEADER`, if there was one.

    Raises:
        RequestError: 400, saying what is wrong.
    """
    split = len(body)
    if header is not None:
        if not (header.isascii() and header.isdigit() and len(header) < 12):
            raise malformed(f"{LENGTH_HEADER} must be a whole number")
        split = int(header)
        if split > len(body):
            raise malformed(f"{LENGTH_HEADER} is {split}, but the body has {len(body)} bytes")
    return read_tensors(_json_object(body[:split]), memoryview(body)[split:], size, max_batch)


def read_tensors(
    request: dict[str, Any], tail: memoryview, size: int, max_batch: int
) -> InferRequest:
    """Check an infer request; `tail` are the bytes of the tensors that it says are binary.

    Raises:
        RequestError: 400, saying what is wrong.
    """
    return InferRequest(
        images=_images(request.get("inputs"), tail, size, max_batch),
        outputs=_outputs(request),
        id=_id(request.get("id")),
    )


def write_infer(
    request: InferRequest, probabilities: np.ndarray, valence_arousal: np.ndarray
) -> tuple[bytes, int | None]:
    """(body, length of its JSON part or None where all of it is JSON) of the reply."""
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    arrays = chosen(request, probabilities, valence_arousal)
    for (name, array), (_, binary) in zip(arrays, request.outputs, strict=True):
        tensor: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
        if binary:
            tail.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    reply: dict[str, Any] = {"model_name": MODEL, "model_version": VERSION, "outputs": described}
    if request.id is not None:
        reply["id"] = request.id
    head = json.dumps(reply, allow_nan=False).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def chosen(
    request: InferRequest, probabilities: np.ndarray, valence_arousal: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """(name, little-endian float32 array) of each output that was asked for."""
    values = {"probabilities": probabilities, "valence_arousal": valence_arousal}
    return [(name, np.ascontiguousarray(values[name], "<f4")) for name, _ in request.outputs]


def _json_object(text: bytes) -> dict[str, Any]:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise malformed("the JSON part is not an object")
    return value


def _id(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= _ID_LENGTH):
        raise malformed(f"id must be a text of at most {_ID_LENGTH} characters")
    return value


def _images(inputs: Any, tail: memoryview, size: int, max_batch: int) -> np.ndarray:
    """uint8 [N, S, S, 3] of the one input there is."""
    if not (isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], dict)):
        raise malformed(f"inputs must be a list of one tensor, {INPUT!r}")
    tensor = inputs[0]
    if tensor.get("name") != INPUT:
        raise malformed(f"the input's name must be {INPUT!r}")
    if tensor.get("datatype") != "UINT8":
        raise malformed(f"the datatype of {INPUT!r} must be UINT8")
    shape = tensor.get("shape")
    if not (
        isinstance(shape, list)
        and len(shape) == 4
        and all(type(n) is int for n in shape)
        and shape[0] >= 0
        and shape[1:] == [size, size, 3]
    ):
        raise malformed(f"the shape of {INPUT!r} must be [N, {size}, {size}, 3]")
    if shape[0] > max_batch:
        raise malformed(f"too many images; at most {max_batch} are taken in one request")
    parameters = _parameters(tensor)
    if "shared_memory_region" in parameters:
        raise malformed("shared memory is not supported; send the tensor in the body")
    length = parameters.get("binary_data_size")
    if length is None:
        if len(tail):
            raise malformed("bytes follow the JSON part, but no tensor says that they are its")
        data = tensor.get("data")
        if isinstance(data, Numbers):
            return data.read(shape)
        if isinstance(data, list):
            raise malformed("data must be whole numbers from 0 to 255")
        raise malformed(f"{INPUT!r} needs data, or binary_data_size")
    if "data" in tensor:
        raise malformed(f"{INPUT!r} has both data and binary_data_size")
    if type(length) is not int or length != math.prod(shape) or length != len(tail):
        raise malformed(
            f"binary_data_size must be {math.prod(shape)} for this shape, and as many bytes must "
            f"follow the JSON part; {len(tail)} do"
        )
    return np.frombuffer(tail, np.uint8).reshape(shape)


def _outputs(request: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
    all_binary = _flag(_parameters(request), "binary_data_output", False)
    wanted = request.get("outputs")
    if wanted is None:
        return tuple((name, all_binary) for name in OUTPUTS)
    if not isinstance(wanted, list) or not all(isinstance(tensor, dict) for tensor in wanted):
        raise malformed("outputs must be a list of objects")
    names = [tensor.get("name") for tensor in wanted]
    if any(not isinstance(name, str) or name not in OUTPUTS for name in names):
        raise malformed(f"an output that is not there; these are: {', '.join(OUTPUTS)}")
    if len(set(names)) != len(names):
        raise malformed("an output is asked for twice")
    result = []
    for tensor in wanted:
        parameters = _parameters(tensor)
        if "classification" in parameters or "shared_memory_region" in parameters:
            raise malformed("only the binary_data parameter of an output is supported")
        result.append((tensor["name"], _flag(parameters, "binary_data", all_binary)))
    return tuple(result) or tuple((name, all_binary) for name in OUTPUTS)


def _parameters(owner: dict[str, Any]) -> dict[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise malformed("parameters must be an object")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise malformed(f"{name} must be true or false")
    return value
