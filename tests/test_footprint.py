"""No command looks up a host, connects anywhere, or leaves files where nobody asked for them."""

import os
import shutil
import signal
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tests.deploy.small_model import write_run
from tests.watched_process import Place

QUICK = (
    *("--epochs", "1", "--size", "16", "--start-size", "None", "--batch-size", "32"),
    *("--stem", "imagenet", "--no-augment"),
)
PREDICTOR = """
import numpy as np
from neurogaze_fast.deploy import Predictor
from neurogaze_fast.deploy.vision.detect import CenterFace
CenterFace().detect(np.zeros((64, 64, 3), np.uint8))
for engine in ("onnxruntime", "openvino"):
    Predictor("run", engine).predict(np.zeros((40, 40, 3), np.uint8))
"""
"""What another program does with the package."""
BENCHMARKS = """
import benchmarks.bench_latency
from neurogaze_fast.deploy import open_engine
for engine in ("onnxruntime", "openvino"):
    open_engine("run", engine).close()
"""


@pytest.fixture(scope="module")
def place(small_set, tmp_path_factory):
    """A home that is empty at first, a face set, a picture and a model."""
    place = Place(tmp_path_factory.mktemp("watched"))
    shutil.copytree(small_set, place.work / "faces")
    write_run(place.work / "run")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(place.work / "picture.png")
    done = place.run("-m", "neurogaze_fast.export", "run", "--engine", "onnx", "--data", "faces")
    assert_clean(done)
    return place


def assert_clean(done):
    assert done.code == 0, done.output
    assert done.network == []
    assert done.outside == []


@pytest.mark.parametrize(
    "words",
    [
        "doctor",
        # Its children are runs of train.
        "ablate --data faces --out study --arms b0 --seeds 1 --jobs 1",
        "evaluate run --data faces --out scores",
        "export run --engine openvino --precision fp32 --data faces --out graphs",
        "predict picture.png --model run --out found",
        "prepare shards --data faces --out shards",
        "prepare eeg --demo --demo-subjects 2 --demo-seconds 10 --demo-sessions 2 --demo-clips 3"
        " --out maps;"
        "train_teacher maps --epochs 1 --folds 0 --width 16 --threads 1 --out teacher;"
        "build_prototypes teacher --out bank.safetensors",
    ],
    ids=lambda words: (
        " ".join(words.split()[:2]) if words.startswith("prepare") else words.split()[0]
    ),
)
def test_commands_leave_nothing_and_tell_nobody(place, words):
    for command in words.split(";"):
        name, *options = command.split()
        if name == "ablate":
            options += QUICK
        assert_clean(place.run("-m", f"neurogaze_fast.{name}", *options))


@pytest.mark.parametrize("code", [PREDICTOR, BENCHMARKS], ids=["predictor", "benchmarks"])
def test_a_program_that_uses_the_package_tells_nobody(place, code):
    assert_clean(place.run("-c", code))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_server_tells_nobody(place, engine):
    process, judge = place.start(
        "-m", "neurogaze_fast.serve", "--model", "run", "--engine", engine, "--port", "0"
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Listening on "):
                address = line.split()[2]
                break
        picture = (place.work / "picture.png").read_bytes()
        for path, body in (("/v2/health/live", None), ("/predict?detect=0", picture)):
            with urllib.request.urlopen(address + path, body, timeout=60) as answer:
                assert answer.status == 200
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        lines += process.communicate(timeout=60)[0]
    assert_clean(judge("".join(lines)))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import socket\ntry: socket.getaddrinfo('nowhere.invalid', 1)\nexcept OSError: pass",
         "network"),
        ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
         "s.connect(('192.0.2.1', 9))", "network"),
        ("import pathlib\n(pathlib.Path.home() / '.ids').write_text('x')", "outside"),
    ],
)  # fmt: skip
def test_what_is_planted_is_found(tmp_path, code, kind):
    done = Place(tmp_path / "planted").run("-c", code)
    assert done.code == 0, done.output
    assert getattr(done, kind)
