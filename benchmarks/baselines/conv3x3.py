"""The fastest plain torch for conv3x3, kept as it is to compare with: the library's convolution."""

import torch.nn.functional as F


def conv3x3(x, weight):
    """x [B, C, H, W] in bfloat16 and channels_last; weight [O, C, 3, 3] in float32."""
    return F.conv2d(x, weight.to(x.dtype), padding=1)
