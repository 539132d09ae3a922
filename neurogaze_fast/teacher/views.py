"""Resident maps, the order they are trained in, and the random views the teacher sees of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from neurogaze_fast.eeg.maps import MapSet


@dataclass(frozen=True, eq=False)
class ResidentMaps:
    """A whole map set on the training device; windows are gathered there."""

    maps: Tensor
    """float16 [N, F, H, W]."""
    va: Tensor
    """float32 [N, 2]: rated (valence, arousal), NaN where unlabelled."""
    mask: Tensor
    """float32 [H, W]: 1 inside the head, 0 outside, where every map is 0."""

    @classmethod
    def of(cls, maps: MapSet, device: torch.device) -> ResidentMaps:
        """Copy `maps` to `device`."""
        return cls.holding(maps.maps, maps, device)

    @classmethod
    def holding(cls, images: np.ndarray, maps: MapSet, device: torch.device) -> ResidentMaps:
        """`images` float16 [N, F, H, W] in the place of the set's own, with its ratings."""
        store = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        va = torch.from_numpy(np.stack([maps.valence, maps.arousal], axis=1)).float().to(device)
        return cls(store, va, (store != 0).any(0).any(0).float())


@dataclass(frozen=True)
class Augmentation:
    """How far a view may be from the window it shows; the paper says nothing, this is ours."""

    band_dropout: float
    """Chance of each band to be blanked."""
    noise: float
    """Standard deviation of white noise, in the maps' own units (standard deviations)."""
    shift: float
    """Largest shift along each axis, pixels (a cap that sits a little askew)."""


def view(maps: Tensor, mask: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """A random view of maps float [B, F, H, W]: shifted, with noise and without some bands.

    Args:
        mask: float [H, W]; outside it the view stays 0.
        generator: on the device of `maps`; its draws decide the view.
    """
    count, bands, height, width = maps.shape
    options: dict[str, Any] = {"generator": generator, "device": maps.device}
    draws = torch.rand(count, 2, **options) * 2 - 1
    kept = torch.rand(count, bands, 1, 1, **options) >= how.band_dropout
    if how.shift > 0:
        theta = torch.zeros(count, 2, 3, device=maps.device)
        theta[:, 0, 0] = theta[:, 1, 1] = 1
        scale = torch.tensor([2 / width, 2 / height], device=maps.device)
        theta[:, :, 2] = how.shift * draws * scale
        where = F.affine_grid(theta, list(maps.shape), align_corners=False)
        maps = F.grid_sample(maps, where, padding_mode="zeros", align_corners=False)
    if how.noise > 0:
        maps = maps + how.noise * torch.randn(maps.shape, **options)
    return maps * kept * mask


class Batches:
    """Which rows each step trains on: a function of (seed, epoch, step), so a run can be resumed.

    Every epoch shuffles the labelled rows and drops the incomplete last batch. Each batch comes
    with half as many unlabelled rows (a choice of ours), which are gone through in shuffled
    rounds of their own.
    """

    def __init__(self, rows: np.ndarray, support: np.ndarray, batch_size: int, seed: int) -> None:
        """`rows` labelled, int64 [n]; `support` unlabelled, int64 [m], may be empty."""
        self._rows, self._support, self._seed = rows, support, seed
        self.batch_size = min(batch_size, len(rows))
        size = min(max(batch_size // 2, 2), len(support))
        self.support_size = size if size > 1 else 0  # one alone has nothing to differ from

    def __len__(self) -> int:
        return max(1, len(self._rows) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(labelled, unlabelled) rows of each batch of `epoch`, from batch `start` on."""
        for batch in range(start, len(self)):
            yield self.batch(epoch, batch)

    def batch(self, epoch: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of one batch."""
        order = self._order(len(self._rows), 0, epoch)
        chosen = self._rows[order[batch * self.batch_size : (batch + 1) * self.batch_size]]
        if self.support_size == 0:
            return chosen, self._support
        per_round = len(self._support) // self.support_size
        turn, place = divmod(epoch * len(self) + batch, per_round)
        order = self._order(len(self._support), 1, turn)
        unlabelled = order[place * self.support_size : (place + 1) * self.support_size]
        return chosen, self._support[unlabelled]

    def _order(self, count: int, kind: int, turn: int) -> np.ndarray:
        # A permutation of 25,000 rows takes 0.3 ms: cheaper than keeping it right over a resume.
        return np.random.default_rng([self._seed, kind, turn]).permutation(count)


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The random numbers of one step: the same whether or not the run was interrupted before."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0] >> np.uint64(1)))
