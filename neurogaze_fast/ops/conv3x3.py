"""3x3 convolution of bfloat16 maps by Winograd's F(2x2, 3x3), forward and both gradients."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from neurogaze_fast import reference
from neurogaze_fast.ops import _library
from neurogaze_fast.reference.conv3x3 import check_arguments

PANEL = 32
"""Channels, in and out, must be a multiple of this for the native kernel."""


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution with stride 1 and padding 1, without bias.

    Definition, shapes and errors: :func:`neurogaze_fast.reference.conv3x3`. The native kernel
    (bfloat16 x on an x86 processor with AVX-512 and its bfloat16 products; see
    :func:`conv3x3_native`) needs 16 products for 2x2 results instead of 36 (Winograd's minimal
    filtering, Lavin and Gray 2016, section 4.1), adds them up in float32, and works on the order of
    memory that torch calls channels_last. What it rounds is the transformed input, so its error is
    about twice that of a convolution in bfloat16. Differentiable once.
    """
    check_arguments(x, weight)
    if not conv3x3_native(x, weight):
        return reference.conv3x3(x, weight)
    return _Conv3x3.apply(x, weight)


def conv3x3_native(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`conv3x3` of these runs its native kernel."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.shape[1] % PANEL == 0
        and weight.shape[0] % PANEL == 0
        and _available()
    )


def _available() -> bool:
    return _found()


_available._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as _library.native


@cache
def _found() -> bool:
    return _library.native("cpu") and _library.operators().conv3x3_available()


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _call(x, weight, turned=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        with torch.no_grad():
            if ctx.needs_input_grad[0]:
                of_x = _call(gradient, weight, turned=True)
            if ctx.needs_input_grad[1]:
                rows = _library.operators().conv3x3_weight_gradient(_last(x), _last(gradient))
                of_weight = _first(rows).to(weight.dtype)
        return (
            None if of_x is None else _library.once(of_x, x),
            None if of_weight is None else _library.once(of_weight, weight),
        )


def _call(x: Tensor, weight: Tensor, *, turned: bool) -> Tensor:
    return _first(_library.operators().conv3x3(_last(x), _last(weight), turned))


def _last(t: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H, W, C], of the same memory."""
    return t.permute(0, 2, 3, 1)


def _first(t: Tensor) -> Tensor:
    """[B, H, W, C] -> [B, C, H, W], of the same memory."""
    return t.permute(0, 3, 1, 2)


def _fake(x: Tensor, weight: Tensor, turned: bool) -> Tensor:
    return x.new_empty((*x.shape[:3], weight.shape[3 if turned else 0]), dtype=torch.bfloat16)


def _fake_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    return x.new_empty((gradient.shape[3], 3, 3, x.shape[3]), dtype=torch.float32)


_library.declare("conv3x3(Tensor x, Tensor weight, bool turned) -> Tensor", _fake)
_library.declare("conv3x3_weight_gradient(Tensor x, Tensor gradient) -> Tensor", _fake_gradient)
