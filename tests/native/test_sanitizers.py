"""The kernels under address and undefined-behaviour sanitizers, over odd shapes and layouts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native import emulate, variants

ROOT = Path(__file__).resolve().parents[2]
OPERATORS = ["proto_geo_loss", "logit_loss"]
# Every tensor has memory of its own, as small as it can be, so that a read past its end is seen.
RUN = """
import importlib, sys, torch
from neurogaze_fast import ops
from neurogaze_fast.ops import _library
from tests.ops.exactness import LOGIT, PROTO, PROTO_OPTIONS
library, kind = sys.argv[1:]
torch.ops.load_library(library)
_library.native = lambda device: True
if kind == "emulated":
    _library.define("neurogaze_emulated")
    _library.operators = lambda: torch.ops.neurogaze_emulated
    module = importlib.import_module("neurogaze_fast.ops.proto_geo_loss")
    split = module.rows_per_sum
    module.rows_per_sum = lambda batch, device: split(batch, "cuda")
SHAPES = [
    (1, 1, 1, 1), (2, 3, 2, 2), (7, 31, 25, 8), (9, 32, 31, 8), (16, 33, 32, 5), (17, 64, 33, 8),
    (8, 96, 5, 8), (33, 127, 40, 12), (16, 128, 2, 32), (5, 160, 100, 3), (65, 8, 3, 7),
    (24, 512, 25, 8), (2, 20, 256, 1),
]
for shape in SHAPES:
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        tensors = PROTO.inputs(shape, dtype)
        PROTO.run(ops.proto_geo_loss, tensors, shape)
        PROTO.run(ops.proto_geo_loss, tensors, shape, reduce=lambda s, c: (s, c))
        shifted = [torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape) for x in tensors]
        ops.proto_geo_loss(*shifted, **PROTO.options(shape))
        for kd in ("kl", "mse"):
            size = (shape[0], shape[3], kd)
            LOGIT.run(ops.logit_loss, LOGIT.inputs(size, dtype), size)
f, p, q, labels = PROTO.inputs((20, 6, 5, 8), torch.float32)
for bad in (-1, 8, 2**62, -(2**62)):
    labels[7] = bad
    f.requires_grad_()
    try:
        sum(ops.proto_geo_loss(f, p, q, labels, **PROTO_OPTIONS)).backward()
        assert kind == "emulated"
    except ValueError:
        assert kind == "cpu"
for value in (float("nan"), float("inf"), 1e30, 1e-40, 0.0):
    tensors = [x.clone() for x in LOGIT.inputs((19, 8), torch.float32)]
    tensors[0][2, 3] = tensors[3][4, 5] = value
    LOGIT.run(ops.logit_loss, tensors, (19, 8))
    tensors = list(PROTO.inputs((9, 6, 5, 8), torch.float32))
    tensors[0][2] = value
    PROTO.run(ops.proto_geo_loss, tensors, (9, 6, 5, 8))
print("clean")
"""
# A mistake of each kind that the sanitizers are there for: (kind, file, right, wrong).
MISTAKES = [
    (
        "cpu", "cpu/proto_geo_loss.cpp",
        "for (int64_t k = 0; k < a.cells; ++k) q[k] = target[k];",
        "for (int64_t k = 0; k <= a.cells; ++k) q[k] = target[k];",
    ),
    (
        "cpu", "cpu/logit_loss.cpp",
        "x[(l < rows ? l : rows - 1) * classes + c]", "x[l * classes + c]",
    ),
    (
        "emulated", "cuda/proto_geo_loss_kernels.cuh",
        "row[r] = mine + r < a.batch ? mine + r : a.batch - 1;", "row[r] = mine + r;",
    ),
    ("emulated", "cuda/logit_loss.cu", "  if (row < o.batch) {", "  if (row <= o.batch) {"),
]  # fmt: skip
missing = emulate.available() or emulate.sanitizers_available()
pytestmark = pytest.mark.skipif(missing is not None, reason=str(missing))


def run(library, kind, **environment):
    return subprocess.run(
        [sys.executable, "-c", RUN, str(library), kind],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=emulate.sanitizer_environment() | {"OMP_NUM_THREADS": "2"} | environment,
    )


@pytest.mark.parametrize(
    ("kind", "level"),
    [("cpu", "baseline"), ("cpu", "avx2"), ("cpu", "avx512"), ("emulated", "")],
)
def test_no_sanitizer_has_anything_to_say(kind, level):
    library = variants.build(kind, OPERATORS, name=f"sanitized_{kind}", sanitize=True)
    done = run(library, kind, NEUROGAZE_CPU_LEVEL=level)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == ["clean"]


@pytest.mark.parametrize(("kind", "file", "right", "wrong"), MISTAKES, ids=[x[1] for x in MISTAKES])
def test_a_read_past_the_end_is_reported(kind, file, right, wrong):
    names = {"cpu": "neurogaze_fast", "emulated": "neurogaze_emulated"}
    folder = variants.with_mistake(kind, file, right, wrong, names[kind])
    library = variants.build(kind, OPERATORS, folder, f"sanitized_{kind}", sanitize=True)
    done = run(library, kind)
    assert done.returncode != 0
    assert re.search("AddressSanitizer: (heap|stack|global)-buffer-overflow", done.stderr)
