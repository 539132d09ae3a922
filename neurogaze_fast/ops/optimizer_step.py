"""Gradient norm, clipping, AdamW and an average of the weights in two passes over memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neurogaze_fast import reference
from neurogaze_fast.ops import _library


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together: the first of the two passes.

    Definition, shapes and errors: :func:`neurogaze_fast.reference.gradient_norm`. Natively the
    squares are added in a fixed order, in float64 from chunk to chunk.
    """
    if gradients and _native(gradients[0]):
        try:
            return _library.operators().gradient_norm(list(gradients))
        except RuntimeError as error:
            _let_the_reference_try(error)
    return reference.gradient_norm(gradients)


@torch.no_grad()
def optimizer_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    averages: Sequence[Tensor | None],
    *,
    rate: Tensor | float,
    norm: Tensor | None,
    clip: float = math.inf,
    skip: Tensor | None = None,
    follow: Tensor | None = None,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """One step of clipped AdamW, in place: the second of the two passes.

    Definition, shapes and errors: :func:`neurogaze_fast.reference.optimizer_step`, which runs where
    something is not float32 or does not lie in memory as its parameter does.
    """
    unled = follow is None and any(average is not None for average in averages)
    if parameters and _native(parameters[0]) and not unled:
        zero = parameters[0].new_zeros(())
        none = parameters[0].new_empty(0)
        try:
            return _library.operators().optimizer_step(
                list(parameters), list(gradients), list(means), list(squares),
                [none if average is None else average for average in averages], list(steps),
                rate if isinstance(rate, Tensor) else torch.full_like(zero, rate),
                zero if norm is None else norm,
                zero if skip is None else skip,
                zero if follow is None else follow,
                weight_decay, *betas, eps, clip,
            )  # fmt: skip
        except RuntimeError as error:
            _let_the_reference_try(error)
    reference.optimizer_step(
        parameters, gradients, means, squares, steps, averages, rate=rate, norm=norm, clip=clip,
        skip=skip, follow=follow, weight_decay=weight_decay, betas=betas, eps=eps,
    )  # fmt: skip


def _let_the_reference_try(error: RuntimeError) -> None:
    """Return where the kernel refused its arguments, before it changed any; raise otherwise.

    It looks at hundreds of tensors in microseconds, which Python does not. The reference takes
    every dtype and layout, and names what fits nothing.
    """
    if " must " not in str(error) and "every parameter needs" not in str(error):
        raise error


def _native(t: Tensor) -> bool:
    return t.dtype == torch.float32 and _library.native(t.device.type)


def _fake_norm(gradients: list[Tensor]) -> Tensor:
    return gradients[0].new_empty(())


def _fake_step(*_: object) -> None:
    return None


_library.declare("gradient_norm(Tensor[] gradients) -> Tensor", _fake_norm)
_library.declare(
    "optimizer_step(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] means, "
    "Tensor(c!)[] squares, Tensor(d!)[] averages, Tensor(e!)[] steps, Tensor rate, Tensor norm, "
    "Tensor skip, Tensor follow, float weight_decay, float beta1, float beta2, float eps, "
    "float clip) -> ()",
    _fake_step,
)
