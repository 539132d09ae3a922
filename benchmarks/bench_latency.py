"""Time of one face and of batches, from pixels in host memory to probabilities, by engine.

All rivals of a case are measured in turns, so that a busy moment of the machine hits all of them;
every time includes the host: copies, pixels to network input, softmax. Weights are random, which
does not change times.

    python -m pytest benchmarks/bench_latency.py -s
    python -m pytest benchmarks/bench_latency.py -s -k 48-resnet18-1
"""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch

from benchmarks.measure import compiled, hardware, in_turns
from neurogaze_fast.deploy.base import EngineError
from neurogaze_fast.deploy.graph import FaceGraph
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import save_model
from neurogaze_fast.student.resnet import ResNet

ARCHITECTURES = ("resnet18", "resnet50")
SIDES = (48, 112, 224)
BATCHES = (1, 8, 64, 256)
THREADS = torch.get_num_threads()
TURNS = 7
OURS = "openvino bf16"
ENGINES = {
    "onnxruntime fp32": ("onnxruntime", "fp32"),
    "onnxruntime int8": ("onnxruntime", "int8"),
    "openvino fp32": ("openvino", "fp32"),
    "openvino bf16": ("openvino", "bf16"),
    "openvino int8": ("openvino", "int8"),
    "tensorrt fp16": ("tensorrt", "fp16"),
    "tensorrt int8": ("tensorrt", "int8"),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="module", params=SIDES)
def exported(request, architecture, tmp_path_factory):
    """(student, side, run folder with its graphs)."""
    from neurogaze_fast.deploy.config_export import ExportConfig
    from neurogaze_fast.deploy.exporting import Graphs
    from neurogaze_fast.evaluation.run_record import read_run

    side = request.param
    torch.manual_seed(0)
    # 112 and 224 pixels are what the usual stem is for; 48 what the small one is.
    model = ResNet(architecture, stem="small" if side < 100 else "imagenet").eval()
    folder = tmp_path_factory.mktemp(f"{architecture}-{side}")
    facts = {"size": side, "flip": False, "synthetic": True, "selected": {}, "data": {}}
    save_model(folder / "model.safetensors", model, model.state_dict(), facts)
    config = ExportConfig(folder, calibration_faces=16)
    graphs = Graphs(read_run(folder), config, folder / "export")
    drawn, _ = draw_faces("train", 16)
    graphs.__dict__["faces"] = _OneSplit(drawn)
    for precision in ("fp32", "int8", *(("fp16",) if torch.cuda.is_available() else ())):
        graphs.graph(precision)
    return model, side, folder


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


def rival(folder, name, images, left_out):
    """A call of an engine, or None with the reason noted."""
    from neurogaze_fast.deploy.engine import open_engine

    engine, precision = ENGINES[name]
    try:
        opened = open_engine(folder, engine, precision=precision, threads=THREADS)
    except (EngineError, ConfigError) as cause:
        left_out[name] = str(cause)
        return None
    return lambda: opened.run(images)


def fer_package(images):
    """A call of the `fer` package's expression model (64 px, mini-Xception), or None."""
    try:
        from fer import FER
    except ImportError:
        return None
    detector = FER(mtcnn=False)
    boxes = [(0, 0, images.shape[2], images.shape[1])]
    return lambda: [detector.detect_emotions(image, face_rectangles=boxes) for image in images]


@pytest.mark.parametrize("batch", BATCHES)
def test_latency(benchmark, exported, batch, architecture):
    model, side, folder = exported
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    graph = FaceGraph(model, side, side).to(device, memory_format=torch.channels_last).eval()
    plain = compiled(graph)

    def through(network):
        def call():
            with torch.inference_mode():
                probabilities, affect = network(torch.from_numpy(images).to(device))
                return probabilities.cpu(), affect.cpu()

        return call

    left_out = {}
    rivals = {"torch eager": through(graph), "torch.compile": through(plain)}
    for name in ENGINES:
        rivals[name] = rival(folder, name, images, left_out)
    if batch == 1 and side == 48:
        rivals["fer"] = fer_package(images)
    rivals = {name: call for name, call in rivals.items() if call is not None}
    turns = TURNS if batch * side * side <= 64 * 112 * 112 else 3
    times = in_turns(rivals, turns)
    ours = OURS if OURS in rivals else "openvino fp32"
    benchmark.pedantic(rivals[ours], rounds=3, warmup_rounds=1)
    median = {name: statistics.median(values) for name, values in times.items()}
    benchmark.extra_info |= {
        "case": f"{architecture} {side} px, batch {batch}",
        "threads": THREADS,
        "turns": turns,
        "hardware": hardware(),
        "torch": torch.__version__,
        "ms": {name: round(value * 1e3, 4) for name, value in median.items()},
        "images_per_second": {name: round(batch / value, 1) for name, value in median.items()},
        "left_out": left_out,
    }
    print(f"\n{architecture}, {side} px, batch {batch}; {hardware()}; medians of {turns} turns")
    base = median["onnxruntime fp32"]
    for name, value in sorted(median.items(), key=lambda item: item[1]):
        print(f"  {name:18} {1e3 * value:9.3f} ms {batch / value:10.0f} img/s {base / value:6.2f}x")
    for name, reason in left_out.items():
        print(f"  {name:18} left out: {reason[:100]}")
