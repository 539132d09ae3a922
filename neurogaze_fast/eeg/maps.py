"""Topographic maps of many windows with their labels: a folder of verified files.

The files are in :mod:`~neurogaze_fast.eeg.map_files`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.errors import ArtifactError

FLAGS = {"interpolated": 1, "blink": 2, "no_baseline": 4}
"""Bits of a window's `flags`. interpolated: at least one channel of its trial was bad and was
replaced; blink: the front of the head moves as in a blink; no_baseline: corrected by its trial's
own mean, for want of a recording before the clip."""
_BLOCK = 4096
UNKNOWN_CLIP = -1
"""The `clip` of windows whose clip nobody wrote down."""
ROWS = {
    "maps": np.float16,
    "power": np.float32,
    "valence": np.float32,
    "arousal": np.float32,
    "subject": np.int64,
    "trial": np.int64,
    "start": np.float32,
    "flags": np.uint8,
}
"""What every window has, and its dtype."""
OPTIONAL_ROWS = {"clip": np.int64, "cap": np.int64, "signals": np.float16}
"""What a window may have, and its dtype. Files written before clips were kept have none."""


@dataclass(frozen=True, eq=False)
class MapSet:
    """N windows: F bands, C sites, maps of H x W pixels (row 0 is the back of the head)."""

    maps: np.ndarray
    """float16 [N, F, H, W]: `power` interpolated over the head, 0 outside it."""
    power: np.ndarray
    """float32 [N, F, C]: baseline-corrected log band power, z-scored by subject, band and site."""
    valence: np.ndarray
    """float32 [N] on [-1, 1]; NaN: unlabelled."""
    arousal: np.ndarray
    """float32 [N] on [-1, 1]; NaN where valence is."""
    subject: np.ndarray
    """int64 [N]: index into `subjects`; every split is made by it."""
    trial: np.ndarray
    """int64 [N]: number of the trial over the whole set; windows of one clip share it."""
    start: np.ndarray
    """float32 [N]: seconds into the clip."""
    flags: np.ndarray
    """uint8 [N]: quality, bits of :data:`FLAGS`."""
    subjects: tuple[str, ...]
    """Such as "dreamer-01"."""
    names: tuple[str, ...]
    """The C sites, 10-20 names."""
    bands: tuple[str, ...]
    """The F bands."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What it was made from (a JSON object); ``synthetic`` says whether without real EEG."""
    sha256: str = ""
    """Hash of the index it was loaded from, which covers every shard; empty otherwise."""
    clip: np.ndarray | None = None
    """int64 [N]: index into `clips`, the film that was watched; everybody who watched it has the
    same number. -1: not known. None when made: -1 for all."""
    clips: tuple[str, ...] = ()
    """Such as "dreamer:clip-07"; empty in sets written before clips were kept."""
    level: np.ndarray | None = None
    """float64 [S, F, C]: what was subtracted from each subject's log band power."""
    spread: np.ndarray | None = None
    """float64 [S, F, C]: what it was divided by then; 0: constant, so its z-score is 0."""
    positions: np.ndarray | None = None
    """float64 [P, C, 2], metres on the plane: where the sites lie in each of P caps; None: where
    their names say."""
    cap: np.ndarray | None = None
    """int64 [N]: index into `positions`; None where all sites lie where their names say."""
    signals: np.ndarray | None = None
    """float16 [N, C, L]: the cleaned signal of each window, microvolts; None: not kept."""

    def __post_init__(self) -> None:
        count = len(self.maps)
        if self.clip is None:
            object.__setattr__(self, "clip", np.full(count, UNKNOWN_CLIP, np.int64))
        shapes: dict[str, tuple[int, ...]] = {
            "maps": (count, len(self.bands), *self.maps.shape[2:4]),
            "power": (count, len(self.bands), len(self.names)),
        }
        if self.signals is not None:
            shapes["signals"] = (count, len(self.names), *self.signals.shape[2:3])
        for name, dtype in (ROWS | OPTIONAL_ROWS).items():
            value, shape = getattr(self, name), shapes.get(name, (count,))
            if value is None:
                continue
            if value.dtype != dtype or value.shape != shape:
                raise ArtifactError(
                    f"The map set's {name} are {value.dtype} {value.shape}, expected "
                    f"{np.dtype(dtype)} {shape}. Prepare the maps again."
                )
        if self.maps.ndim != 4:
            raise ArtifactError(
                f"Maps are [windows, bands, rows, columns], found {self.maps.shape}. Prepare the "
                "maps again."
            )
        problem = self._problem()
        if problem:
            raise ArtifactError(f"The map set is damaged: {problem}. Prepare the maps again.")

    def _problem(self) -> str | None:
        """What is wrong with the values, if anything."""
        for name in ("maps", "power", "start"):
            if not _finite(getattr(self, name)):
                return f"{name} holds a value that is not finite"
        if not np.array_equal(np.isnan(self.valence), np.isnan(self.arousal)):
            return "a window has one of valence and arousal without the other"
        for name in ("valence", "arousal"):
            rated = getattr(self, name)[self.labelled]
            if (np.abs(rated) > 1).any():
                return f"{name} {rated[np.abs(rated) > 1][0]:g} lies outside [-1, 1]"
        if self.signals is not None and not _finite(self.signals):
            return "signals hold a value that is not finite"
        scaled = (len(self.subjects), len(self.bands), len(self.names))
        for name in ("level", "spread"):
            value = getattr(self, name)
            if value is not None and (value.shape != scaled or not np.isfinite(value).all()):
                return f"{name} is not finite numbers {list(scaled)}"
        if (self.positions is None) != (self.cap is None):
            return "one of positions and cap is there without the other"
        if self.positions is not None and self.positions.shape[1:] != (len(self.names), 2):
            return f"positions are {list(self.positions.shape)} for {len(self.names)} sites"
        if len(self) == 0:
            return None
        if self.film.min() < UNKNOWN_CLIP or self.film.max() >= len(self.clips):
            return f"a clip index lies outside the {len(self.clips)} clips"
        caps = 0 if self.positions is None else len(self.positions)
        if self.cap is not None and (self.cap.min() < 0 or self.cap.max() >= caps):
            return f"a cap index lies outside the {caps} caps"
        if self.subject.min() < 0 or self.subject.max() >= len(self.subjects):
            return f"a subject index lies outside the {len(self.subjects)} subjects"
        order = np.argsort(self.trial, kind="stable")
        same_trial = np.diff(self.trial[order]) == 0
        if (np.diff(self.subject[order])[same_trial] != 0).any():
            return "two subjects share a trial"
        if (np.diff(self.film[order])[same_trial] != 0).any():
            return "a trial has windows of two clips"
        return None

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def labelled(self) -> np.ndarray:
        """bool [N]: windows with ratings."""
        return ~np.isnan(self.valence)

    @property
    def film(self) -> np.ndarray:
        """`clip`, int64 [N], which is never None once the set is made."""
        assert self.clip is not None
        return self.clip

    @property
    def knows_clips(self) -> bool:
        """Whether every labelled window says which clip it is of, so that clips can be held out."""
        return len(self.clips) > 0 and bool((self.film[self.labelled] != UNKNOWN_CLIP).all())

    @property
    def synthetic(self) -> bool:
        """Whether any of it was made without real EEG."""
        return bool(self.provenance.get("synthetic", False))

    @property
    def sfreq(self) -> float:
        """Hz: of the signals, whose windows are as long as the set was prepared with.

        Raises:
            ArtifactError: there are no signals, or the set does not say how long a window is.
        """
        window = (self.provenance.get("options") or {}).get("window")
        if self.signals is None or not isinstance(window, int | float):
            raise ArtifactError(
                "These maps do not hold the windows' signals and their length. Prepare them again "
                "with --keep-signals."
            )
        return self.signals.shape[2] / float(window)

    def rows(self, index: np.ndarray | slice) -> MapSet:
        """The windows that `index` (numbers, bool [N] or slice) picks; `subjects` stays whole."""
        named = [name for name in (*ROWS, *OPTIONAL_ROWS) if getattr(self, name) is not None]
        picked = {name: getattr(self, name)[index] for name in named}
        return replace(self, **picked, sha256="")

    def unscaled(self) -> np.ndarray:
        """float32 [N, F, C]: `power` before it was scaled by subject, above its baseline.

        Raises:
            ArtifactError: the set was written by a version that did not keep the scales.
        """
        if self.level is None or self.spread is None:
            raise ArtifactError(
                "These maps were made before the scale of each subject was kept, so they can only "
                "be used as they are (--normalise subject). Prepare the maps again."
            )
        power = self.power * self.spread[self.subject] + self.level[self.subject]
        return power.astype(np.float32)

    def save(self, folder: Path) -> str:
        """Write the shards and, last, the index; return the index's SHA-256.

        Raises:
            OutputExistsError: the folder is there and holds something; it is left alone.
        """
        from neurogaze_fast.eeg.map_files import save_maps

        return save_maps(self, folder)

    @classmethod
    def load(cls, folder: Path) -> MapSet:
        """Verify and read a map set.

        Args:
            folder: the one given to `save`, or one that holds it as ``maps`` (the output of
                ``prepare eeg``).

        Raises:
            ArtifactError: a file is missing, altered, malformed or belongs to another set.
        """
        from neurogaze_fast.eeg.map_files import load_maps

        return load_maps(folder)


def _finite(values: np.ndarray) -> bool:
    """Whether all of [N, ...] are; in blocks, because the answers take as much memory as bytes."""
    blocks = range(0, len(values), _BLOCK)
    return all(bool(np.isfinite(values[first : first + _BLOCK]).all()) for first in blocks)
