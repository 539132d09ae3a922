"""Faces resident in memory: uint8 on the training device, read where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.faces.order import EpochOrder
from neurogaze_fast.ops import augment
from neurogaze_fast.reference import augment_params


class Batch(NamedTuple):
    """What a loader hands to a training step: pixels before augmentation, and whose they are."""

    store: Tensor
    """uint8 [M, H, W] on the training device: the whole set, or just this batch."""
    places: Tensor
    """int64 [B] on the device: the batch's images in `store`."""
    rows: Tensor
    """int64 [B] on the device: the batch's rows of the training set."""


class ResidentLoader:
    """Shuffled batches of a set that lies in the training device's memory; nothing is copied."""

    def __init__(
        self,
        images: np.ndarray | Tensor,
        order: EpochOrder,
        device: torch.device,
        instead: Tensor | None = None,
    ) -> None:
        """`images`: uint8 [N, H, W]; `instead` int64 [N]: the row shown for each (damaged ones)."""
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(np.ascontiguousarray(images))
        self.store = images.to(device)
        self._order, self._instead = order, instead
        self.reason = ""

    @property
    def source(self) -> tuple[int, int]:
        """(H, W) of the stored images."""
        _, height, width = self.store.shape
        return height, width

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from `start` on."""
        rows = self._order.local(epoch, start)
        if self._instead is not None:
            rows = self._instead[rows]
        for batch in rows.to(self.store.device):
            yield Batch(self.store, batch, batch)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the order follows from seed, epoch and batch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def close(self) -> None:
        """Nothing to end."""


def plain_batches(
    images: np.ndarray,
    *,
    size: int,
    batch_size: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Every image in order, resized and normalised as in training but never augmented."""
    for start in range(0, len(images), batch_size):
        store = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size]))
        store = store.to(device)
        rows = torch.arange(len(store), device=device)
        params = augment_params(
            rows,
            seed=0,
            epoch=0,
            source=(store.shape[1], store.shape[2]),
            size=size,
            augmentation=None,
        )
        yield augment(store, rows, params, size=size, channels=1, dtype=torch.float32)
