"""The band power of one trial, and what of it is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from neurogaze_fast.eeg.band_power import BANDS, features, welch_power
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.gaps import Gap, touched
from neurogaze_fast.eeg.maps import FLAGS
from neurogaze_fast.eeg.preprocess import Cleaned, CleanOptions, clean
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.windows import blinks, cut, peak_to_peak

EXAMPLES = 5
"""Parts named for each reason to leave something out."""


@dataclass
class Part:
    """What is kept of one trial: n windows."""

    trial: Trial
    bands: tuple[str, ...]
    power: np.ndarray  # float32 [n, F, C]
    level: np.ndarray  # float64 [F, C]: mean of the feature before any correction
    start: np.ndarray  # float32 [n]
    flags: np.ndarray  # uint8 [n]


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


def measure(
    trial: Trial, options: CleanOptions, config: PrepareEegConfig, counts: Counts
) -> tuple[Part, tuple[str, ...]] | LeftOut:
    """One trial's windows and the sites they are of, or why there are none."""
    what = f"{trial.subject}, clip {trial.clip}"
    bands = {name: edges for name, edges in BANDS.items() if _passes(trial.lowpass, edges)}
    if not bands:
        return LeftOut(trial.path, what, f"low-passed at {trial.lowpass:g} Hz: no band is left")
    cleaned = clean(trial, options)
    if isinstance(cleaned, LeftOut):
        return cleaned
    windows, start, reasons = _windows(cleaned.signal, cleaned.gaps, cleaned.sfreq, config)
    if not reasons.size:
        return LeftOut(trial.path, what, f"shorter than a window of {config.window:g} s")
    spoiled = Counter(reason for reason in reasons if reason)
    if not len(windows):
        return LeftOut(trial.path, what, f"in every window {spoiled.most_common(1)[0][0]}")
    counts.windows += spoiled
    feature = _feature(windows, cleaned.sfreq, bands, config.feature)
    rest = _rest(cleaned, bands, config, counts)
    flags = np.full(len(start), FLAGS["interpolated"] * int(cleaned.interpolated.any()), np.uint8)
    flags |= (FLAGS["blink"] * blinks(windows, cleaned.ch_names)).astype(np.uint8)
    if rest is None:
        flags |= np.uint8(FLAGS["no_baseline"])
    level = feature.mean(axis=0)
    corrected = (feature - (level if rest is None else rest)).astype(np.float32)
    return Part(trial, tuple(bands), corrected, level, start, flags), cleaned.ch_names


def _passes(lowpass: float | None, edges: tuple[float, float]) -> bool:
    """Whether a recorder's low-pass lets the whole band through."""
    return lowpass is None or edges[1] <= lowpass + 1e-6


def _windows(
    signal: np.ndarray, gaps: Sequence[Gap], sfreq: float, config: PrepareEegConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows to use [n, C, L], their starts [n], and for every window cut [N] why not, or None."""
    windows, start = cut(signal, sfreq, config.window, config.overlap)
    reasons = touched(start, config.window, gaps, sfreq)
    restless = (peak_to_peak(windows) > config.reject).any(axis=1)
    limit = f"a channel swings by more than {config.reject:g} microvolts"
    reasons[restless & np.equal(reasons, None)] = limit
    kept = np.equal(reasons, None)
    return windows[kept], start[kept], reasons


def _rest(
    cleaned: Cleaned,
    bands: Mapping[str, tuple[float, float]],
    config: PrepareEegConfig,
    counts: Counts,
) -> np.ndarray | None:
    """float64 [F, C]: mean feature of the baseline's good windows; None where there are none."""
    if cleaned.baseline is None:
        return None
    windows, _, reasons = _windows(cleaned.baseline, cleaned.baseline_gaps, cleaned.sfreq, config)
    counts.windows += Counter(f"{reason} (baseline)" for reason in reasons if reason)
    if not len(windows):
        return None
    return _feature(windows, cleaned.sfreq, bands, config.feature).mean(axis=0)


def _feature(
    windows: np.ndarray, sfreq: float, bands: Mapping[str, tuple[float, float]], kind: str
) -> np.ndarray:
    """float64 [n, F, C] of windows [n, C, L]."""
    power = welch_power(torch.from_numpy(np.ascontiguousarray(windows)), sfreq, bands)
    return features(power.double(), kind).numpy()
