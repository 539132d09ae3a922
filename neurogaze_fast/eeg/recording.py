"""One clip one person watched: what every reader of EEG gives, whatever the file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neurogaze_fast.eeg.gaps import Gap


@dataclass(frozen=True, eq=False)
class Trial:
    """The EEG of one clip, with the ratings where there are any."""

    source: str
    """"dreamer", "mahnob", "file", or the name in a description of arrays."""
    subject: str
    """Unique over all sources, such as "dreamer-01": the unit of every split."""
    clip: str
    """Unique within the subject."""
    signal: np.ndarray
    """float32 [C, T], microvolts."""
    baseline: np.ndarray | None
    """float32 [C, Tb], microvolts, before the clip; None where there is none."""
    sfreq: float
    """Sampling frequency, Hz."""
    ch_names: tuple[str, ...]
    """The C sites, 10-20 names."""
    valence: float | None
    """On [-1, 1]; None: unlabelled support (then arousal is None too)."""
    arousal: float | None
    path: Path
    """The file it was read from, for messages."""
    gaps: tuple[Gap, ...] = ()
    """Intervals of the signal that are no EEG, in seconds from its first sample."""
    baseline_gaps: tuple[Gap, ...] = ()
    """Likewise of the baseline."""
    bads: tuple[str, ...] = ()
    """Channels that the file, or whoever listed the clips, marks as bad."""
    positions: np.ndarray | None = None
    """float64 [C, 2], metres on the plane: where the file or a montage puts the channels; None:
    where their names say."""
    stand_ins: dict[str, str] = field(default_factory=dict)
    """Site -> the electrode that stands for it by its place, and how far away that is."""
    film: str | None = None
    """What was watched, where other people's trials call it the same; None: the clip's name."""
    lowpass: float | None = None
    """Hz: what the recorder's low-pass let through, where the file says it; None: everything."""


@dataclass(frozen=True)
class LeftOut:
    """A part of the data that is not used, counted and named instead of ending the run."""

    path: Path
    what: str
    """Such as "subject 3, clip 7" or "session 12"."""
    reason: str
    """A few words that group the same reasons together, such as "NaN in the signal"."""
