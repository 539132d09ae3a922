"""Gather, warp, cut out, normalise and cast a batch of faces in one call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neurogaze_fast.errors import OperatorError

MEAN, STD = 0.5, 0.25
"""Pixel statistics (of [0, 1]) used by training, evaluation and export alike."""

PARAMS = 12
"""Columns of `params`: six of the affine map, four of the cutout box, gain and bias."""

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""What the result may be."""

_MASK = {n: (1 << (64 - n)) - 1 for n in (27, 30, 31, 40)}


@dataclass(frozen=True)
class Augmentation:
    """Ranges the random parameters are drawn from, uniformly and symmetrically."""

    rotation: float = 10.0
    """Largest rotation, degrees."""
    scale: float = 0.1
    """Largest relative change of scale."""
    shift: float = 0.08
    """Largest shift, as a fraction of the image."""
    flip: float = 0.5
    """Probability of a left-right flip."""
    brightness: float = 0.1
    """Largest additive change, on the [0, 1] pixel scale."""
    contrast: float = 0.15
    """Largest relative change of contrast about mid grey."""
    cutout: float = 0.2
    """Largest side of the square cut out, as a fraction of the image (0: none)."""
    crop: float = 1.0
    """Least area of a random square crop, as a fraction of the image (1: none); a crop lies inside
    the image before it is turned, scaled and shifted as above."""


def augment_params(
    index: Tensor,
    *,
    seed: int,
    epoch: int,
    source: tuple[int, int],
    size: int,
    augmentation: Augmentation | None,
) -> Tensor:
    """Random parameters of :func:`augment`, drawn per sample from (seed, epoch, index).

    Because each sample has its own counter-based stream (SplitMix64, Steele et al. 2014), batch
    size, order, workers and device do not change what a sample looks like.

    Args:
        index: int64 [B] sample numbers.
        source: (H, W) of the stored images; `size`: S of the output.
        augmentation: ranges, or None for the plain resize of evaluation.

    Returns:
        float32 [B, 12] on the index's device.
    """
    height, width = source
    a = augmentation or Augmentation(*([0.0] * 7))
    u = _uniform(index, seed, epoch, lanes=13)
    symmetric = 2 * u - 1
    angle = symmetric[:, 0] * (a.rotation * torch.pi / 180)
    crop = torch.sqrt(a.crop + (1 - a.crop) * u[:, 10])  # its side; its area is uniform
    scale = crop / (1 + symmetric[:, 1] * a.scale)
    flip = torch.where(u[:, 2] < a.flip, -1.0, 1.0)
    shift_x = (symmetric[:, 3] * a.shift + symmetric[:, 11] * (1 - crop) / 2) * width
    shift_y = (symmetric[:, 4] * a.shift + symmetric[:, 12] * (1 - crop) / 2) * height
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale

    # Output pixel centre -> source pixel: centre, rotate + scale + flip, move back and shift.
    step_x, step_y = width / size, height / size
    centre = (size - 1) / 2
    a00, a01 = flip * cos * step_x, -sin * step_x
    a10, a11 = flip * sin * step_y, cos * step_y
    a02 = (width - 1) / 2 + shift_x - (a00 + a01) * centre
    a12 = (height - 1) / 2 + shift_y - (a10 + a11) * centre

    side = u[:, 5] * a.cutout * size
    x0, y0 = u[:, 6] * size - side / 2, u[:, 7] * size - side / 2
    gain = 1 + symmetric[:, 8] * a.contrast
    bias = symmetric[:, 9] * a.brightness + 0.5 * (1 - gain)
    columns = (a00, a01, a02, a10, a11, a12, x0, y0, x0 + side, y0 + side, gain, bias)
    return torch.stack([c.expand(len(index)) for c in columns], dim=1).to(torch.float32)


