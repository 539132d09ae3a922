"""Normalisation folded into the convolution before it: the same answers from fewer operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normalisation_as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(gain, shift) float64 [C]: what a BatchNorm in evaluation mode does to each channel."""
    # In float64, so that folding costs no more than the last rounding of each weight.
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return gain, norm.bias.double() - norm.running_mean.double() * gain


@torch.no_grad()
def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with a bias that equals a bias-free `convolution` followed by `norm`."""
    gain, shift = normalisation_as_affine(norm)
    out = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        convolution.padding,
    ).requires_grad_(False)
    out.weight.copy_(convolution.weight.double() * gain[:, None, None, None])
    out.bias.copy_(shift)
    return out
