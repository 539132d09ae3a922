"""Where operators come from, what is said of it, and that no level changes a result."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from neurogaze_fast import ops, reference
from neurogaze_fast.ops import _library
from tests import tolerances
from tests.ops.exactness import LOGIT, PROTO, logit_inputs, proto_inputs

ROOT = Path(__file__).resolve().parents[2]
SHAPES = [(17, 33, 5, 8), (40, 96, 33, 8), (9, 20, 64, 3)]
RUN = f"""
import json, torch
from neurogaze_fast.ops import _library
from tests.ops.exactness import LOGIT, PROTO, logit_inputs, proto_inputs
results = []
for shape in {SHAPES}:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for operator in (PROTO, LOGIT):
            size = shape if operator is PROTO else (shape[0], shape[3])
            values, gradient = operator.run(operator.native, operator.inputs(size, dtype), size)
            results.append([*map(float, values), *gradient.double().flatten().tolist()])
print(json.dumps({{"status": _library.status("cpu"), "results": results}}))
"""


def run(script=RUN, **environment):
    environment = os.environ | environment
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def plain():
    return run(NEUROGAZE_NATIVE="0")


@pytest.fixture
def fresh():
    """status() forgets what it found, before and after."""
    _library.status.cache_clear()
    yield
    _library.status.cache_clear()


def test_plain_torch_runs_where_it_is_asked_for_and_nothing_warns(plain):
    found, stderr = plain
    assert found["status"] == [False, "NEUROGAZE_NATIVE=0 asks for plain torch"]
    assert "RuntimeWarning" not in stderr


def products():
    return torch.ops.neurogaze_fast.conv3x3_available()


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512", "unknown"])
def test_every_level_gives_what_plain_torch_gives(cpu, plain, level):
    found, stderr = run(NEUROGAZE_CPU_LEVEL=level)
    names = ["baseline", "AVX2", "AVX-512"]
    best = torch.ops.neurogaze_fast.cpu_level()
    asked = names.index({"baseline": "baseline", "avx2": "AVX2"}.get(level, "AVX-512"))
    if "NEUROGAZE_CPU_LEVEL" not in os.environ:
        more = " with bfloat16 products" if asked >= best and products() else ""
        assert found["status"] == [True, f"C++, {names[min(asked, best)]}{more}"]
    assert "Warning" not in stderr
    dtypes = [torch.float64, torch.float32, torch.bfloat16]
    for index, (got, want) in enumerate(zip(found["results"], plain[0]["results"], strict=True)):
        limits = tolerances.same_formula(dtypes[index // 2 % 3])
        torch.testing.assert_close(torch.tensor(got), torch.tensor(want), **limits)


def test_levels_are_named_in_the_order_of_the_library(cpu):
    level = cpu.raw.cpu_level()
    assert level in (0, 1, 2)
    more = " with bfloat16 products" if products() else ""
    assert _library.status("cpu") == (True, f"C++, {_library.LEVELS[level]}{more}")


@pytest.mark.usefixtures("fresh")
def test_a_missing_library_warns_once_and_the_reference_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(_library, "_PACKAGE", tmp_path)
    monkeypatch.delenv("NEUROGAZE_NATIVE", raising=False)
    proto, logit = proto_inputs((9, 6, 5, 8), torch.float32), logit_inputs((9, 8), torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            got = [
                PROTO.run(ops.proto_geo_loss, proto, (9, 6, 5, 8)),
                LOGIT.run(ops.logit_loss, logit, (9, 8)),
            ]
    (warning,) = (w for w in caught if issubclass(w.category, RuntimeWarning))
    assert "native cpu operators are not in use (_C was not built" in str(warning.message)
    want = [
        PROTO.run(reference.proto_geo_loss, proto, (9, 6, 5, 8)),
        LOGIT.run(reference.logit_loss, logit, (9, 8)),
    ]
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert _library.status("cpu") == (
        False, "_C was not built: reinstall where there is a compiler",
    )  # fmt: skip


@pytest.mark.usefixtures("fresh")
def test_a_library_that_does_not_load_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(_library, "_PACKAGE", tmp_path)
    monkeypatch.delenv("NEUROGAZE_NATIVE", raising=False)
    (tmp_path / "_C.abi3.so").write_bytes(b"not a library")
    with pytest.warns(RuntimeWarning, match=r"_C\.abi3\.so does not load: .*"):
        loaded, why = _library.status("cpu")
    assert not loaded
    assert why.startswith("_C.abi3.so does not load: ")


@pytest.mark.usefixtures("fresh")
def test_what_there_is_for_other_devices(monkeypatch):
    monkeypatch.delenv("NEUROGAZE_NATIVE", raising=False)
    assert _library.status("mps") == (False, "there is no native operator for 'mps' tensors")
    if torch.version.cuda is None:
        assert _library.status("cuda") == (False, "this torch was built without CUDA")


def test_tensors_without_memory_run_on_the_reference(cpu):
    tensors = [x.to("meta") for x in proto_inputs((9, 6, 5, 8), torch.float32)]
    values, gradient = PROTO.run(ops.proto_geo_loss, tensors, (9, 6, 5, 8))
    assert [v.device.type for v in values] == ["meta"] * 3
    assert gradient.shape == (9, 6)


def test_the_mark_is_what_torchs_own_decorator_sets():
    def unmarked():
        pass

    before = set(vars(unmarked))
    torch.compiler.assume_constant_result(unmarked)
    (mark,) = set(vars(unmarked)) - before
    assert vars(_library.native)[mark] is vars(unmarked)[mark] is True


def test_the_compiler_is_not_loaded_before_it_is_asked_for():
    """It takes longer than all other imports of a start together."""
    script = """
import json, sys, torch
from neurogaze_fast import ops
import neurogaze_fast.student.loop, neurogaze_fast.deploy.engines.torch_engine
x = torch.zeros(2, 8)
ops.logit_loss(x, x, x[0], None, label_smoothing=0.0, kd="kl", temperature=1.0)
print(json.dumps([name for name in ("torch._dynamo", "sympy") if name in sys.modules]))
"""
    assert run(script)[0] == []
