"""The loader's promises: order and images depend on (seed, epoch, row) and on nothing else."""

import numpy as np
import pytest
import torch

from neurogaze_fast.faces.resident import ResidentLoader, plain_batches
from neurogaze_fast.reference.augment import MEAN, STD, Augmentation

CPU = torch.device("cpu")


def loader(images, batch_size=16, seed=3, augmentation=None):
    return ResidentLoader(
        images,
        batch_size=batch_size,
        seed=seed,
        device=CPU,
        dtype=torch.float32,
        augmentation=augmentation or Augmentation(),
    )


def by_row(batches):
    return {
        int(r): image for images, rows in batches for r, image in zip(rows, images, strict=True)
    }


def test_batch_size_does_not_change_any_image(drawn):
    images = drawn[0][:64]
    small, large = by_row(loader(images, 8).epoch(2, 32)), by_row(loader(images, 32).epoch(2, 32))
    assert small.keys() == large.keys() == set(range(64))
    for row, image in small.items():
        torch.testing.assert_close(image, large[row], rtol=0, atol=0)


def test_entering_an_epoch_midway_gives_the_same_batches(drawn):
    full = list(loader(drawn[0]).epoch(1, 24))
    rest = list(loader(drawn[0]).epoch(1, 24, start=4))
    assert len(rest) == len(full) - 4
    for (a, i), (b, j) in zip(full[4:], rest, strict=True):
        assert torch.equal(i, j)
        assert torch.equal(a, b)


def test_epochs_and_seeds_differ(drawn):
    first = next(loader(drawn[0]).epoch(0, 24))
    for other in (loader(drawn[0]).epoch(1, 24), loader(drawn[0], seed=4).epoch(0, 24)):
        images, rows = next(other)
        assert not torch.equal(rows, first[1])
        assert not torch.equal(images, first[0])


def test_rows_are_each_seen_once_and_the_partial_batch_is_left_out(drawn):
    batches = loader(drawn[0], batch_size=50)
    seen = torch.cat([rows for _, rows in batches.epoch(0, 16)])
    assert len(batches) == 2
    assert len(seen.unique()) == len(seen) == 100
    assert torch.equal(batches.batch_rows(0, 1), seen[50:])


def test_a_set_smaller_than_a_batch_is_one_batch(drawn):
    small = loader(drawn[0][:5], batch_size=128)
    assert len(small) == 1
    assert small.batch_size == 5


def test_images_are_channels_last_of_the_asked_type(drawn):
    batches = ResidentLoader(
        drawn[0], batch_size=8, seed=0, device=CPU, dtype=torch.bfloat16, channels=3
    )
    images, _ = next(batches.epoch(0, 40))
    assert images.shape == (8, 3, 40, 40)
    assert images.dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch_size", [7, 120])
def test_plain_batches_keep_order_and_pixels(drawn, batch_size):
    parts = plain_batches(drawn[0], size=48, batch_size=batch_size, device=CPU)
    pixels = (torch.cat(list(parts))[:, 0] * STD + MEAN) * 255
    np.testing.assert_allclose(pixels.numpy(), drawn[0], atol=1e-3)
