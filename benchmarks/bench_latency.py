"""Time of one face and of batches, from pixels in host memory to probabilities, by engine.

All rivals of a case are timed call by call, in turns, so that a busy moment of the machine hits all
of them; every time includes the host: copies, pixels to network input, softmax. Weights are random,
which does not change times. Batches of more than WORK giga-multiplications are left to a GPU.

    python -m pytest benchmarks/bench_latency.py -s
    python -m pytest benchmarks/bench_latency.py -s -k 48-resnet18-1

The PyPI package `fer` is a rival where NEUROGAZE_FER_PYTHON names a Python that has it.
"""

from __future__ import annotations

import gc
import os
import random
import time

import numpy as np
import pytest
import torch

from benchmarks.fer_rival import FerChild
from benchmarks.measure import DEVICE, hardware
from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.graph import FaceGraph
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import save_model
from neurogaze_fast.student.resnet import ResNet

ARCHITECTURES = ("resnet18", "resnet50")
SIDES = (48, 112, 224)
BATCHES = (1, 8, 64, 256)
THREADS = torch.get_num_threads()
TURNS = 9
TURN_S = 0.15
"""Each rival runs for about this long in each turn, and at least once."""
AT_FIRST = 2
WORK = 150.0 if DEVICE == "cpu" else 1e9
"""Giga-multiplications of a batch at most."""
OURS = ("tensorrt fp16", "tensorrt-rtx fp16", "openvino bf16", "openvino fp32")
ENGINES = {
    "onnxruntime fp32": ("onnxruntime", "fp32"),
    "onnxruntime int8": ("onnxruntime", "int8"),
    "openvino fp32": ("openvino", "fp32"),
    "openvino bf16": ("openvino", "bf16"),
    "openvino int8": ("openvino", "int8"),
    "tensorrt fp16": ("tensorrt", "fp16"),
    "tensorrt int8": ("tensorrt", "int8"),
    "tensorrt-rtx fp16": ("tensorrt-rtx", "fp16"),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="module", params=SIDES)
def exported(request, architecture, tmp_path_factory):
    """(student, side, run folder with its graphs)."""
    from neurogaze_fast.deploy.export.config import ExportConfig
    from neurogaze_fast.deploy.export.exporting import Graphs
    from neurogaze_fast.evaluation.run_record import read_run

    side = request.param
    torch.manual_seed(0)
    # 112 and 224 pixels are what the usual stem is for; 48 what the small one is.
    model = ResNet(architecture, stem="small" if side < 100 else "imagenet").eval()
    folder = tmp_path_factory.mktemp(f"{architecture}-{side}")
    save_model(folder / "model.safetensors", model, model.state_dict(), random_weights(side))
    config = ExportConfig(folder, calibration_faces=16)
    graphs = Graphs(read_run(folder), config, folder / "export")
    drawn, _ = draw_faces("train", 16)
    graphs.__dict__["faces"] = _OneSplit(drawn)
    for precision in ("fp32", "int8", *(("fp16",) if torch.cuda.is_available() else ())):
        graphs.graph(precision)
    return model, side, folder


def random_weights(side):
    """What the manifest says of a model that learned nothing."""
    return {
        "size": side, "flip": False, "synthetic": True,
        "data": {"source": "drawn", "sha256": "0" * 64, "synthetic": True},
        "selected": {"by": "last", "epoch": 1, "on": "valid", "value": 0.0},
    }  # fmt: skip


class _OneSplit:
    """Drawn faces as the set that int8 is calibrated on."""

    source, synthetic = "drawn", True

    def __init__(self, images):
        self.images, self.splits = images, {"train": self}

    def __getitem__(self, _split):
        return self

    def labelled(self, _rule):
        return np.arange(len(self.images)), np.eye(8)[np.arange(len(self.images)) % 8]

    def subset(self, index):
        return _OneSplit(self.images[index])

    def usable(self):
        return self, {}


def rival(folder, name, images, left_out):
    """A call of an engine, or None with the reason noted."""
    from neurogaze_fast.deploy.engines.open import open_engine

    engine, precision = ENGINES[name]
    if engine.startswith("tensorrt") and DEVICE == "cpu":
        left_out[name] = "It needs a GPU."
        return None
    try:
        opened = open_engine(folder, engine, precision=precision, threads=THREADS)
    except (EngineError, ConfigError) as cause:
        left_out[name] = str(cause)
        return None
    return lambda: opened.run(images)


def fer_package(images, left_out):
    """{name: a timed call} of the `fer` package's two models, and what to close."""
    python = os.environ.get("NEUROGAZE_FER_PYTHON")
    if not python:
        left_out["fer"] = "NEUROGAZE_FER_PYTHON is not set"
        return {}, []
    children = {kind: FerChild(python, kind) for kind in ("tflite", "keras")}
    for kind, child in children.items():
        if child.ready:
            left_out[f"fer {kind}"] = child.ready["error"]
    good = {kind: child for kind, child in children.items() if not child.ready}
    timed = {
        f"fer {kind}": lambda calls, child=child: child.seconds(calls, images)
        for kind, child in good.items()
    }
    return timed, list(children.values())


