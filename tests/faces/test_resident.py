"""Pixels stay where they are, rows follow the order, and images depend on (seed, epoch, row)."""

import numpy as np
import pytest
import torch

from neurogaze_fast.distributed import World
from neurogaze_fast.faces.order import EpochOrder
from neurogaze_fast.faces.resident import ResidentLoader, plain_batches
from neurogaze_fast.reference.augment import MEAN, STD
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.step import StudentStep

CPU = torch.device("cpu")


def loader(images, batch_size=16, seed=3, instead=None):
    return ResidentLoader(images, EpochOrder(len(images), batch_size, seed), CPU, instead)


def shown(images, batch_size, epoch, size, seed=3):
    """{row: augmented image} of an epoch, as a training step makes them."""
    step = StudentStep.__new__(StudentStep)
    step.config, step.device, step._world = TrainConfig(seed=seed, amp=True), CPU, World()
    step._params, step._teacher, step._graphs = None, None, {}
    step.model = torch.nn.Module()
    step.model.channels = 1
    step._dtype = torch.bfloat16
    step.begin_epoch(epoch, size, (48, 48), len(images))
    return {
        int(row): image
        for pictures in loader(images, batch_size, seed).epoch(epoch)
        for row, image in zip(pictures.rows, step.images(pictures), strict=True)
    }


def test_batch_size_does_not_change_any_image(drawn):
    images = drawn[0][:64]
    small, large = shown(images, 8, 2, 32), shown(images, 32, 2, 32)
    assert small.keys() == large.keys() == set(range(64))
    for row, image in small.items():
        torch.testing.assert_close(image, large[row], rtol=0, atol=0)


def test_epochs_and_seeds_augment_differently(drawn):
    first = shown(drawn[0], 16, 0, 24)
    for other in (shown(drawn[0], 16, 1, 24), shown(drawn[0], 16, 0, 24, seed=4)):
        common = first.keys() & other.keys()
        assert all(not torch.equal(first[row], other[row]) for row in common)


def test_images_are_channels_last_of_the_training_type(drawn):
    image = shown(drawn[0], 16, 0, 40)[0]
    assert image.shape == (1, 40, 40)
    assert image.dtype == torch.bfloat16


def test_entering_an_epoch_midway_gives_the_same_batches(drawn):
    full, rest = list(loader(drawn[0]).epoch(1)), list(loader(drawn[0]).epoch(1, 4))
    assert len(rest) == len(full) - 4
    for a, b in zip(full[4:], rest, strict=True):
        assert torch.equal(a.rows, b.rows)
        assert a.store.data_ptr() == b.store.data_ptr() or torch.equal(a.store, b.store)


def test_replaced_rows_are_never_shown(drawn):
    instead = torch.arange(len(drawn[0]))
    instead[7] = 8
    rows = torch.cat([p.rows for p in loader(drawn[0], instead=instead).epoch(0)])
    assert 7 not in rows
    assert (rows == 8).sum() == 2


@pytest.mark.parametrize("batch_size", [7, 120])
def test_plain_batches_keep_order_and_pixels(drawn, batch_size):
    parts = plain_batches(drawn[0], size=48, batch_size=batch_size, device=CPU)
    pixels = (torch.cat(list(parts))[:, 0] * STD + MEAN) * 255
    np.testing.assert_allclose(pixels.numpy(), drawn[0], atol=1e-3)
