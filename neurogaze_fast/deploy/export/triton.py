"""A model repository for NVIDIA's Triton server, written from a verified graph."""

from __future__ import annotations

from pathlib import Path

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.deploy.engines.base import INPUT, MAX_BATCH, OUTPUTS
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, OutputExistsError

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