def here(call):
    """A timed call of this process."""

    def timed(calls):
        taken = []
        for _ in range(calls):
            begin = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begin)
        return taken

    return timed


def in_turns(timed, turns):
    """{name: [seconds of each call]} of {name: calls -> seconds}, in another order each turn.

    The first calls of a turn are not counted: they find the caches and threads of another rival.
    """
    calls = {name: min(2000, int(TURN_S / min(rival(3)))) or 1 for name, rival in timed.items()}
    times, order = {name: [] for name in timed}, list(timed)
    shuffle = random.Random(0).shuffle
    gc.collect()
    gc.disable()
    try:
        for _ in range(turns):
            shuffle(order)
            for name in order:
                first = AT_FIRST if calls[name] > 1 else 1
                times[name] += timed[name](calls[name] + first)[first:]
    finally:
        gc.enable()
    return times


def quantile(values, share):
    """Milliseconds, or None where there are too few calls to tell."""
    enough = share <= 0.5 or len(values) * (1 - share) >= 1
    return round(1e3 * float(np.quantile(values, share)), 4) if enough else None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", BATCHES)
def test_latency(benchmark, exported, batch, architecture):
    model, side, folder = exported
    work = batch * multiplications(model, side) / 1e9
    if work > WORK:
        pytest.skip(f"{work:.0f} giga-multiplications: too many for a CPU")
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    half = torch.float16 if DEVICE == "cuda" else torch.bfloat16
    full, low = (
        FaceGraph(model, side, side, dtype).to(DEVICE, memory_format=torch.channels_last).eval()
        for dtype in (torch.float32, half)
    )
    torch._dynamo.reset()
    # On a GPU with CUDA graphs, its fastest way for one shape.
    mode = "reduce-overhead" if DEVICE == "cuda" else "default"

    def through(network):
        def call():
            with torch.inference_mode():
                probabilities, affect = network(torch.from_numpy(images).to(DEVICE))
                return probabilities.cpu(), affect.cpu()

        return call

    left_out = {}
    rivals = {}
    for kind, graph in (("fp32", full), (str(half).removeprefix("torch."), low)):
        rivals[f"torch eager {kind}"] = through(graph)
        plain = torch.compile(graph, dynamic=False, mode=mode)
        rivals[f"torch.compile {kind}"] = through(plain)
    for name in ENGINES:
        rivals[name] = rival(folder, name, images, left_out)
    rivals = {name: call for name, call in rivals.items() if call is not None}
    timed = {name: here(call) for name, call in rivals.items()}
    children = []
    if side == 48 and architecture == "resnet18":
        more, children = fer_package(images, left_out)
        timed |= more
    times = in_turns(timed, TURNS if work < WORK / 10 else 3)
    for child in children:
        child.close()
    ours = next((name for name in OURS if name in rivals), "torch.compile fp32")
    benchmark.pedantic(rivals[ours], rounds=3, warmup_rounds=1)
    p50 = {name: quantile(values, 0.5) for name, values in times.items()}
    p99 = {name: quantile(values, 0.99) for name, values in times.items()}
    benchmark.extra_info |= {
        "case": f"{architecture} {side} px, batch {batch}",
        "threads": THREADS,
        "calls": {name: len(values) for name, values in times.items()},
        "hardware": hardware(),
        "torch": torch.__version__,
        "p50_ms": p50,
        "p99_ms": p99,
        "images_per_second": {name: round(1e3 * batch / value, 1) for name, value in p50.items()},
        "left_out": left_out,
    }
    print(f"\n{architecture}, {side} px, batch {batch}; {hardware()}")
    print("                          p50 ms    p99 ms  calls      img/s  x onnxruntime fp32")
    base = p50.get("onnxruntime fp32") or p50["torch eager fp32"]
    for name, value in sorted(p50.items(), key=lambda item: item[1]):
        late = "        -" if p99[name] is None else f"{p99[name]:9.3f}"
        print(
            f"  {name:20} {value:9.3f} {late} {len(times[name]):6} "
            f"{1e3 * batch / value:10.0f} {base / value:6.2f}"
        )
    for name, reason in left_out.items():
        print(f"  {name:18} left out: {reason[:100]}")


def multiplications(model, side):
    """Of the convolutions and products for one face."""
    counted = 0

    def count(module, _inputs, output):
        nonlocal counted
        shape = module.weight.shape
        counted += output[0, 0].numel() * shape.numel() if output.ndim == 4 else shape.numel()

    handles = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    with torch.inference_mode():
        channels = next(model.parameters()).shape[1]
        model(torch.zeros(1, channels, side, side))
    for handle in handles:
        handle.remove()
    return counted
