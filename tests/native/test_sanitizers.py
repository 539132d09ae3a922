"""The kernels under address and undefined-behaviour sanitizers, over odd shapes and layouts."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from neurogaze_fast.ops import _library
from tests.native import emulate, variants

ROOT = Path(__file__).resolve().parents[2]
OPERATORS = ["augment", "logit_loss", "optimizer_step", "proto_geo_loss", "topomap"]
BY_KIND = {"cpu": [*OPERATORS, "conv3x3"], "emulated": OPERATORS}
# A mistake of each kind that the sanitizers are there for: (kind, file, right, wrong).
MISTAKES = [
    (
        "cpu", "cpu/proto_geo_loss_kernels.h",
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
    (
        "emulated", "cuda/topomap.cu",
        "c0 + c < C && q < P ? a.matrix", "c0 + c <= C && q < P ? a.matrix",
    ),
    (
        "cpu", "cpu/topomap.cpp",
        "r < n ? a.values[(row + r) * C + c] : T(0);",
        "a.values[(row + r) * C + c];",
    ),
    (
        "cpu", "cpu/optimizer_step.cpp",
        "for (; i < n; ++i) rest += x[i] * x[i];", "for (; i <= n; ++i) rest += x[i] * x[i];",
    ),
    (
        "cpu", "cpu/conv3x3_winograd.h",
        "const bool inside = h < t.height && w < t.width;",
        "const bool inside = h <= t.height && w < t.width;",
    ),
    (
        "emulated", "cuda/optimizer_step.cu",
        "const int64_t left = s.size - i;", "const int64_t left = s.size - i + 1;",
    ),
]  # fmt: skip
missing = emulate.available() or emulate.sanitizers_available()
pytestmark = pytest.mark.skipif(missing is not None, reason=str(missing))


@pytest.fixture(scope="module")
def runner():
    """tests.native.exercise, with the sanitizers loaded; it forks for each run."""
    environment = emulate.sanitizer_environment() | {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "tests.native.exercise"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def run(runner, tmp_path):
    def run(library, kind, operators, **environment):
        """The exit code of a run, and what it said."""
        said = tmp_path / "said"
        order = [str(library), kind, operators, environment, str(said)]
        runner.stdin.write(json.dumps(order) + "\n")
        runner.stdin.flush()
        code = int(runner.stdout.readline())
        return code, said.read_text()

    return run


@pytest.mark.parametrize(
    ("kind", "level"),
    [("cpu", "baseline"), ("cpu", "avx2"), ("cpu", "avx512"), ("emulated", "")],
)
def test_no_sanitizer_has_anything_to_say(run, kind, level):
    library = variants.build(kind, BY_KIND[kind], name=f"sanitized_{kind}", sanitize=True)
    code, said = run(library, kind, BY_KIND[kind], NEUROGAZE_CPU_LEVEL=level)
    assert code == 0, said[-4000:]
    assert said.splitlines()[-1] == "clean"
    assert "ERROR" not in said


@pytest.mark.parametrize(("kind", "file", "right", "wrong"), MISTAKES, ids=[x[1] for x in MISTAKES])
def test_a_read_past_the_end_is_reported(run, kind, file, right, wrong):
    names = {"cpu": "neurogaze_fast", "emulated": "neurogaze_emulated"}
    operators = [name for name in BY_KIND[kind] if name in file]
    wide = operators == ["conv3x3"]
    if wide and not (_library.native("cpu") and _library.operators().conv3x3_available()):
        pytest.skip("this processor has no bfloat16 products")
    folder = variants.with_mistake(kind, file, right, wrong, names[kind], wide)
    library = variants.build(kind, operators, folder, f"sanitized_{kind}", sanitize=True)
    code, said = run(library, kind, operators)
    assert code != 0
    assert re.search("AddressSanitizer: (heap|stack|global)-buffer-overflow", said), said[-4000:]
