"""Inputs of augment, its definition in float64, and how close a result must be."""

import pytest
import torch

from neurogaze_fast.ops import _library
from neurogaze_fast.reference.augment import MEAN, STD, Augmentation, augment_params

native = pytest.mark.skipif(not _library.native("cpu"), reason="no native CPU operators")


LEVEL = 1 / (255 * STD)
"""One grey level on the scale of the result."""


ATOL = {
    torch.float64: LEVEL
    / 100,  # the coordinates are float32, the error measured 1e-4 at 200 pixels
    torch.float32: LEVEL / 100,
    torch.float16: 2.0**-9,  # one unit in the last place of 2..4
    torch.bfloat16: 2.0**-6,
}


def make(shape, size, batch=13, seed=0, **ranges):
    """A store of noise (any misplaced pixel shows), an index into it and parameters."""
    generator = torch.Generator().manual_seed(seed)
    store = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    index = torch.randint(0, shape[0], (batch,), generator=generator)
    params = augment_params(
        torch.arange(batch),
        seed=seed,
        epoch=1,
        source=shape[1:3],
        size=size,
        augmentation=Augmentation(**ranges),
    )
    return store, index, params


def in_float64(store, index, params, *, size, channels):
    """The definition, written down as it stands; a NaN coordinate is 0."""
    pixels = store[index].double()
    pixels = pixels if pixels.ndim == 4 else pixels.unsqueeze(3)
    height, width = pixels.shape[1:3]
    p = params.double()[:, :, None, None]
    line = torch.arange(size, dtype=torch.float64)
    x, y = line.view(1, 1, size), line.view(1, size, 1)
    inf = torch.inf  # NaN becomes 0, infinities stay until the clamp
    at_x = (p[:, 0] * x + p[:, 1] * y + p[:, 2]).nan_to_num(0, inf, -inf).clamp(0, width - 1)
    at_y = (p[:, 3] * x + p[:, 4] * y + p[:, 5]).nan_to_num(0, inf, -inf).clamp(0, height - 1)
    left, top = at_x.floor().long(), at_y.floor().long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    part_x, part_y = (at_x - left).unsqueeze(3), (at_y - top).unsqueeze(3)
    b = torch.arange(len(index)).view(-1, 1, 1)
    above = pixels[b, top, left] * (1 - part_x) + pixels[b, top, right] * part_x
    below = pixels[b, bottom, left] * (1 - part_x) + pixels[b, bottom, right] * part_x
    value = above * (1 - part_y) + below * part_y
    value = (value / 255 * p[:, 10].unsqueeze(3) + p[:, 11].unsqueeze(3) - MEAN) / STD
    cut = (x >= p[:, 6]) & (x < p[:, 8]) & (y >= p[:, 7]) & (y < p[:, 9])
    value = value.masked_fill(cut.unsqueeze(3), 0.0)
    return value.permute(0, 3, 1, 2).expand(-1, channels, -1, -1)


def assert_same(result, expected, dtype):
    """Shape, dtype, memory format, and values to a hundredth of a grey level or the last place."""
    assert result.dtype == dtype
    assert result.shape == expected.shape
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        result.double(), expected.double(), rtol=0, atol=ATOL[dtype], equal_nan=True
    )
