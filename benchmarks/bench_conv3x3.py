"""conv3x3, forward and both gradients together, on the maps of a ResNet-18 and of compact.

python -m pytest benchmarks/bench_conv3x3.py -s
"""

import pytest
import torch

from benchmarks.baselines import conv3x3 as baseline
from benchmarks.measure import DEVICE, compiled, record
from neurogaze_fast.ops import conv3x3
from neurogaze_fast.ops.conv3x3 import conv3x3_native

# Channels, side of the map, batch: the stages at 48 and 32 px (small stem) and 112 px (ImageNet's).
CASES = [
    (32, 24, 64), (64, 24, 64), (128, 12, 64), (256, 6, 64),
    (64, 16, 64), (128, 8, 64), (256, 4, 64), (512, 2, 64),
    (64, 28, 32), (128, 14, 32), (256, 7, 32), (512, 4, 32),
]  # fmt: skip


@pytest.mark.timeout(900)
@pytest.mark.benchmark(group="conv3x3")
@pytest.mark.parametrize(("channels", "side", "batch"), CASES)
def test_forward_and_gradients(benchmark, channels, side, batch):
    torch.manual_seed(0)
    x = torch.randn(batch, channels, side, side, device=DEVICE, dtype=torch.bfloat16)
    weight = torch.randn(channels, channels, 3, 3, device=DEVICE) / (9 * channels) ** 0.5
    gradient = torch.randn_like(x).contiguous(memory_format=torch.channels_last)
    x, weight = (
        t.contiguous(memory_format=torch.channels_last).requires_grad_() for t in (x, weight)
    )
    if not conv3x3_native(x, weight):
        pytest.skip("no native kernel for this device or processor")
    quick = compiled(baseline.conv3x3)

    def step(function):
        return lambda: torch.autograd.grad(function(x, weight), (x, weight), gradient)

    rivals = {
        "eager": step(baseline.conv3x3),
        "torch.compile": step(quick),
        "native": step(conv3x3),
    }
    moved = 5 * x.nbytes + 3 * weight.nbytes
    products = 3 * 2 * 9 * batch * side**2 * channels**2
    record(
        benchmark, "conv3x3", f"B {batch}, {channels} ch, {side}x{side}", rivals, moved,
        gflop=round(products / 1e9, 2),
    )  # fmt: skip
