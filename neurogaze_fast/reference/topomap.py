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
    out: Tensor | None = None,
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
        out: where the maps are written, of the shape, dtype and layout of the result; not with
            values that need a gradient. Memory used again costs no page faults.

    Returns:
        `out`, or maps [N, F, H, W], (H, W) = operator.shape, rows from back to front of the head; 0
        outside operator.mask.

    Raises:
        OperatorError: shapes or options do not fit.
    """
    dtype = result_dtype(values, dtype, out)
    check_arguments(values, operator, normalise, dtype)
    check_out(out, values, operator, dtype, channels_last)
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
    return maps.contiguous(memory_format=layout) if out is None else out.copy_(maps)


def result_dtype(values: Tensor, dtype: torch.dtype | None, out: Tensor | None) -> torch.dtype:
    """Of the maps: as asked for, as `out` is, or as the values are."""
    if dtype is not None:
        return dtype
    return values.dtype if out is None else out.dtype


def check_out(
    out: Tensor | None,
    values: Tensor,
    operator: TopomapOperator,
    dtype: torch.dtype,
    channels_last: bool,
) -> None:
    """Raise OperatorError where maps of these values cannot be written to `out`."""
    if out is None:
        return
    shape = (*values.shape[:2], *operator.shape)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    wanted = out.shape == shape and out.dtype == dtype and out.device == values.device
    if not wanted or not out.is_contiguous(memory_format=layout):
        raise OperatorError(
            f"out must be {dtype} {list(shape)} on {values.device}, "
            f"{'channels_last' if channels_last else 'contiguous'}, got {out.dtype} "
            f"{list(out.shape)} with strides {list(out.stride())} on {out.device}."
        )
    if torch.is_grad_enabled() and (values.requires_grad or out.requires_grad):
        raise OperatorError("out= keeps no gradient: detach the values, or leave it out.")


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
