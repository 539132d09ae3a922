"""A small network of plain 3x3 convolutions for small faces, trained with branches that fold away.

Each block adds a 1x1 convolution and, where the shape stays, the input itself to a 3x3 convolution
while it is trained (RepVGG, Ding et al. 2021), with one normalisation after the sum: the branches
have none of their own but the 3x3's (QARepVGG, Chu et al. 2023), because branches that are
normalised one by one leave folded weights that 8 bits cannot hold. For inference a block is one
3x3 convolution. The shape is our choice, by what engines compute fastest for a 48-pixel face:
benchmarks/README.md.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from neurogaze_fast.student.folding import fold, normalisation_as_affine, with_weights
from neurogaze_fast.training.conv3x3 import Conv3x3

SHAPES = {
    "compact": ((32, 1), (64, 2), (128, 3), (256, 1)),
    "compact-half": ((16, 1), (32, 2), (64, 3), (128, 1)),
}
"""Architecture -> (channels, blocks) of each stage; every stage but the first halves the map."""


class FoldingBlock(nn.Module):
    """relu(BN(BN(conv3x3(x)) + conv1x1(x) [+ x])), or the one 3x3 convolution that equals it."""

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv3 = Conv3x3(inplanes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv1 = nn.Conv2d(inplanes, planes, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(planes)
        self.keeps_shape = stride == 1 and inplanes == planes
        self.relu = nn.ReLU(inplace=True)
        self.folded: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, inplanes, H, W] -> [B, planes, H/stride, W/stride]."""
        if self.folded is not None:
            return self.relu(self.folded(x))
        out = self.bn3(self.conv3(x)) + self.conv1(x)
        if self.keeps_shape:
            out = out + x
        return self.relu(self.bn(out))

    def fold(self) -> None:
        """Replace the branches by one convolution; the block must be in evaluation mode."""
        gain, shift = normalisation_as_affine(self.bn3)
        kernel = self.conv3.weight.double() * gain[:, None, None, None]
        kernel[:, :, 1, 1] += self.conv1.weight.double()[:, :, 0, 0]
        if self.keeps_shape:
            kernel[:, :, 1, 1] += torch.eye(kernel.shape[0], dtype=torch.float64)
        outer, moved = normalisation_as_affine(self.bn)
        self.folded = with_weights(
            self.conv3, kernel * outer[:, None, None, None], shift * outer + moved
        )
        del self.conv3, self.bn3, self.conv1, self.bn


class CompactNet(nn.Module):
    """A stride-2 stem, four stages of :class:`FoldingBlock`, the mean over the map, a classifier.

    Like :class:`~neurogaze_fast.student.resnet.ResNet` it returns its features beside its logits.
    """

    stem = "small"

    def __init__(
        self, architecture: str = "compact", *, channels: int = 1, num_classes: int = 8
    ) -> None:
        super().__init__()
        self.architecture, self.channels = architecture, channels
        stages = SHAPES[architecture]
        width = stages[0][0]
        self.conv1: nn.Conv2d = Conv3x3(channels, width, 3, 2, 1, bias=False)
        self.bn1: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        blocks: list[nn.Module] = []
        for stage, (planes, depth) in enumerate(stages):
            for position in range(depth):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(FoldingBlock(width, planes, stride))
                width = planes
        self.blocks = nn.Sequential(*blocks)
        self.width = width
        self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, channels, H, W] -> (features [B, D], logits [B, C])."""
        x = self.blocks(self.relu(self.bn1(self.conv1(images))))
        features = self.avgpool(x).flatten(1)
        return features, self.fc(features)

    @torch.no_grad()
    def folded(self) -> CompactNet:
        """A copy for inference, every block one 3x3 convolution: equal up to rounding."""
        model = copy.deepcopy(self).float().cpu().eval().requires_grad_(False)
        assert isinstance(model.bn1, nn.BatchNorm2d)  # an Identity where it is folded already
        model.conv1 = fold(model.conv1, model.bn1)
        model.bn1 = nn.Identity()
        for block in model.blocks:
            if isinstance(block, FoldingBlock):
                block.fold()
        return model
