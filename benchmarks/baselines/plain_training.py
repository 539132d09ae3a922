"""The training loop people write: torchvision's ResNet, a DataLoader with transforms, autocast.

As fast as a plain loop gets without custom code: channels_last, the same mixed precision, batch
size, image size and resolution in the network, transforms that do the same work, two workers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Faces(Dataset):
    """uint8 [N, H, W] behind torchvision's v2 transforms."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, size: int) -> None:
        self.images, self.labels = images, labels
        self.transform = v2.Compose(
            [
                v2.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1)),
                v2.RandomHorizontalFlip(),
                v2.Resize((size, size)),
                v2.ColorJitter(brightness=0.1, contrast=0.15),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5], [0.25]),
                v2.RandomErasing(0.9, scale=(0.0005, 0.04), ratio=(1, 1)),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(self.images[index]).unsqueeze(0)
        return self.transform(image), int(self.labels[index])


class PlainLoop:
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
        self.device = device
        self.model = torchvision.models.get_model(architecture, num_classes=8)
        if stem == "small":
            self.model.conv1 = nn.Conv2d(1, 64, 3, 2, 1, bias=False)
            self.model.maxpool = nn.Identity()
        else:
            self.model.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.model = self.model.to(device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.05)
        self.loader = DataLoader(
            Faces(images, labels, size),
            batch_size=batch,
            shuffle=True,
            num_workers=2,
            drop_last=True,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )
        self._batches = self._forever()

    def step(self) -> None:
        """Load, forward, loss, backward, update."""
        images, labels = next(self._batches)
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = nn.functional.cross_entropy(self.model(images), labels, label_smoothing=0.055)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def _forever(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from self.loader
