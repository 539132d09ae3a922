"""Normalisation folded into the convolution before it: the same answers from fewer operations."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

Pair = tuple[int, int]
"""As torch's Conv2d has its numbers, though its annotations say less."""


def normalisation_as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(gain, shift) float64 [C]: what a BatchNorm in evaluation mode does to each channel."""
    # In float64, so that folding costs no more than the last rounding of each weight.
    gain = norm.weight.double() / torch.sqrt(norm.get_buffer("running_var").double() + norm.eps)
    return gain, norm.bias.double() - norm.get_buffer("running_mean").double() * gain


@torch.no_grad()
def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with a bias that equals a bias-free `convolution` followed by `norm`."""
    gain, shift = normalisation_as_affine(norm)
    return with_weights(convolution, convolution.weight.double() * gain[:, None, None, None], shift)


def with_weights(like: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A frozen convolution of the shape of `like` with these weights, float64 or float32."""
    out = nn.Conv2d(
        like.in_channels,
        like.out_channels,
        cast(Pair, like.kernel_size),
        cast(Pair, like.stride),
        cast(Pair, like.padding),
    )
    out.load_state_dict({"weight": weight, "bias": bias})
    return out.requires_grad_(False)
