"""The band power of one trial, and what of it is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from neurogaze_fast.eeg.bad_channels import finish
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.gaps import DROPOUT, Gap, none_yet, touched
from neurogaze_fast.eeg.maps import FLAGS
from neurogaze_fast.eeg.preprocess import Cleaned, CleanOptions, clean
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.spectrum import features, passes, welch_power
from neurogaze_fast.eeg.windows import blinks, cut, swing
from neurogaze_fast.errors import WorkerLostError

EXAMPLES = 5
"""Parts named for each reason to leave something out."""


@dataclass
class Part:
    """What is kept of one trial: n windows."""

    trial: Trial  # without its signals: else every recording would stay in memory
    ch_names: tuple[str, ...]  # the C sites
    bands: tuple[str, ...]
    power: np.ndarray  # float32 [n, F, C]
    level: np.ndarray  # float64 [F, C]: mean of the feature before any correction
    start: np.ndarray  # float32 [n]
    flags: np.ndarray  # uint8 [n]
    signals: np.ndarray | None = None  # float16 [n, C, L]
    positions: np.ndarray | None = None  # float64 [C, 2], where they are not the names' own


@dataclass
class Counts:
    left_out: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    windows: Counter = field(default_factory=Counter)

    def add(self, part: LeftOut) -> None:
        self.left_out[part.reason] += 1
        named = self.examples.setdefault(part.reason, [])
        if len(named) < EXAMPLES:
            named.append(part.what)


@dataclass
class Found:
    """What became of one trial."""

    kept: Part | LeftOut
    windows: Counter = field(default_factory=Counter)  # left out of it, by reason


def measure(
    trial: Trial, options: CleanOptions, config: PrepareEegConfig, counts: Counts
) -> Part | LeftOut:
    """One trial's windows, or why there are none."""
    what = f"{trial.subject}, clip {trial.clip}"
    wanted = config.band_edges()
    bands = {name: edges for name, edges in wanted.items() if passes(trial.lowpass, edges)}
    if not bands:
        return LeftOut(trial.path, what, f"low-passed at {trial.lowpass:g} Hz: no band is left")
    cleaned = clean(trial, options)
    if isinstance(cleaned, LeftOut):
        return cleaned
    film = _windows(cleaned.signal, cleaned.gaps, cleaned, config)
    if not film.reasons.size:
        return LeftOut(trial.path, what, f"shorter than a window of {config.window:g} s")
    spoiled = Counter(reason for reason in film.reasons if reason)
    if not len(film.start):
        return LeftOut(trial.path, what, f"in every window {spoiled.most_common(1)[0][0]}")
    counts.windows += spoiled
    if config.baseline == "none":
        rest = None
        feature = _feature(film.windows, cleaned.sfreq, bands, config.feature)
        corrected = feature.astype(np.float32)
    else:
        rest = _baseline(cleaned, config, counts)
        feature, corrected = _corrected(film, rest or film, cleaned, bands, config.feature)
    replaced = film.lost.any(axis=1) | cleaned.interpolated.any()
    flags = (FLAGS["interpolated"] * replaced).astype(np.uint8)
    flags |= (FLAGS["blink"] * blinks(film.windows, cleaned.ch_names)).astype(np.uint8)
    if rest is None and config.baseline == "subtract":
        flags |= np.uint8(FLAGS["no_baseline"])
    metadata = replace(
        trial, signal=trial.signal[:, :0].copy(), baseline=None, gaps=(), baseline_gaps=()
    )
    level = feature.mean(axis=0)
    part = Part(metadata, cleaned.ch_names, tuple(bands), corrected, level, film.start, flags)
    if trial.positions is not None:
        part.positions = cleaned.positions
    if config.keep_signals:
        part.signals = film.windows.astype(np.float16)
    return part


def measured(
    trials: Iterable[tuple[int, Trial | LeftOut]], options: CleanOptions, config: PrepareEegConfig
) -> Iterator[tuple[int, Found]]:
    """Every trial measured, in their order, each with the number it came with; by --workers.

    A few trials a worker are read ahead and no more, so memory does not grow with the recordings.
    """
    if config.workers == 1:
        yield from (_one(number, trial, options, config) for number, trial in trials)
        return
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    workers = Parallel(config.workers, return_as="generator", pre_dispatch="2*n_jobs", batch_size=4)
    try:
        yield from workers(delayed(_one_apart)(n, trial, options, config) for n, trial in trials)
    except BrokenProcessPool as cause:
        raise WorkerLostError(
            f"One of the {config.workers} processes that measure trials was ended from outside, "
            "most often for want of memory. Use fewer --workers; the same command goes on from "
            "what is measured."
        ) from cause


def _one(
    number: int, trial: Trial | LeftOut, options: CleanOptions, config: PrepareEegConfig
) -> tuple[int, Found]:
    if isinstance(trial, LeftOut):
        return number, Found(trial)
    counts = Counts()
    part = measure(trial, options, config, counts)
    return number, Found(part, counts.windows)


