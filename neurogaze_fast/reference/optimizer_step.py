"""Norm of all gradients, clipping, AdamW, and an average that follows the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from neurogaze_fast.errors import OperatorError


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, as ``clip_grad_norm_`` takes it.

    Args:
        gradients: at least one, of any shapes, one dtype and device.

    Returns:
        [] of their dtype.

    Raises:
        OperatorError: there is none.
    """
    if not gradients:
        raise OperatorError(
            "There is no gradient to take the norm of: call it after the backward pass."
        )
    return torch.nn.utils.get_total_norm(gradients)


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
    """One step of AdamW (Loshchilov and Hutter 2019, torch's order of operations), in place.

    With g = gradient * min(1, clip / (norm + 1e-6)), as ``clip_grad_norm_`` clips, and step t::

        mean   = beta1 mean + (1 - beta1) g          square = beta2 square + (1 - beta2) g^2
        weight = (1 - rate weight_decay) weight
                 - rate / (1 - beta1^t) mean / (sqrt(square / (1 - beta2^t)) + eps)
        average = average + follow (weight - average)

    Args:
        parameters, gradients, means, squares: lists of the same length, of the same shapes.
        steps: float32 [] for each parameter: how many steps it has made; counted up here.
        averages: of each parameter's weights, or None where none is kept.
        rate: learning rate, a number or [] (which a CUDA graph reads anew in each replay).
        norm: [], of the gradients as they are; None: they are not clipped.
        skip: float32 []; where it is not 0, weights, moments and steps stay as they are, while the
            averages go on towards the weights.
        follow: float32 [], share of the way that averages go; needed where there is one.

    Raises:
        OperatorError: the lists do not belong together.
    """
    check_arguments(parameters, gradients, means, squares, steps, averages, follow)
    if not parameters:
        return
    # torch's fused kernel goes through memory, and is silently wrong where the tensors that belong
    # together do not lie in the same order.
    weights = [p if fills_memory(p) else p.clone() for p in parameters]
    taken, mean, square = (_laid_out(each, weights) for each in (gradients, means, squares))
    if norm is not None:
        scale = torch.clamp(clip / (norm + 1e-6), max=1.0)
        taken = list(torch._foreach_mul(taken, scale))
    adamw(
        weights, taken, mean, square, [], list(steps),
        fused=True, capturable=parameters[0].is_cuda, grad_scale=None, found_inf=skip,
        amsgrad=False, beta1=betas[0], beta2=betas[1], lr=rate, weight_decay=weight_decay, eps=eps,
        maximize=False,
    )  # fmt: skip
    for changed, given in ((weights, parameters), (mean, means), (square, squares)):
        for new, old in zip(changed, given, strict=True):
            if new is not old:
                old.copy_(new)
    pairs = [(a, p) for a, p in zip(averages, parameters, strict=True) if a is not None]
    if pairs and follow is not None:
        move_towards([a for a, _ in pairs], [p for _, p in pairs], follow)


def fills_memory(t: Tensor) -> bool:
    """Whether `t` fills its memory without gaps, in whatever order of dimensions."""
    if t.is_contiguous():
        return True
    span = 1 + sum((n - 1) * stride for n, stride in zip(t.shape, t.stride(), strict=True))
    return t.numel() in (0, span)


def same_layout(t: Tensor, like: Tensor) -> bool:
    """Whether `t` lies in memory as `like`, which has the same shape, does."""
    own, other = t.stride(), like.stride()
    return own == other or all(
        a == b or n == 1 for a, b, n in zip(own, other, like.shape, strict=True)
    )


def _laid_out(tensors: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor as it is, or copied to where it lies as its counterpart does."""
    return [
        t if same_layout(t, other) else torch.empty_like(other).copy_(t)
        for t, other in zip(tensors, like, strict=True)
    ]


def move_towards(own: list[Tensor], other: list[Tensor], share: Tensor) -> None:
    """own += share (other - own), in place; `share` []."""
    change = torch._foreach_sub(other, own)
    torch._foreach_mul_(change, share)
    torch._foreach_add_(own, change)


def check_arguments(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    averages: Sequence[Tensor | None],
    follow: Tensor | None,
) -> None:
    """Raise OperatorError where the arguments of :func:`optimizer_step` do not fit together."""
    lists = (gradients, means, squares, steps, averages)
    if any(len(each) != len(parameters) for each in lists):
        raise OperatorError(
            f"{len(parameters)} parameters need as many gradients, means, squares, steps and "
            f"averages, got {', '.join(str(len(each)) for each in lists)}."
        )
    for like in (gradients, means, squares, averages):
        for index, (p, one) in enumerate(zip(parameters, like, strict=True)):
            if one is not None and (one.shape != p.shape or one.dtype != p.dtype):
                raise OperatorError(
                    f"Parameter {index} is {p.dtype} {list(p.shape)}; what belongs to it is "
                    f"{one.dtype} {list(one.shape)}."
                )
    if follow is None and any(average is not None for average in averages):
        raise OperatorError("Averages are given, but not how far they go (`follow`).")
