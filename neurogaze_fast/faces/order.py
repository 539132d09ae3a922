"""Which rows each batch of each epoch holds: a pure function of seed, epoch and batch."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EpochOrder:
    """The shuffled order of `count` rows, cut into global batches and shared out to processes.

    A global batch is the same whatever the number of processes: each takes an equal, contiguous
    part of it. So a run can be taken up again by another number of processes at any batch.
    """

    count: int
    """Rows of the set."""
    batch_size: int
    """Images of a batch over all processes; `world` must divide it."""
    seed: int
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        """Batches an epoch; a last partial batch is left out (other rows each epoch)."""
        return self.count // self.global_batch

    @property
    def global_batch(self) -> int:
        """Images in every batch, all processes together: a small set is one batch."""
        return min(self.batch_size, self.count - self.count % self.world)

    @property
    def local_batch(self) -> int:
        """Images in this process's part of every batch."""
        return self.global_batch // self.world

    def batch_rows(self, epoch: int, batch: int) -> Tensor:
        """int64 [local_batch] on the CPU: this process's rows of one batch."""
        return self.local(epoch, batch, batch + 1)[0]

    def global_rows(self, epoch: int, batch: int) -> Tensor:
        """int64 [global_batch] on the CPU: every process's rows of one batch."""
        start = batch * self.global_batch
        return _permutation(self.count, self.seed, epoch)[start : start + self.global_batch]

    def local(self, epoch: int, start: int = 0, stop: int | None = None) -> Tensor:
        """int64 [stop - start, local_batch] on the CPU: this process's rows of several batches."""
        stop = len(self) if stop is None else stop
        rows = _permutation(self.count, self.seed, epoch)
        rows = rows[start * self.global_batch : stop * self.global_batch]
        return rows.view(-1, self.world, self.local_batch)[:, self.rank].contiguous()


@functools.lru_cache(maxsize=2)  # streams ask batch by batch
def _permutation(count: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)
