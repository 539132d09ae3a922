"""ResNet-18 and ResNet-50 (He et al. 2016) for small faces, with torchvision's parameter names."""

from __future__ import annotations

from torch import Tensor, nn

from neurogaze_fast.training.conv3x3 import Conv3x3

STEMS = ("small", "imagenet")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the block of ResNet-18."""

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inplanes, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inplanes, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inplanes, H, W] -> [B, planes, H/stride, W/stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as torchvision's v1.5), 1x1; the block of ResNet-50."""

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inplanes, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv(planes, planes * 4, 1)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inplanes, planes * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inplanes, H, W] -> [B, 4 planes, H/stride, W/stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)


DEPTHS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
"""Architecture -> its block, and how many of them each stage has."""


class ResNet(nn.Module):
    """A ResNet that returns its features beside its logits.

    With ``stem="imagenet"`` and three channels, ``state_dict`` is interchangeable with
    torchvision's. ``stem="small"`` (3x3, stride 2, no max-pool) keeps twice the resolution, which a
    48-pixel face needs: ResNet's own stem would leave 12x12 before the first block.
    """

    def __init__(
        self,
        architecture: str = "resnet18",
        *,
        stem: str = "small",
        channels: int = 1,
        num_classes: int = 8,
    ) -> None:
        super().__init__()
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        self.layer4: nn.Sequential
        block, depths = DEPTHS[architecture]
        self.architecture, self.stem, self.channels = architecture, stem, channels
        if stem == "imagenet":
            self.conv1 = _conv(channels, 64, 7, 2)
            self.maxpool: nn.Module = nn.MaxPool2d(3, 2, 1)
        else:
            self.conv1 = _conv(channels, 64, 3, 2)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        width = 64
        for number, depth in enumerate(depths, start=1):
            planes = 32 * 2**number
            blocks = []
            for position in range(depth):
                stride = 2 if number > 1 and position == 0 else 1
                blocks.append(block(width, planes, stride))
                width = planes * block.expansion
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.width = width
        self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)
        self._initialise()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, channels, H, W] -> (features [B, D], logits [B, C])."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features = self.avgpool(x).flatten(1)
        return features, self.fc(features)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _conv(inplanes: int, planes: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    kind = Conv3x3 if kernel == 3 else nn.Conv2d
    return kind(inplanes, planes, kernel, stride, kernel // 2, bias=False)


def _downsample(inplanes: int, planes: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inplanes == planes:
        return None
    return nn.Sequential(_conv(inplanes, planes, 1, stride), nn.BatchNorm2d(planes))
