"""timm's training recipe (its train.py, without its command line) on faces in memory.

timm's model, its loader with its transforms, its AdamW groups, label smoothing and clipping,
autocast and channels_last as its README advises; PyTorch's own loop would be the same otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import dispatch_clip_grad
from torch import nn
from torch.utils.data import Dataset


class Faces(Dataset):
    """uint8 [N, H, W] as the PIL images timm's transforms take."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels, self.transform = images, labels, None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images[index])
        return self.transform(image), int(self.labels[index])


class TimmLoop:
    """One epoch after another; `step` trains on the next batch."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        architecture: str,
        size: int,
        batch: int,
        stem: str,
        device: torch.device,
    ) -> None:
        model = timm.create_model(architecture, num_classes=8, in_chans=1)
        if stem == "small":
            model.conv1 = nn.Conv2d(1, 64, 3, 2, 1, bias=False)
            model.maxpool = nn.Identity()
        self.device = device
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.optimizer = create_optimizer_v2(self.model, opt="adamw", lr=1e-3, weight_decay=0.05)
        self.loss = LabelSmoothingCrossEntropy(0.055)
        self.loader = create_loader(
            Faces(images, labels), (1, size, size), batch, is_training=True, use_prefetcher=False,
            no_aug=False, scale=(0.8, 1.0), hflip=0.5, color_jitter=0.1, re_prob=0.25,
            interpolation="bilinear", mean=(0.5,), std=(0.25,), num_workers=2,
            persistent_workers=True, pin_memory=device.type == "cuda",
        )  # fmt: skip
        self._batches = self._forever()

    def step(self) -> None:
        """Load, forward, loss, backward, clip, update."""
        images, labels = next(self._batches)
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = self.loss(self.model(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        dispatch_clip_grad(self.model.parameters(), 1.0, mode="norm")
        self.optimizer.step()

    def _forever(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from self.loader
