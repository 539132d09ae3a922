"""Twelve kinds of damage to faces, each at five strengths, made from a seed as they are needed.

After Hendrycks & Dietterich 2019 (ImageNet-C), for small grey faces: what changes light
(brightness, contrast, gamma) and place (rotation, shift) beside what cameras and files do (noise,
blur, motion, JPEG, low resolution) and what covers a face (a block, a mask over mouth and nose).
Lengths are fractions of the image's side, so that faces of every size are damaged alike. Strengths
are ours: from hardly seen to barely told. Every image has its own draw, which hangs on the seed,
the kind, the strength and its place in the set alone, so that all runs see the same pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neurogaze_fast.errors import DataError
from neurogaze_fast.ops import augment
from neurogaze_fast.reference.augment import MEAN, STD

STRENGTHS = (1, 2, 3, 4, 5)
GREY = 127.0
_ANGLES = 16


def corrupt(images: np.ndarray, kind: str, strength: int, *, seed: int = 0) -> np.ndarray:
    """Damaged copies of uint8 [N, H, W].

    Args:
        kind: one of :data:`KINDS`; strength: 1 to 5.
        seed: of what is random in it.

    Raises:
        DataError: other images than that, an unknown kind or strength.
    """
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape[1:]:
        raise DataError(
            f"Corruptions are for grey images uint8 [N, H, W], not {images.dtype} "
            f"{list(images.shape)}."
        )
    if kind not in KINDS or strength not in STRENGTHS:
        raise DataError(
            f"There is no corruption {kind!r} of strength {strength}: kinds are "
            f"{', '.join(KINDS)}, strengths 1 to 5."
        )
    make, amounts = KINDS[kind]
    place = list(KINDS).index(kind)
    draw = np.random.Generator(np.random.PCG64([seed, place, strength]))
    if not len(images):
        return images.copy()
    found = make(images, amounts[strength - 1], draw)
    if isinstance(found, Tensor):
        found = found.round_().clamp_(0, 255).to(torch.uint8).numpy()
    return np.ascontiguousarray(found)


def _pixels(images: np.ndarray) -> Tensor:
    """float32 [N, H, W], 0 to 255."""
    return torch.from_numpy(np.ascontiguousarray(images)).float()


def _each(values: np.ndarray) -> Tensor:
    """float32 [N, 1, 1] of one number an image."""
    return torch.from_numpy(np.asarray(values, np.float32)).view(-1, 1, 1)


def _signs(draw: np.random.Generator, count: int) -> np.ndarray:
    return np.where(draw.random(count) < 0.5, -1.0, 1.0)


def _noise(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    noise = draw.standard_normal(images.shape, dtype=np.float32)
    return _pixels(images) + 255 * amount * torch.from_numpy(noise)


def _blur(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    sigma = amount * images.shape[1]
    reach = max(1, round(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = line / line.sum()
    padded = F.pad(_pixels(images).unsqueeze(1), [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1)).squeeze(1)


def _motion(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    """The mean along a line through each pixel, in one of sixteen directions an image."""
    length = max(amount * images.shape[1], 1.5)
    reach = int(np.ceil(length / 2))
    size = 2 * reach + 1
    kernels = torch.zeros(_ANGLES, 1, size, size)
    steps = np.linspace(-length / 2, length / 2, 4 * size)
    for number in range(_ANGLES):
        angle = np.pi * number / _ANGLES
        rows = np.rint(reach + steps * np.sin(angle)).astype(int).clip(0, size - 1)
        columns = np.rint(reach + steps * np.cos(angle)).astype(int).clip(0, size - 1)
        for row, column in zip(rows, columns, strict=True):
            kernels[number, 0, row, column] += 1 / len(steps)
    chosen = draw.integers(0, _ANGLES, len(images))
    result = _pixels(images)
    for number in range(_ANGLES):
        mine = torch.from_numpy(chosen == number)
        if mine.any():
            padded = F.pad(result[mine].unsqueeze(1), [reach] * 4, mode="replicate")
            result[mine] = F.conv2d(padded, kernels[number : number + 1]).squeeze(1)
    return result


def _jpeg(images: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    from PIL import Image

    result = np.empty_like(images)
    for row, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(amount))
        with Image.open(buffer) as again:
            result[row] = np.asarray(again)
    return result


def _brightness(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    return _pixels(images) + _each(255 * amount * _signs(draw, len(images)))


def _contrast(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    pixels = _pixels(images)
    mean = pixels.mean((1, 2), keepdim=True)
    return mean + amount * (pixels - mean)


def _low_resolution(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    height, width = images.shape[1:]
    few = [max(2, round(side * amount)) for side in (height, width)]
    small = F.interpolate(_pixels(images).unsqueeze(1), few, mode="area").round()
    return F.interpolate(small, (height, width), mode="bilinear", align_corners=False).squeeze(1)


def _covered(
    images: np.ndarray, top: np.ndarray, left: np.ndarray, bottom: np.ndarray, right: np.ndarray
) -> Tensor:
    """Grey inside boxes given as fractions of the image, one an image."""
    height, width = images.shape[1:]
    y = ((torch.arange(height) + 0.5) / height).view(1, -1, 1)
    x = ((torch.arange(width) + 0.5) / width).view(1, 1, -1)
    inside = (y >= _each(top)) & (y < _each(bottom)) & (x >= _each(left)) & (x < _each(right))
    return _pixels(images).masked_fill(inside, GREY)


def _block(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    top, left = draw.random((2, len(images))) * (1 - amount)
    return _covered(images, top, left, top + amount, left + amount)


def _mask(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    """A band over the lower part of the face, a little moved from image to image."""
    move = 0.03 * (2 * draw.random(len(images)) - 1)
    edge = np.full(len(images), 1.0)
    return _covered(images, 1 - amount + move, 0.12 * edge, edge, 0.88 * edge)


def _moved(images: np.ndarray, angle: np.ndarray, x: np.ndarray, y: np.ndarray) -> Tensor:
    """Turned about the centre by `angle` [N] radians, then moved by x, y [N] pixels; edges last."""
    n, height, width = images.shape
    size = max(height, width)
    cos, sin = np.cos(angle), np.sin(angle)
    centre, step_x, step_y = (size - 1) / 2, width / size, height / size
    a00, a01, a10, a11 = cos * step_x, -sin * step_x, sin * step_y, cos * step_y
    zero, one = np.zeros(n), np.ones(n)
    params = np.stack(
        (
            a00, a01, (width - 1) / 2 - x - (a00 + a01) * centre,
            a10, a11, (height - 1) / 2 - y - (a10 + a11) * centre,
            zero, zero, zero, zero, one, zero,
        ),
        axis=1,
    )  # fmt: skip
    store = torch.from_numpy(np.ascontiguousarray(images))
    seen = augment(
        store, torch.arange(n), torch.from_numpy(params.astype(np.float32)), size=size,
        channels=1, dtype=torch.float32,
    )  # fmt: skip
    pixels = (seen * STD + MEAN) * 255
    if (height, width) != (size, size):
        pixels = F.interpolate(pixels, (height, width), mode="area")
    return pixels.squeeze(1)


def _rotation(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    still = np.zeros(len(images))
    return _moved(images, np.deg2rad(amount) * _signs(draw, len(images)), still, still)


def _shift(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    angle = 2 * np.pi * draw.random(len(images))
    x, y = amount * images.shape[2] * np.cos(angle), amount * images.shape[1] * np.sin(angle)
    return _moved(images, np.zeros(len(images)), x, y)


def _gamma(images: np.ndarray, amount: float, draw: np.random.Generator) -> Tensor:
    power = np.where(draw.random(len(images)) < 0.5, amount, 1 / amount)
    return 255 * (_pixels(images) / 255) ** _each(power)


Make = Callable[[np.ndarray, float, np.random.Generator], Tensor | np.ndarray]
KINDS: dict[str, tuple[Make, tuple[float, ...]]] = {
    "noise": (_noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "blur": (_blur, (0.012, 0.02, 0.03, 0.042, 0.058)),
    "motion": (_motion, (0.06, 0.1, 0.15, 0.21, 0.28)),
    "jpeg": (_jpeg, (40, 25, 15, 9, 5)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.6, 0.4, 0.27, 0.17, 0.1)),
    "low-resolution": (_low_resolution, (0.67, 0.5, 0.37, 0.28, 0.2)),
    "block": (_block, (0.2, 0.3, 0.4, 0.5, 0.6)),
    "mask": (_mask, (0.2, 0.28, 0.35, 0.42, 0.5)),
    "rotation": (_rotation, (8, 15, 22, 30, 40)),
    "shift": (_shift, (0.05, 0.09, 0.13, 0.17, 0.22)),
    "gamma": (_gamma, (1.4, 1.9, 2.6, 3.5, 5.0)),
}
"""Kind -> (how it is made, how much of it at each strength): standard deviation of the noise as a
share of white; standard deviation of the blur, length of the motion, side of the block, height of
the mask and length of the shift as shares of the side; quality of the JPEG; share of white; share
of the contrast and of the resolution that is left; degrees; exponent, or one over it."""
