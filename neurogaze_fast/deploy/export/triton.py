"""A model repository for NVIDIA's Triton server, written from a verified graph and read back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neurogaze_fast.artifacts import atomic_write, sha256_bytes
from neurogaze_fast.deploy.engines.base import INPUT, MAX_BATCH, OUTPUTS
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError, ConfigError, OutputExistsError

MODEL_NAME = "neurogaze"
PREFERRED = (8, 32, 64)
QUEUE_DELAY_US = 500
_CONFIG, _LABELS, _GRAPH = "config.pbtxt", "labels.txt", "1/model.onnx"


def write_repository(graph: OpenedGraph, folder: Path, name: str = MODEL_NAME) -> Path:
    """Write FOLDER/NAME with config.pbtxt, labels.txt and 1/model.onnx (with its manifest).

    The graph goes to Triton's onnxruntime backend. What is there already stays if it is the same.

    Raises:
        OutputExistsError: FOLDER/NAME holds something else. ConfigError: a bf16 graph.
    """
    if graph.precision == "bf16":
        raise ConfigError(
            f"{graph.path} is a bf16 graph, and ONNX Runtime, which runs it in Triton, has no bf16 "
            "kernels for CPUs. Export with another --precision for --triton."
        )
    target = Path(folder) / name
    manifest = graph.path.with_suffix(".manifest.json").read_text(encoding="ascii")
    files = {
        _GRAPH: graph.data,
        "1/source.manifest.json": manifest.encode("ascii"),
        _LABELS: ("\n".join(EMOTIONS) + "\n").encode("ascii"),
        _CONFIG: config_text(name, graph.input_size).encode("ascii"),
    }
    if target.exists() and any(target.iterdir()):
        for file, data in files.items():
            there = target / file
            if not there.exists() or there.read_bytes() != data:
                raise OutputExistsError(
                    f"{target} exists and was left alone: its {file} is not that of this graph. "
                    "Move it away, or choose another --triton folder."
                )
        return target
    for file, data in files.items():  # config last: Triton polls for it
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target / file, data)
    return target


def config_text(name: str, side: int) -> str:
    """The config.pbtxt of a graph whose faces have `side` pixels each way."""
    preferred = ", ".join(map(str, PREFERRED))
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
  {{
    name: "{INPUT}"
    data_type: TYPE_UINT8
    dims: [ {side}, {side}, 3 ]
  }}
]
output [
  {{
    name: "{OUTPUTS[0]}"
    data_type: TYPE_FP32
    dims: [ {len(EMOTIONS)} ]
    label_filename: "{_LABELS}"
  }},
  {{
    name: "{OUTPUTS[1]}"
    data_type: TYPE_FP32
    dims: [ 2 ]
  }}
]
version_policy: {{ specific {{ versions: [ 1 ] }} }}
instance_group [
  {{
    kind: KIND_AUTO
    count: 1
  }}
]
dynamic_batching {{
  preferred_batch_size: [ {preferred} ]
  max_queue_delay_microseconds: {QUEUE_DELAY_US}
}}
"""


def check_repository(folder: Path, name: str = MODEL_NAME) -> dict[str, Any]:
    """Read a repository back as Triton would and compare its parts; return its configuration.

    Raises:
        ArtifactError: a file is missing, or configuration, labels and graph do not belong together.
    """
    target = Path(folder) / name

    def refuse(reason: str) -> ArtifactError:
        return ArtifactError(
            f"{target} is no consistent Triton model: {reason}. Remove it and export again with "
            "--triton."
        )

    try:
        config = parse_pbtxt((target / _CONFIG).read_text(encoding="ascii"))
        labels = (target / _LABELS).read_text(encoding="ascii").splitlines()
        data = (target / _GRAPH).read_bytes()
    except OSError as cause:
        raise refuse(f"{cause.filename} cannot be read ({cause.strerror})") from cause
    except ValueError as cause:
        raise refuse(f"{_CONFIG} cannot be parsed ({cause})") from cause
    facts = _source_facts(target, data, refuse)
    side = facts["input_size"]
    wanted = parse_pbtxt(config_text(name, side))
    for key in sorted({*wanted, *config}):
        if config.get(key) != wanted.get(key):
            raise refuse(f"{key!r} of {_CONFIG} is {config.get(key)}, not {wanted.get(key)}")
    if labels != list(EMOTIONS):
        raise refuse(f"{_LABELS} names {labels}, not {list(EMOTIONS)}")
    return config


def _source_facts(target: Path, data: bytes, refuse: Any) -> dict[str, Any]:
    import json

    from neurogaze_fast.deploy.engines.onnx_safety import check_graph

    try:
        manifest = json.loads((target / "1" / "source.manifest.json").read_text(encoding="ascii"))
        facts, digest = manifest["provenance"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise refuse("1/source.manifest.json is missing or damaged") from cause
    if sha256_bytes(data) != digest:
        raise refuse(f"{_GRAPH} is not the file its manifest describes")
    check_graph(data, facts, str(target / _GRAPH))
    return facts


_TOKEN = re.compile(r'\s+|#[^\n]*|("[^"\\\n]*"|[A-Za-z_][A-Za-z0-9_]*|-?[0-9.]+|[{}\[\]:,])')


def parse_pbtxt(text: str) -> dict[str, Any]:
    """A protobuf text as nested dicts, lists and scalars: the part of the grammar Triton uses.

    Raises:
        ValueError: it is not such a text.
    """
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise ValueError(f"unexpected {text[at : at + 10]!r}")
        at = found.end()
        if found[1]:
            tokens.append(found[1])
    tokens.append("")
    value, end = _fields(tokens, 0)
    if end != len(tokens) - 1:
        raise ValueError(f"unexpected {tokens[end]!r}")
    return value


def _fields(tokens: list[str], at: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while tokens[at] not in ("", "}"):
        key, at = tokens[at], at + 1
        if not key.isidentifier() or key in fields:
            raise ValueError(f"unexpected or repeated {key!r}")
        at += tokens[at] == ":"
        fields[key], at = _value(tokens, at)
        at += tokens[at] == ","
    return fields, at


def _value(tokens: list[str], at: int) -> tuple[Any, int]:
    token = tokens[at]
    if token == "{":
        fields, at = _fields(tokens, at + 1)
        if tokens[at] != "}":
            raise ValueError("a { is not closed")
        return fields, at + 1
    if token == "[":
        items, at = [], at + 1
        while tokens[at] != "]":
            item, at = _value(tokens, at)
            items.append(item)
            at += tokens[at] == ","
        return items, at + 1
    if token.startswith('"'):
        return token[1:-1], at + 1
    if re.fullmatch(r"-?\d+", token):
        return int(token), at + 1
    if token.isidentifier():
        return token, at + 1
    raise ValueError(f"unexpected {token!r}")
