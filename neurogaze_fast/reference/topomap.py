"""EEG topographic maps of a batch of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neurogaze_fast.errors import OperatorError

if TYPE_CHECKING:
    from neurogaze_fast.eeg.interpolation import TopomapOperator


def topomap(
    values: Tensor,
    operator: TopomapOperator,
    *,
    normalise: str = "none",
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
) -> Tensor:
    """Interpolate electrode values over the head: maps = values @ operator.matrix.

    With the cubic method this equals scipy's CloughTocher2DInterpolator, and so MNE's topographic
    maps, in the limit of its gradient iteration. scipy's default stopping rule (tol = 1e-6) depends
    on the data's scale: for EEG in volts scipy is 0.04-0.8 % away from that limit, while the
    operator is exact at every scale.

    `zscore` takes from each map its mean and divides by its population standard deviation, both
    over the pixels of the mask. A deviation below 1e-7 of the map's largest |value| is rounding,
    not signal, so it is never divided by less than that (and 1e-19): equal values give zeros. The
    floor is our choice and a constant for the gradient.

    The product is taken in full float32. torch does so unless told otherwise: do not call
    torch.set_float32_matmul_precision("high") around this reference, TF32 is wrong by 5e-3.

    Args:
        values: [N, F, C] any float dtype: N windows, F features (bands), C sites.
        operator: for the same C sites, in the same order.
        normalise: "none" or "zscore".
        dtype: of the maps; the values' own by default. Accumulation is float32 (float64 for
            float64 values), rounded at the end.
        channels_last: store the maps as NHWC in memory (the shape stays [N, F, H, W]).

    Returns:
        maps [N, F, H, W], (H, W) = operator.shape, rows from back to front of the head; 0 outside
        operator.mask.

    Raises:
        OperatorError: shapes or options do not fit.
    """
    dtype = values.dtype if dtype is None else dtype
    check_arguments(values, operator, normalise, dtype)
    wide = torch.float64 if values.dtype == torch.float64 else torch.float32
    tensors = operator.tensors(values.device, wide)
    v = values.to(wide)
    if normalise == "zscore" and operator.unit_sum:
        # Their common offset is a constant in the map, which the map's mean takes away again: taken
        # away here it costs no digits.
        v = v - v.mean(-1, keepdim=True)
    with torch.autocast("cpu" if values.is_meta else values.device.type, enabled=False):
        maps = v @ tensors.matrix

    inside = tensors.mask
    if normalise == "zscore":
        count = inside.sum()
        mean = maps.where(inside, 0).sum(-1, keepdim=True) / count
        centred = (maps - mean).where(inside, 0)
        variance = centred.square().sum(-1, keepdim=True) / count
        largest = values.detach().to(wide).abs().amax(-1, keepdim=True)
        floor = (1e-7 * largest).square() + torch.finfo(torch.float32).tiny
        maps = centred / torch.maximum(variance, floor).sqrt()

    maps = maps.where(inside, 0).unflatten(-1, operator.shape).to(dtype)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return maps.contiguous(memory_format=layout)


def check_arguments(
    values: Tensor, operator: TopomapOperator, normalise: str, dtype: torch.dtype
) -> None:
    """Raise OperatorError where the arguments of :func:`topomap` do not fit together."""
    sites = len(operator.positions)
    if values.ndim != 3 or values.shape[2] != sites:
        raise OperatorError(
            f"values must be [N, F, C] with the operator's C = {sites} sites last, got "
            f"{tuple(values.shape)}."
        )
    if not values.is_floating_point() or not dtype.is_floating_point:
        raise OperatorError(
            f"values and maps must be of a float dtype, got {values.dtype} and {dtype}. Convert "
            "the values first."
        )
    if normalise not in ("none", "zscore"):
        raise OperatorError(f"normalise must be 'none' or 'zscore', got {normalise!r}.")
