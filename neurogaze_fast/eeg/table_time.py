"""When the rows of a table were sampled: the rate, and what was lost between two rows.

Headsets send packets over the air, and the program that writes them stamps a row when it arrives:
several at a time, late, and never early. So no single stamp is trusted. The rate is a median over
spans of ten seconds, and time was lost where even the earliest of the next rows are late. What is
shorter than the stamps are irregular cannot be found by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

USUAL = (100, 125, 128, 200, 220, 250, 256, 300, 500, 512, 600, 1000, 1024, 2000, 2048)
"""Hz: a rate measured within 0.5 % of one of these is that."""
BACKWARDS = 0.5
"""Seconds: stamps that go back by more are of another recording, or of a clock that was set."""

FAR = 86400.0
"""Seconds: what leaps by more did not go on recording."""
PACKET = 16
"""Rows: no packet is as long; stamps that more have in common are rounded."""
NEAR = 2.0
"""Seconds before and after a row whose stamps are compared."""


@dataclass(frozen=True)
class Losses:
    """Between the rows of a table."""

    lost: np.ndarray
    """int64 [N]: samples that are missing before each row."""
    breaks: np.ndarray
    """bool [N]: rows before which something else ended."""


def measured_rate(stamps: np.ndarray, seconds: float = 10.0, share: float = 0.5) -> float | None:
    """Rows a second, by their time stamps [N]; None: they do not run.

    Args:
        stamps: seconds, or another unit.
        seconds: length of the spans that are measured.
        share: of the spans that are to be slower. Lost rows make a span slower.
    """
    count = len(stamps)
    changes = np.flatnonzero(np.diff(stamps))
    if len(changes) > 1 and float(np.median(np.diff(changes))) > PACKET:
        return _rate_of_changes(stamps, seconds, share)
    few = min(100, count // 2)
    several = stamps[few:] - stamps[:-few] if few else stamps[:0]
    several = several[several > 0]
    if not len(several):
        return None
    lag = int(np.clip(round(seconds * few / float(np.median(several))), 1, count // 2))
    spans = stamps[lag:] - stamps[:-lag]
    spans = spans[spans > 0]
    return lag / float(np.quantile(spans, 1 - share)) if len(spans) else None


def _rate_of_changes(stamps: np.ndarray, seconds: float, share: float) -> float | None:
    """The same of stamps that many rows have in common, such as whole seconds.

    Only where they change do they say when a row was sampled: spans of a number of rows come out
    as a whole number of such steps, and the rate would be up to a step off.
    """
    at = np.flatnonzero(np.diff(stamps) > 0) + 1
    if len(at) < 2:
        return None
    when = stamps[at]
    lag = int(np.clip(round(seconds / float(np.median(np.diff(when)))), 1, len(at) - 1))
    rows, spans = at[lag:] - at[:-lag], when[lag:] - when[:-lag]
    forward = spans > 0
    return float(np.quantile(rows[forward] / spans[forward], share)) if forward.any() else None


def usual_rate(rate: float) -> float:
    """The rate that a measured one stands for."""
    near = min(USUAL, key=lambda usual: abs(usual - rate))
    return float(near) if abs(near - rate) <= 0.005 * near else round(rate, 2)


def in_seconds(
    stamps: np.ndarray, rate: float | None, per_second: float | None = None
) -> np.ndarray | None:
    """Stamps in seconds, milliseconds, micro- or nanoseconds as seconds.

    Their size tells the unit where they count from 1970; otherwise the column's name or the rate
    does, and where neither is known, rows are taken to be less than a second apart.

    Args:
        stamps: [N].
        rate: Hz, where the file says it.
        per_second: how many of their units a second has, where their column's name says it.

    Returns:
        None: they count 1, 2, 3, ..., which are milliseconds at 1000 Hz or numbers of rows.
    """
    units = (1.0, 1e3, 1e6, 1e9)
    for unit in units:
        if 5e8 <= float(stamps[0]) / unit < 5e9:
            return (stamps - stamps[0]) / unit
    if per_second is not None:
        return stamps / per_second
    measured = measured_rate(stamps)
    if measured is None:
        return stamps
    if not rate and np.median(np.diff(stamps)) == 1 and (stamps == np.rint(stamps)).all():
        return None
    if rate:
        unit = min(units, key=lambda unit: abs(np.log(measured * unit / rate)))
    else:
        unit = next((unit for unit in units if measured * unit > 1), 1.0)
    return stamps / unit


def find_losses(
    count: int, rate: float, stamps: np.ndarray | None, counter: np.ndarray | None
) -> Losses:
    """What is missing between `count` rows.

    A counter of samples tells exactly, but for whole rounds of it; those, or all where there is no
    usable counter, are found by stamps.

    Args:
        count: N.
        rate: rows a second. Stamps are only compared with near ones, so that clocks that drift
            apart do no harm.
        stamps: [N] seconds.
        counter: [N] a number that grows by the same step from row to row and begins again.
    """
    found = Losses(np.zeros(count, np.int64), np.zeros(count, bool))
    cycle: int | None = None
    if counter is not None and count > 1:
        counted = _by_counter(counter)
        if counted is not None:
            found, cycle = counted
    if stamps is None or count < 2:
        return _not_far(found, rate)
    lost, breaks = found.lost.copy(), found.breaks.copy()
    breaks[1:] |= np.diff(stamps) < -BACKWARDS
    edges = [0, *np.flatnonzero(breaks).tolist(), count]
    for first, last in pairwise(edges):
        index = np.arange(last - first) + np.cumsum(lost[first:last])
        whole = 1 if cycle is None else cycle
        if whole == 0:  # it counts every sample of the recording
            continue
        for row, late in _late(stamps[first:last], index, rate, 0.6 if whole == 1 else whole / 2):
            lost[first + row] += whole * max(1, round(late * rate / whole))
    return _not_far(Losses(lost, breaks), rate)


def _not_far(found: Losses, rate: float) -> Losses:
    """Losses of more than FAR as breaks: a clock was set, or a counter is damaged."""
    far = found.lost > FAR * rate
    return Losses(np.where(far, 0, found.lost), found.breaks | far)


def _late(
    stamps: np.ndarray, index: np.ndarray, rate: float, least: float
) -> list[tuple[int, float]]:
    """(row, seconds) where the rows from there on come later than those before it.

    Args:
        stamps: [N] seconds.
        index: [N] of the samples, as far as is known.
        rate: rows a second.
        least: samples that may have been lost at least.
    """
    if len(stamps) < 3:
        return []
    delay, step = stamps - index / rate, np.diff(stamps)
    near = max(2, round(NEAR * rate))
    apart = step[step > 0.25 / rate]  # rows of one packet may have one stamp
    usual = max(1.5 / rate, float(np.quantile(apart, 0.9))) if len(apart) else 1.5 / rate
    found, start = [], 0
    for row in (np.flatnonzero(step > usual) + 1).tolist():
        before, after = delay[max(start, row - near) : row], delay[row : row + near]
        earliest = float(after.min())
        late = earliest - float(before.min())
        # By chance, the earliest of many rows is hardly ever later than a quarter of many others.
        share = 0.25 if len(after) >= near / 2 else 0.75
        if late >= least / rate and earliest > float(np.quantile(before, share)):
            found.append((row, late))
            start = row
    return found


def _by_counter(counter: np.ndarray) -> tuple[Losses, int | None] | None:
    """(losses, samples in a round of the counter: 0 where it never begins again, None where it says
    nothing of losses).

    None: the column does not count.
    """
    if not (np.abs(counter) < 2.0**53).all():
        return None
    step = np.diff(counter.astype(np.int64))
    turns = np.flatnonzero(step)
    alike = 1 - len(turns) / len(step)
    if alike > 0.6 or not (step > 0).any():
        return None
    each = 2 if alike > 0.4 else 1  # the Ganglion sends two samples under one number
    unit = _commonest(step[step > 0])
    back = np.flatnonzero(step < 0)
    breaks = np.zeros(len(counter), bool)
    # A counter that begins again only once is two recordings in one file.
    cycle = _commonest(-step[back]) + unit if len(back) > 1 else 0
    missed = step[turns] - unit
    if cycle:
        missed = np.mod(missed, cycle)
    else:
        breaks[back + 1] = True
        missed = np.maximum(missed, 0)
        if not missed.any():  # the rows are numbered, not the samples
            return Losses(np.zeros(len(counter), np.int64), breaks), None
    if (missed == 0).mean() < 0.5:
        return None
    lost = np.zeros(len(counter), np.int64)
    lost[turns + 1] = missed // unit * each
    return Losses(lost, breaks), cycle // unit * each


def _commonest(values: np.ndarray) -> int:
    found, count = np.unique(values, return_counts=True)
    return int(found[count.argmax()])
