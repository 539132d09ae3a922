"""3x3 convolution with stride 1 and padding 1: definition in plain torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from neurogaze_fast.errors import OperatorError


def check_arguments(x: Tensor, weight: Tensor) -> None:
    """Raise OperatorError unless x is [B, C, H, W] and weight [O, C, 3, 3], of floating dtypes."""
    if x.dim() != 4 or weight.dim() != 4 or weight.shape[1:] != (x.shape[1], 3, 3):
        raise OperatorError(
            "conv3x3: x must be [B, C, H, W] and weight [O, C, 3, 3] with the same C, but they are "
            f"{list(x.shape)} and {list(weight.shape)}."
        )
    if not (x.is_floating_point() and weight.is_floating_point()):
        raise OperatorError(
            f"conv3x3: floating dtypes are needed, but x is of {x.dtype} and weight of "
            f"{weight.dtype}."
        )
    if x.device != weight.device:
        raise OperatorError(
            f"conv3x3: x is on {x.device} but weight on {weight.device}; move one of them."
        )


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """The convolution of x [B, C, H, W] with weight [O, C, 3, 3] -> [B, O, H, W], in x's dtype.

    Stride 1, zeros for padding 1, no bias. The weight may be of a wider dtype than x: it is rounded
    to x's first, and its gradient is in its own.

    Raises:
        OperatorError: shapes or dtypes are not those, or the tensors lie on different devices.
    """
    check_arguments(x, weight)
    return F.conv2d(x, weight.to(x.dtype), padding=1)