def augment(
    store: Tensor,
    index: Tensor,
    params: Tensor,
    *,
    size: int,
    channels: int,
    dtype: torch.dtype,
) -> Tensor:
    """Gather rows of `store` and bring each to [channels, S, S] under its own parameters.

    Output pixel (y, x) samples the source bilinearly at
    (params[0] x + params[1] y + params[2], params[3] x + params[4] y + params[5]), coordinates
    clamped to the image; then v = pixel / 255 * gain + bias, (v - MEAN) / STD, and 0 inside the
    cutout box [x0, x1) x [y0, y1).

    Args:
        store: uint8 [M, H, W] grey or [M, H, W, 3].
        index: int64 [B]; params: float32 [B, 12].
        size: S; channels: 1 or 3 (grey is repeated; colour is never reduced); dtype: of the result.

    Returns:
        [B, channels, S, S] in channels_last memory format.

    Raises:
        OperatorError: shapes, dtypes, devices, options or indices that do not fit.
    """
    check_arguments(store, index, params, size, channels, dtype)
    if index.device.type == "cpu" and len(index) and not torch.compiler.is_compiling():
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= len(store):
            raise OperatorError(f"index must lie in 0..{len(store) - 1}, found {low}..{high}")
    colour = store.ndim == 4
    pixels = store[index]
    pixels = pixels.permute(0, 3, 1, 2) if colour else pixels.unsqueeze(1)
    pixels = pixels.to(torch.float32) / 255
    height, width = pixels.shape[2:]

    line = torch.arange(size, device=store.device, dtype=torch.float32)
    x, y = line.view(1, 1, size), line.view(1, size, 1)
    p = params.to(torch.float32).unsqueeze(2).unsqueeze(3)
    source_x = p[:, 0] * x + p[:, 1] * y + p[:, 2]
    source_y = p[:, 3] * x + p[:, 4] * y + p[:, 5]
    # grid_sample with align_corners=True maps -1..1 to the centres of the corner pixels.
    grid = torch.stack(
        (2 * source_x / max(width - 1, 1) - 1, 2 * source_y / max(height - 1, 1) - 1), dim=3
    )
    value = F.grid_sample(pixels, grid, "bilinear", "border", align_corners=True)
    value = value * p[:, 10:11] + p[:, 11:12]
    value = (value - MEAN) / STD
    cut = (x >= p[:, 6]) & (x < p[:, 8]) & (y >= p[:, 7]) & (y < p[:, 9])
    value = value.masked_fill(cut.unsqueeze(1), 0.0)
    value = value.expand(-1, channels, -1, -1).to(dtype)
    return value.contiguous(memory_format=torch.channels_last)


def check_arguments(
    store: Tensor, index: Tensor, params: Tensor, size: int, channels: int, dtype: torch.dtype
) -> None:
    """Raise OperatorError where the arguments of :func:`augment` do not fit together."""
    colour = store.ndim == 4
    if store.dtype != torch.uint8 or store.ndim not in (3, 4) or (colour and store.shape[3] != 3):
        raise OperatorError(
            f"store must be uint8 [M, H, W] or [M, H, W, 3], got {store.dtype} {tuple(store.shape)}"
        )
    if 0 in store.shape[1:3]:
        raise OperatorError(f"images need at least one pixel, got {tuple(store.shape)}")
    if index.ndim != 1 or index.dtype not in (torch.int64, torch.int32):
        raise OperatorError(f"index must be int64 [B], got {index.dtype} {tuple(index.shape)}")
    if tuple(params.shape) != (len(index), PARAMS):
        raise OperatorError(f"params must be [{len(index)}, {PARAMS}], got {tuple(params.shape)}")
    if not params.is_floating_point():
        raise OperatorError(f"params must have a floating dtype, got {params.dtype}")
    devices = {str(value.device) for value in (store, index, params)}
    if len(devices) > 1:
        raise OperatorError(f"all tensors must be on one device, found {sorted(devices)}")
    if channels not in (1, 3) or (colour and channels == 1):
        raise OperatorError(f"channels must be 1 or 3 (3 for colour), got {channels}")
    if size < 1:
        raise OperatorError(f"size must be at least 1, got {size}")
    if dtype not in DTYPES:
        raise OperatorError(f"dtype must be one of {DTYPES}, got {dtype}")


def _uniform(index: Tensor, seed: int, epoch: int, lanes: int) -> Tensor:
    """float32 [B, lanes] in [0, 1), a pure function of (seed, epoch, index, lane)."""
    golden = _signed(0x9E3779B97F4A7C15)
    key = _mix(torch.tensor([seed], dtype=torch.int64, device=index.device) + golden)
    key = _mix(key ^ epoch)
    sample = _mix(key + (index + 1) * golden)
    lane = torch.arange(1, lanes + 1, device=index.device)
    bits = _mix(sample.unsqueeze(1) + lane * golden)
    return ((bits >> 40) & _MASK[40]).to(torch.float32) * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 (torch has no unsigned shift: mask the sign bits off)."""
    x = (x ^ ((x >> 30) & _MASK[30])) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ ((x >> 27) & _MASK[27])) * _signed(0x94D049BB133111EB)
    return x ^ ((x >> 31) & _MASK[31])


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
