"""What a teacher looks at: maps or signals, on one of three scales.

* ``subject``: each person's band power is z-scored over all of that person's windows. Ratings play
  no part, but a new person needs more than one clip before the first can be scored.
* ``train``: every window is z-scored by the training windows' mean and deviation, which the
  teacher keeps: one new clip can be scored alone.
* ``none``: band power above its baseline, as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurogaze_fast.artifacts import check_fields
from neurogaze_fast.eeg.map_operator import interpolated, map_operators
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import ArtifactError, CheckpointError
from neurogaze_fast.teacher.views import ResidentMaps

TOPOMAP = "topomap"
"""The network of this package, which sees maps; every other sees signals."""
SIGNAL_UNIT = 10.0
"""Microvolts that count as 1 where signals are not scaled by anybody's own."""
_SMALLEST = 1e-6


@dataclass(frozen=True, eq=False)
class Scale:
    """What is subtracted from band power [F, C] (or signals [C]), and what divides it then."""

    level: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """Mean and population standard deviation over the rows; 1 where nothing varies."""
        values = values.astype(np.float64)
        spread = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(spread > _SMALLEST, spread, 1.0))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """float32: values on this scale."""
        return ((values - self.level) / self.spread).astype(np.float32)

    def to_json(self) -> dict[str, list]:
        return {"level": self.level.tolist(), "spread": self.spread.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, list]) -> Scale:
        return cls(np.array(value["level"], np.float64), np.array(value["spread"], np.float64))


@dataclass(frozen=True, eq=False)
class Inputs:
    """One teacher's view of a whole map set."""

    store: ResidentMaps
    """What its network is given: maps [N, F, H, W], or signals as [N, C, 1, L]."""
    power: np.ndarray
    """float32 [N, F, C] on the same scale, for the ridge."""
    scale: Scale | None
    """Of normalise "train"; None for the others."""


class InputMaker:
    """Makes the inputs of each fold; what does not depend on the fold is made once."""

    def __init__(self, maps: MapSet, normalise: str, model: str, device: torch.device) -> None:
        """Check that the maps hold what is asked for.

        Raises:
            ArtifactError: they do not; says how to prepare them.
        """
        self._maps, self._normalise, self._device = maps, normalise, device
        self._signals = model != TOPOMAP
        if self._signals and maps.signals is None:
            raise ArtifactError(
                f"--model {model} looks at signals, and these maps were prepared without them. "
                "Prepare again with --keep-signals."
            )
        if normalise != "subject":
            self._raw = maps.unscaled()
            self._operators = [] if self._signals else map_operators(maps)
        self._fixed: Inputs | None = None

    def of(self, train: np.ndarray) -> Inputs:
        """The inputs of a teacher trained on the rows `train`."""
        if self._normalise != "train":
            self._fixed = self._fixed or self.scaled(None)
            return self._fixed
        return self.scaled(Scale.of(self._raw[train]), train)

    def scaled(self, scale: Scale | None, train: np.ndarray | None = None) -> Inputs:
        """The inputs on a scale found before; None for normalise "subject" and "none"."""
        maps = self._maps
        if self._normalise == "subject":
            power = maps.power
        else:
            power = self._raw if scale is None else scale.apply(self._raw)
        if self._signals:
            return Inputs(self._signal_store(train), power, scale)
        if self._normalise == "subject":
            return Inputs(ResidentMaps.of(maps, self._device), power, scale)
        images = interpolated(power, self._operators, maps.cap)
        return Inputs(ResidentMaps.holding(images, maps, self._device), power, scale)

    def _signal_store(self, train: np.ndarray | None) -> ResidentMaps:
        """Signals divided by each person's, or the training windows', root mean square.

        The network's own first normalisation does the rest, so no offset is taken away.
        """
        maps = self._maps
        assert maps.signals is not None
        signals = maps.signals.astype(np.float32)
        size = np.sqrt(np.square(signals).mean(axis=2))  # [N, C]
        if self._normalise == "subject":
            for one in np.unique(maps.subject):
                mine = maps.subject == one
                own = np.sqrt(np.square(size[mine]).mean(axis=0))
                signals[mine] /= np.maximum(own, _SMALLEST)[:, None]
        else:
            signals /= SIGNAL_UNIT
        return ResidentMaps.holding(signals[:, :, None, :].astype(np.float16), maps, self._device)


def teacher_inputs(
    maps: MapSet, metadata: dict[str, Any], file: Path, device: torch.device
) -> Inputs:
    """What a saved teacher looks at in `maps`, on the scale that it was trained on.

    Args:
        maps: all windows.
        metadata: the teacher's provenance. Those of earlier versions name no scale: by subject.
        file: the teacher's, for messages.

    Raises:
        CheckpointError: the provenance holds no scale that could be used.
        ArtifactError: the maps lack what this teacher looks at.
    """
    scale, normalise = teacher_scale(metadata, file, len(maps.bands), len(maps.names))
    network = metadata.get("network") or {"name": TOPOMAP}
    return InputMaker(maps, normalise, network["name"], device).scaled(scale)


def teacher_scale(
    metadata: dict[str, Any], file: Path, bands: int, sites: int
) -> tuple[Scale | None, str]:
    """The scale and the normalisation that a teacher's provenance names.

    Raises:
        CheckpointError: they contradict each other, or the scale is not for these bands and sites.
    """
    fields = {"normalise?": str, "scale?": {"level": list, "spread": list}}
    check_fields(metadata, fields, file, CheckpointError)
    normalise = metadata.get("normalise") or "subject"
    if normalise not in ("subject", "train", "none"):
        raise CheckpointError(f"{file} was scaled by {normalise!r}, unknown here.")
    if normalise != "train":
        return None, normalise
    try:
        scale = Scale.from_json(metadata["scale"])
    except (TypeError, ValueError, KeyError) as cause:
        raise CheckpointError(f"{file} names a scale that is no numbers ({cause}).") from cause
    if scale.level.shape != (bands, sites) or scale.spread.shape != (bands, sites):
        raise CheckpointError(
            f"{file} has a scale for {list(scale.level.shape)} bands and sites, and what it is "
            f"given has [{bands}, {sites}]."
        )
    return scale, normalise
