"""augment beside plain torch, eager and compiled, and beside torchvision v2 in a DataLoader.

Everybody makes the same batch. torchvision runs with two workers, an epoch of BATCHES in each turn;
the workers have started before and rest while it is the other's turn.
"""

import statistics

import pytest
import torch

from benchmarks.baselines import augment as baselines
from benchmarks.measure import DEVICE, TURNS, compiled, hardware, record, seconds
from neurogaze_fast import reference
from neurogaze_fast.ops import augment
from neurogaze_fast.reference.augment import Augmentation, augment_params

BATCHES = 8
EPOCHS = 20
STORES = {"grey": (2048, 48, 48), "rgb": (2048, 48, 48, 3)}
BATCH = 128 if DEVICE == "cpu" else 4096


def make(kind, size):
    shape = STORES[kind]
    generator = torch.Generator().manual_seed(0)
    store = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    index = torch.arange(BATCH)[torch.randperm(BATCH, generator=generator)] % len(store)
    params = augment_params(
        index, seed=0, epoch=0, source=shape[1:3], size=size, augmentation=Augmentation()
    )
    return [tensor.to(DEVICE) for tensor in (store, index, params)]


@pytest.mark.timeout(900)
@pytest.mark.benchmark(group="augment")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("size", [48, 64, 112])
@pytest.mark.parametrize(("kind", "channels"), [("grey", 1), ("grey", 3), ("rgb", 3)])
def test_batch(benchmark, kind, channels, size, dtype):
    tensors = make(kind, size)
    options = {"size": size, "channels": channels, "dtype": dtype}

    def with_options(function):
        return lambda: function(*tensors, **options)

    rivals = {
        "eager": with_options(baselines.plain_torch),
        "torch.compile": with_options(compiled(baselines.plain_torch)),
        "native": with_options(augment),
        "reference": with_options(reference.augment),
    }
    batch = rivals["native"]()
    for name, call in rivals.items():
        atol = 2e-3 if dtype == torch.float32 else 2**-6
        torch.testing.assert_close(call(), batch, rtol=0, atol=atol, msg=name)
    store, index, params = tensors
    moved = store[0].numel() * BATCH + index.nbytes + params.nbytes + batch.nbytes
    shape = f"B {BATCH}, {kind} to {channels} x {size}x{size}"
    shape += f", {'f32' if dtype == torch.float32 else 'bf16'}"
    record(benchmark, "augment", shape, rivals, moved)


@pytest.mark.benchmark(group="augment_loader")
@pytest.mark.parametrize("size", [48, 64, 112])
@pytest.mark.parametrize(("kind", "channels"), [("grey", 1), ("rgb", 3)])
def test_images_per_second_beside_torchvision(benchmark, kind, channels, size):
    store, index, params = make(kind, size)
    options = {"size": size, "channels": channels, "dtype": torch.float32}

    def native():
        return augment(store, index, params, **options)

    moves = baselines.draw(BATCH * BATCHES, size)
    loader = baselines.loader(store.cpu(), moves, size=size, channels=channels, batch=BATCH)

    def torchvision():
        for images in loader:
            assert images.shape == (BATCH, channels, size, size)
            images.to(DEVICE)

    torchvision()
    native()
    theirs, ours = [], []
    for _ in range(TURNS):
        theirs.append(seconds(torchvision, 1) / (BATCH * BATCHES))
        ours.append(seconds(native, BATCHES * EPOCHS) / BATCH)
    benchmark.pedantic(native, rounds=10, warmup_rounds=2)
    benchmark.extra_info |= {
        "hardware": hardware(),
        "batch": BATCH,
        "turns": TURNS,
        "native_images_per_s": round(1 / statistics.median(ours)),
        "torchvision_images_per_s": round(1 / statistics.median(theirs)),
        "times_torchvision": round(
            statistics.median(t / o for t, o in zip(theirs, ours, strict=True)), 1
        ),
    }
