"""3x3 convolutions computed the fastest way there is on a CPU: same parameters, same results.

In bfloat16 those with stride 1 take Winograd's products where the processor has them
(ops/conv3x3.py). Elsewhere tiny maps take their weight gradient as one matrix product over unfolded
patches: the library computes that of a 512-channel 2x2 or 3x3 map several times slower (figures in
benchmarks/README.md), and a 48-pixel face spends its last stage on just such maps. And with bf16 on
a 1x1 map the library's gradient was sometimes NaN (torch 2.14.1, AVX-512), which this one is not.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurogaze_fast.ops.conv3x3 import conv3x3, conv3x3_native

LARGEST_MAP = 16
"""Output pixels up to which unfolding wins."""
SMALLEST_SIDE = 2
"""Height and width from which Winograd's products win."""


class Conv3x3(nn.Conv2d):
    """A bias-free 3x3, padding-1 ``nn.Conv2d``: same parameters, same result up to rounding."""

    winograd = True
    """Whether training may take Winograd's products."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, H/stride, W/stride]."""
        other = x.device.type != "cpu" or not torch.is_grad_enabled()
        if other or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(x)
        stride, weight = self.stride[0], self.weight
        if torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:  # which it leaves alone
            x = x.to(torch.get_autocast_dtype("cpu"))
        rows, columns = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
        large = stride == 1 and min(rows, columns) >= SMALLEST_SIDE
        if large and self.winograd and conv3x3_native(x, weight):
            return conv3x3(x, weight)
        if rows * columns <= LARGEST_MAP:
            return _PatchGradient.apply(x, weight.to(x.dtype), stride)
        return super().forward(x)


def allow_winograd(model: nn.Module, allowed: bool) -> None:
    """Let every :class:`Conv3x3` of `model` train by Winograd's products, or by none."""
    for module in model.modules():
        if isinstance(module, Conv3x3):
            module.winograd = allowed


class _PatchGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, stride=stride, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        stride = ctx.stride
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x, _, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [stride] * 2, [1, 1], [1, 1], False, [0, 0], 1,
                [True, False, False],
            )  # fmt: skip
        if ctx.needs_input_grad[1]:
            patches = _patches(x, stride)
            rows = gradient.permute(0, 2, 3, 1).reshape(patches.shape[0], -1)
            product = rows.t() @ patches
            out, channels = weight.shape[:2]
            of_weight = product.view(out, 3, 3, channels).permute(0, 3, 1, 2)
        return of_x, of_weight, None


def _patches(x: Tensor, stride: int) -> Tensor:
    """[B, C, H, W] -> [B * H/stride * W/stride, 9 * C], each row one 3x3 patch, channels last."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    windows = padded.unfold(1, 3, stride).unfold(2, 3, stride)  # [B, h, w, C, 3, 3]
    batch, height, width, channels = windows.shape[:4]
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(batch * height * width, 9 * channels)