def _one_apart(
    number: int, trial: Trial | LeftOut, options: CleanOptions, config: PrepareEegConfig
) -> tuple[int, Found]:
    torch.set_num_threads(1)  # the other cores have workers of their own
    return _one(number, trial, options, config)


@dataclass(frozen=True, eq=False)
class _Windows:
    """The n windows to use of N that were cut."""

    windows: np.ndarray  # float32 [n, C, L]
    start: np.ndarray  # float32 [n], seconds
    lost: np.ndarray  # bool [n, C]: channels interpolated in that window alone
    reasons: np.ndarray  # object [N]: why a window is left out, or None


def _windows(
    signal: np.ndarray, gaps: Sequence[Gap], cleaned: Cleaned, config: PrepareEegConfig
) -> _Windows:
    """Cut a signal; interpolate what dropped out, or leave the window out."""
    windows, start = cut(signal, cleaned.sfreq, config.window, config.overlap)
    everyone = [gap for gap in gaps if gap.ch_names is None]
    reasons = touched(start, config.window, everyone, cleaned.sfreq)
    lost = np.zeros((len(start), len(cleaned.ch_names)), bool)
    for gap in gaps:
        if gap.ch_names is not None:
            hit = ~none_yet(touched(start, config.window, [gap], cleaned.sfreq))
            lost |= hit[:, None] & np.isin(cleaned.ch_names, gap.ch_names)
    lost &= ~cleaned.interpolated
    too_many = (lost | cleaned.interpolated).sum(axis=1) > cleaned.most_bad
    reasons[too_many & none_yet(reasons)] = DROPOUT
    lost[too_many] = False
    windows = _without(windows, lost, cleaned)
    # A few channels that swing are interpolated; a window in which many do is left out. After that
    # all are looked at again, because the reference has changed.
    swings = swing(windows, cleaned.ch_names) > config.reject
    few = (swings | lost | cleaned.interpolated).sum(axis=1) <= cleaned.most_bad
    loose = swings & ~cleaned.interpolated & few[:, None]
    if loose.any():
        again = loose.any(axis=1)
        lost |= loose
        windows = windows.copy()
        windows[again] = _without(windows[again], lost[again], cleaned)
        swings[again] = swing(windows[again], cleaned.ch_names) > config.reject
    restless = swings.any(axis=1)
    limit = f"a channel swings by more than {config.reject:g} microvolts"
    reasons[restless & none_yet(reasons)] = limit
    kept = none_yet(reasons)
    return _Windows(windows[kept], start[kept], lost[kept], reasons)


def _without(windows: np.ndarray, lost: np.ndarray, cleaned: Cleaned) -> np.ndarray:
    """Windows [n, C, L] with the channels of bool [n, C] interpolated from the others."""
    if not lost.any():
        return windows
    windows = windows.copy()
    for row in np.unique(lost[lost.any(axis=1)], axis=0):
        mine = (lost == row).all(axis=1)
        bad = row | cleaned.interpolated
        windows[mine] = finish(windows[mine], cleaned.positions, bad, cleaned.reference)
    return windows


def _baseline(cleaned: Cleaned, config: PrepareEegConfig, counts: Counts) -> _Windows | None:
    """The baseline's windows; None where none can be used."""
    if cleaned.baseline is None:
        return None
    rest = _windows(cleaned.baseline, cleaned.baseline_gaps, cleaned, config)
    counts.windows += Counter(f"{reason} (baseline)" for reason in rest.reasons if reason)
    return rest if len(rest.start) else None


def _corrected(
    film: _Windows,
    rest: _Windows,
    cleaned: Cleaned,
    bands: Mapping[str, tuple[float, float]],
    kind: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The feature of the film's windows, float64 [n, F, C], and what it is above its mean at rest.

    An interpolated channel has another power than a measured one. So where a channel dropped out of
    a window, the mean at rest is taken with the same channel interpolated; and a channel's own mean
    is over the windows in which it was measured, where there are any.
    """
    feature = _feature(film.windows, cleaned.sfreq, bands, kind)
    corrected = np.empty(feature.shape, np.float32)
    measured = ~rest.lost
    measured[:, ~measured.any(axis=0)] = True
    for row in np.unique(film.lost, axis=0):
        mine = (film.lost == row).all(axis=1)
        alike = _without(rest.windows, np.tile(row, (len(rest.windows), 1)) | rest.lost, cleaned)
        at_rest = _feature(alike, cleaned.sfreq, bands, kind)
        use = (measured | row)[:, None, :]
        corrected[mine] = feature[mine] - (at_rest * use).sum(axis=0) / use.sum(axis=0)
    return feature, corrected


def _feature(
    windows: np.ndarray, sfreq: float, bands: Mapping[str, tuple[float, float]], kind: str
) -> np.ndarray:
    """float64 [n, F, C] of windows [n, C, L]."""
    power = welch_power(torch.from_numpy(np.ascontiguousarray(windows)), sfreq, bands)
    return features(power.double(), kind).numpy()
