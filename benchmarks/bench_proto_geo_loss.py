"""proto_geo_loss, forward and backward together; `products` is the two matrix products alone."""

import pytest
import torch

from benchmarks.baselines import proto_geo_loss as baseline
from benchmarks.measure import DEVICE, compiled, record
from neurogaze_fast.ops import proto_geo_loss

CELLS, CLASSES = 25, 8
OPTIONS = {"tau": 0.9, "variance_cap": 0.2, "margin": 0.5}
HIGH = torch.zeros(CLASSES, device=DEVICE).index_fill(0, torch.tensor([1, 2], device=DEVICE), 1)


def weighted(loss, **more):
    def total(*data):
        proto, cap, margin = loss(*data, **OPTIONS, **more)
        return 0.12 * proto + 0.012 * (cap + margin)

    return total


def step(total, data):
    def call():
        return torch.autograd.grad(total(*data), data[0])

    return call


@pytest.mark.timeout(900)
@pytest.mark.benchmark(group="proto_geo_loss")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("width", [512, 2048])
@pytest.mark.parametrize("batch", [128, 512, 1024, 4096])
def test_forward_and_backward(benchmark, batch, width, dtype):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, width, generator=generator).to(DEVICE, dtype).requires_grad_()
    prototypes = torch.randn(CELLS, width, generator=generator).to(DEVICE)
    cells = torch.rand(batch, CELLS, generator=generator).softmax(1).to(DEVICE)
    labels = torch.randint(0, CLASSES, (batch,), generator=generator).to(DEVICE)
    data = (features, prototypes, cells, labels)
    eager = weighted(baseline.proto_geo_loss, high=HIGH)
    native = weighted(proto_geo_loss, high_valence=(1, 2))
    torch.testing.assert_close(native(*data), eager(*data), rtol=1e-4, atol=1e-5)
    wide = features.detach().float()
    rivals = {
        "eager": step(eager, data),
        "torch.compile": step(compiled(eager), data),
        "native": step(native, data),
        "products": lambda: baseline.products_only(wide, prototypes),
    }
    # Features are read forward and backward, their gradient is written.
    moved = 3 * features.nbytes + prototypes.nbytes + 2 * cells.nbytes
    size = f"B {batch}, D {width}, {'f32' if dtype == torch.float32 else 'bf16'}"
    record(benchmark, "proto_geo_loss", size, rivals, moved)
