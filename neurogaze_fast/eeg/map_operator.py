"""The interpolation a map set was made with, and maps made by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from neurogaze_fast import ops
from neurogaze_fast.eeg.interpolation import Size, TopomapOperator
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import ArtifactError

BATCH = 4096
"""Windows interpolated at a time."""


def operators(
    names: Sequence[str], positions: np.ndarray | None, size: Size, method: str
) -> list[TopomapOperator]:
    """One operator for each cap [P, C, 2], or the one of the names."""
    if positions is None:
        return [TopomapOperator.from_names(names, size, method=method)]
    return [TopomapOperator.from_positions(cap, size, method=method) for cap in positions]


def map_operators(maps: MapSet) -> list[TopomapOperator]:
    """The operators of a set made by prepare, one for each of its caps.

    Raises:
        ArtifactError: the set does not say how it was interpolated.
    """
    options = maps.provenance.get("options")
    if not isinstance(options, dict) or not {"size", "method"} <= options.keys():
        raise ArtifactError(
            "The maps do not say how they were interpolated, so they cannot be made again with "
            "another normalisation: use --normalise subject, or prepare them again."
        )
    rows, columns = maps.maps.shape[2:]
    size = rows if rows == columns else (rows, columns)
    return operators(maps.names, maps.positions, size, options["method"])


def interpolated(
    power: np.ndarray,
    made: Sequence[TopomapOperator],
    cap: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """float16 [N, F, H, W]: power float32 [N, F, C] over the head, 0 outside.

    Args:
        power: of the windows.
        made: an operator for each cap.
        cap: int [N], which of them each window wore; None: the first.
        progress: called with how many windows are done.
    """
    count, bands, _ = power.shape
    maps = np.empty((count, bands, *made[0].shape), np.float16)
    done = 0
    for number, operator in enumerate(made):
        mine = np.arange(count) if cap is None else np.flatnonzero(cap == number)
        for first in range(0, len(mine), BATCH):
            rows = mine[first : first + BATCH]
            batch = torch.from_numpy(power[rows])
            maps[rows] = ops.topomap(batch, operator, dtype=torch.float16).numpy()
            done += len(rows)
            if progress:
                progress(done)
        if cap is None:
            break
    return maps
