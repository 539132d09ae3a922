"""logit_loss, forward and backward together."""

import pytest
import torch

from benchmarks.baselines import logit_loss as baseline
from benchmarks.measure import DEVICE, compiled, record
from neurogaze_fast.ops import logit_loss


@pytest.mark.timeout(900)
@pytest.mark.benchmark(group="logit_loss")
@pytest.mark.parametrize("kd", ["kl", "mse"])
@pytest.mark.parametrize("batch", [64, 128, 512, 1024, 4096])
def test_forward_and_backward(benchmark, batch, kd):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, 8, generator=generator).to(DEVICE).requires_grad_()
    targets = torch.rand(batch, 8, generator=generator).softmax(1).to(DEVICE)
    weights = (torch.rand(8, generator=generator) + 0.5).to(DEVICE)
    teacher = torch.randn(batch, 8, generator=generator).to(DEVICE)
    options = {"label_smoothing": 0.055, "kd": kd, "temperature": 5.0}

    def step(loss):
        def total(z):
            ce, distilled = loss(z, targets, weights, teacher, **options)
            return ce + 0.3 * distilled

        return total

    eager, native = step(baseline.logit_loss), step(logit_loss)
    torch.testing.assert_close(native(logits), eager(logits), rtol=1e-4, atol=1e-5)
    quick = compiled(eager)
    rivals = {
        "eager": lambda: torch.autograd.grad(eager(logits), logits),
        "torch.compile": lambda: torch.autograd.grad(quick(logits), logits),
        "native": lambda: torch.autograd.grad(native(logits), logits),
    }
    moved = 4 * logits.nbytes
    record(benchmark, "logit_loss", f"B {batch}, {kd}", rivals, moved)
