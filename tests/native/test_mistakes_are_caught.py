"""The comparison that the operators are tested with fails for kernels that are a little wrong."""

import importlib

import pytest
import torch

from neurogaze_fast.ops import _library
from tests.native import emulate, variants
from tests.ops.exactness import LOGIT, PROTO, assert_as_exact_as_torch

# (operator, kind, file, right, wrong)
MISTAKES = {
    "radial part dropped": (
        PROTO, "cpu", "cpu/proto_geo_loss_kernels.h",
        "norm_is_clamped(inverse) ? T(0) : radial;", "T(0);",
    ),
    "columns not scaled back": (
        PROTO, "cpu", "cpu/proto_geo_loss_kernels.h",
        "unit[k] = slope * a.inverse_norms[k];", "unit[k] = slope;",
    ),
    "last part of the sums skipped": (
        PROTO, "cpu", "cpu/proto_geo_loss_kernels.h",
        "for (int64_t p = 0; p < a.parts; ++p) {", "for (int64_t p = 0; p + 1 < a.parts; ++p) {",
    ),
    "counts of the two classes exchanged": (
        PROTO, "cpu", "cpu/proto_geo_loss_kernels.h",
        "cross * scale[b], D);", "cross * scale[c], D);",
    ),
    "radial part dropped on CUDA": (
        PROTO, "emulated", "cuda/proto_geo_loss_kernels.cuh",
        "norm_is_clamped(inverse_f[r]) ? T(0) : radial;", "T(0);",
    ),
    "a barrier forgotten": (
        PROTO, "emulated", "cuda/proto_geo_loss_kernels.cuh",
        "  if (lane == 0) warp_loss[warp] = loss;\n  __syncthreads();\n",
        "  if (lane == 0) warp_loss[warp] = loss;\n",
    ),
    "last block of the sums skipped": (
        PROTO, "emulated", "cuda/proto_geo_loss_kernels.cuh",
        "for (int64_t p = slice; p < a.parts; p += slices)",
        "for (int64_t p = slice; p + 1 < a.parts; p += slices)",
    ),
    "cap and margin exchanged": (
        PROTO, "emulated", "cuda/proto_geo_loss_kernels.cuh",
        "gp * sum[r][j] + gc * cap[j] + gm * margin[j]",
        "gp * sum[r][j] + gm * cap[j] + gc * margin[j]",
    ),
    "mass of the target taken for 1": (
        LOGIT, "cpu", "cpu/logit_loss.cpp", "exp_of(z[i]) * mass[l] - y[i]", "exp_of(z[i]) - y[i]",
    ),
    "student and teacher exchanged": (
        LOGIT, "cpu", "cpu/logit_loss.cpp", "q * (t[i] - z[i])", "p * (t[i] - z[i])",
    ),
    "last chunk skipped": (
        LOGIT, "cpu", "cpu/logit_loss.cpp",
        "for (int64_t i = 0; i < chunks; ++i) {", "for (int64_t i = 0; i + 1 < chunks; ++i) {",
    ),
    "one rounding to bfloat16": (
        LOGIT, "cpu", "cpu/logit_loss.cpp",
        "loss[l] -= y[i] * z[i];", "loss[l] -= T(to_opmath(from_opmath<bf16>(y[i] * z[i])));",
    ),
    "mass of the target taken for 1 on CUDA": (
        LOGIT, "emulated", "cuda/logit_loss.cu", " * mass -", " -",
    ),
    "student and teacher exchanged on CUDA": (
        LOGIT, "emulated", "cuda/logit_loss.cu", "q * (log_q - log_p)", "p * (log_q - log_p)",
    ),
    "last block skipped": (
        LOGIT, "emulated", "cuda/logit_loss.cu",
        "for (int b = threadIdx.x; b < blocks; b += 32)",
        "for (int b = threadIdx.x; b + 1 < blocks; b += 32)",
    ),
    "two gradients exchanged": (
        LOGIT, "emulated", "cuda/logit_loss.cu",
        "*grad_ce * d_ce[i] + (d_kd ? *grad_kd", "*grad_kd * d_ce[i] + (d_kd ? *grad_ce",
    ),
}  # fmt: skip
# More rows than one chunk, or block, has.
SHAPES = {"proto_geo_loss": (40, 64, 5, 8), "logit_loss": (1100, 5, "kl")}

pytestmark = pytest.mark.skipif(emulate.available() is not None, reason=str(emulate.available()))


@pytest.fixture
def use(monkeypatch):
    """Makes neurogaze_fast.ops run the operators in a namespace."""
    module = importlib.import_module("neurogaze_fast.ops.proto_geo_loss")
    split = module.rows_per_sum

    def use(namespace, kind):
        device = "cuda" if kind == "emulated" else "cpu"
        monkeypatch.setattr(_library, "native", lambda device: True)
        monkeypatch.setattr(_library, "operators", lambda: getattr(torch.ops, namespace))
        monkeypatch.setattr(module, "rows_per_sum", lambda batch, _: split(batch, device))

    return use


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught(use, name):
    operator, kind, file, right, wrong = MISTAKES[name]
    namespace = f"neurogaze_mistake_{list(MISTAKES).index(name)}"
    folder = variants.with_mistake(kind, file, right, wrong, namespace)
    library = variants.build(kind, [operator.name], folder, namespace)
    _library.define(namespace)
    torch.ops.load_library(str(library))
    use(namespace, kind)
    with pytest.raises(AssertionError, match=operator.name):
        assert_as_exact_as_torch(operator, SHAPES[operator.name], torch.float32)
