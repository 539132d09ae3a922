"""Time inside a recording that is no EEG: not recorded, marked as bad, or without signal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

NOT_RECORDED = "time that was not recorded"
MARKED = "time that the file marks as bad"
BREAK = "a break between two parts of the recording"
DROPOUT = "a dropout of too many channels"
OTHER_SCALE = "a channel of another scale than the rest (is its unit right?)"
TOO_SHORT = "too little signal between two gaps"


@dataclass(frozen=True)
class Gap:
    """An interval that no window may touch. Where start and end are equal it is a break: the
    samples before and after it were not recorded one after the other."""

    start: float
    """Seconds from the first sample of what it belongs to."""
    end: float
    reason: str
    """One of this module's reasons."""
    ch_names: tuple[str, ...] | None = None
    """The channels it is about; None: all."""


def gap_of_annotation(
    description: str, start: float, duration: float, ch_names: Sequence[str] = ()
) -> Gap | None:
    """What an annotation says about the recording; None: nothing.

    Names that begin with "bad" mark an interval, as in MNE. "boundary" (EEGLAB), "EDGE boundary"
    (MNE) and "New Segment" (BrainVision) are places where parts were joined: their duration is the
    time that was cut out there, which is no longer in the recording. "Lost Samples" likewise. What
    a person typed into BrainVision's recorder ("Comment/BAD_move") says the same as without it.
    """
    text = description.strip().casefold().removeprefix("comment/").lstrip()
    channels = tuple(ch_names) or None
    joined = ("boundary", "edge", "new segment", "lost samples", "lostsamples", "bad boundary")
    if text.startswith(joined):
        return Gap(start, start, BREAK, channels)
    if text.startswith("bad"):
        length = duration if np.isfinite(duration) else 0.0
        return Gap(start, start + max(length, 0.0), MARKED, channels)
    return None


def within(gaps: Iterable[Gap], start: float, end: float) -> tuple[Gap, ...]:
    """The parts of `gaps` inside an interval, their times counted from its start.

    A break at an end of the interval is none inside it.
    """
    inside = (
        replace(gap, start=max(gap.start, start) - start, end=min(gap.end, end) - start)
        for gap in gaps
        if gap.start < end and gap.end > start
    )
    return tuple(inside)


def touched(start: np.ndarray, seconds: float, gaps: Iterable[Gap], sfreq: float) -> np.ndarray:
    """object [N]: why each window may not be used; None where no gap touches it.

    Args:
        start: [N] seconds at which the windows start.
        seconds: how long each lasts.
        gaps: in the same time.
        sfreq: sampling frequency, Hz; what reaches less than half a sample into a window is none.
    """
    reasons = np.full(len(start), None, object)
    slack = 0.5 / sfreq
    for gap in gaps:
        hit = (gap.start < start + seconds - slack) & (gap.end > start + slack)
        reasons[hit & none_yet(reasons)] = gap.reason
    return reasons


def none_yet(reasons: np.ndarray) -> np.ndarray:
    """bool [N]: which of the object [N] `reasons` are None."""
    return np.equal(reasons, np.array(None, object))


def samples_of(
    gaps: Iterable[Gap], ch_names: Sequence[str], count: int, sfreq: float
) -> np.ndarray:
    """bool [C, count]: the samples that lie in a gap."""
    lost = np.zeros((len(ch_names), count), bool)
    for gap in gaps:
        first, last = max(0, round(gap.start * sfreq)), round(gap.end * sfreq)
        rows = [gap.ch_names is None or name in gap.ch_names for name in ch_names]
        lost[np.array(rows), first:last] = True
    return lost


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of every run of True in bool [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
