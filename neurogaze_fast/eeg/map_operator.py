"""The interpolation a map set was made with, and maps made by it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from neurogaze_fast import ops
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import ArtifactError

BATCH = 4096
"""Windows interpolated at a time."""


def map_operator(maps: MapSet) -> TopomapOperator:
    """The operator of a set made by prepare.

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
    if maps.positions is None:
        return TopomapOperator.from_names(maps.names, size, method=options["method"])
    return TopomapOperator.from_positions(maps.positions, size, method=options["method"])


def interpolated(
    power: np.ndarray,
    operator: TopomapOperator,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """float16 [N, F, H, W]: power float32 [N, F, C] over the head, 0 outside.

    `progress` is called with how many windows are done.
    """
    count, bands, _ = power.shape
    maps = np.empty((count, bands, *operator.shape), np.float16)
    for first in range(0, count, BATCH):
        batch = torch.from_numpy(power[first : first + BATCH])
        made = ops.topomap(batch, operator, dtype=torch.float16)
        maps[first : first + len(batch)] = made.numpy()
        if progress:
            progress(first + len(batch))
    return maps
