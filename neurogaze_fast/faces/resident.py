"""Faces resident in memory: uint8 on the training device, augmented a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.ops import augment
from neurogaze_fast.reference import augment_params
from neurogaze_fast.reference.augment import Augmentation


class ResidentLoader:
    """Shuffled, augmented batches of an in-memory set.

    The order is a function of (seed, epoch) and each image of (seed, epoch, row), so an epoch can
    be entered at any batch and gives what an uninterrupted one would have given.
    """

    def __init__(
        self,
        images: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        channels: int = 1,
        augmentation: Augmentation | None = None,
    ) -> None:
        """`images`: uint8 [N, H, W], the rows trained on."""
        self._store = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self._batch_size = min(batch_size, len(images))
        self._seed, self._dtype, self._channels = seed, dtype, channels
        self._augmentation = augmentation

    def __len__(self) -> int:
        """Batches an epoch; a last partial batch is left out (other rows each epoch)."""
        return len(self._store) // self._batch_size

    @property
    def batch_size(self) -> int:
        """Images in every batch."""
        return self._batch_size

    def batch_rows(self, epoch: int, batch: int) -> Tensor:
        """int64 [B] on the CPU: the rows of one batch."""
        start = batch * self._batch_size
        return self._order(epoch)[start : start + self._batch_size]

    def epoch(self, epoch: int, size: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images [B, channels, size, size] channels_last, rows int64 [B]) from `start` on."""
        order = self._order(epoch).to(self._store.device)
        for batch in range(start, len(self)):
            rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            params = augment_params(
                rows,
                seed=self._seed,
                epoch=epoch,
                source=tuple(self._store.shape[1:3]),
                size=size,
                augmentation=self._augmentation,
            )
            images = augment(
                self._store, rows, params, size=size, channels=self._channels, dtype=self._dtype
            )
            yield images, rows

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return torch.randperm(len(self._store), generator=generator)


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
            source=tuple(store.shape[1:3]),
            size=size,
            augmentation=None,
        )
        yield augment(store, rows, params, size=size, channels=1, dtype=torch.float32)
