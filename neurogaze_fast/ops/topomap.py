"""EEG topographic maps: product, normalisation, mask, cast and layout in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurogaze_fast import reference
from neurogaze_fast.ops import _library
from neurogaze_fast.reference.topomap import check_arguments, check_out, result_dtype

if TYPE_CHECKING:
    from neurogaze_fast.eeg.interpolation import OperatorTensors, TopomapOperator


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

    Definition, shapes and errors: :func:`neurogaze_fast.reference.topomap`. The native kernel folds
    `zscore` into the electrode values (mean and variance of a map are a linear and a quadratic form
    of them), so no pixel is read back; it never rounds to TF32. Differentiable once, in `values`.
    """
    dtype = result_dtype(values, dtype, out)
    check_arguments(values, operator, normalise, dtype)
    check_out(out, values, operator, dtype, channels_last)
    if not _library.native(values.device.type):
        return reference.topomap(
            values, operator, normalise=normalise, dtype=dtype, channels_last=channels_last, out=out
        )
    wide = torch.float64 if values.dtype == torch.float64 else torch.float32
    tensors = operator.tensors(values.device, wide)
    if out is not None:
        windows, features, side, _ = out.shape
        if channels_last:
            flat = out.permute(0, 2, 3, 1).view(windows, side * side, features)
        else:
            flat = out.view(windows, features, side * side)
        _library.operators().topomap_out(
            values, tensors.matrix, tensors.mask, tensors.mean, tensors.factor,
            operator.unit_sum, normalise == "zscore", channels_last, flat,
        )  # fmt: skip
        return out
    options = (operator.unit_sum, normalise == "zscore", dtype, channels_last)
    maps = _Topomap.apply(values, tensors, options)
    if channels_last:
        return maps.unflatten(1, operator.shape).permute(0, 3, 1, 2)
    return maps.unflatten(2, operator.shape)


class _Topomap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, tensors: OperatorTensors, options: Any) -> Tensor:
        ctx.save_for_backward(values)
        ctx.tensors, ctx.options = tensors, options
        return _library.operators().topomap(
            values, tensors.matrix, tensors.mask, tensors.mean, tensors.factor, *options
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (values,) = ctx.saved_tensors
        with torch.no_grad():
            given = _gradient(values, gradient, ctx.tensors, ctx.options)
        return _library.once(given, values), None, None


def _gradient(values: Tensor, gradient: Tensor, t: OperatorTensors, options: Any) -> Tensor:
    """The product with the transposed operator, after the derivative of the normalisation."""
    _, zscore, _, channels_last = options
    g = gradient.transpose(1, 2) if channels_last else gradient
    g = g.to(t.matrix.dtype) * t.mask
    if zscore:
        v = values.to(t.matrix.dtype)
        common = v.mean(-1, keepdim=True)
        e = torch.cat((v - common, common), dim=-1)
        variance = (e @ t.factor.T).square().sum(-1, keepdim=True)
        rounding = (1e-7 * v.abs().amax(-1, keepdim=True)).square()
        floor = rounding + torch.finfo(torch.float32).tiny
        deviation = torch.maximum(variance, floor).sqrt()
        maps = (v - common) @ t.matrix + common * t.matrix.sum(0)
        z = (maps - (e * t.mean).sum(-1, keepdim=True)) / deviation * t.mask
        count = t.mask.sum()
        along = (g * z).sum(-1, keepdim=True) / count * (variance >= floor)
        g = (g - g.sum(-1, keepdim=True) / count - z * along) / deviation * t.mask
    return (g @ t.matrix.T).to(values.dtype)


def _fake(
    values: Tensor,
    matrix: Tensor,
    _mask: Tensor,
    _mean: Tensor,
    _factor: Tensor,
    unit_sum: bool,
    zscore: bool,
    dtype: torch.dtype,
    channels_last: bool,
) -> Tensor:
    windows, features, _ = values.shape
    pixels = matrix.shape[1]
    shape = (windows, pixels, features) if channels_last else (windows, features, pixels)
    return values.new_empty(shape, dtype=dtype)


_library.declare(
    "topomap(Tensor values, Tensor matrix, Tensor mask, Tensor mean, Tensor factor, bool unit_sum, "
    "bool zscore, ScalarType dtype, bool channels_last) -> Tensor",
    _fake,
)
_library.declare(
    "topomap_out(Tensor values, Tensor matrix, Tensor mask, Tensor mean, Tensor factor, "
    "bool unit_sum, bool zscore, bool channels_last, Tensor(a!) out) -> ()",
    lambda *_: None,
)
