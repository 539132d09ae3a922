"""Trials in, map set out: clean, cut, band power, baseline, z-score by subject, maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurogaze_fast import ops
from neurogaze_fast.artifacts import sha256_file
from neurogaze_fast.eeg.band_power import BANDS, features, welch_power
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.eeg.maps import FLAGS, SHARD_WINDOWS, MapSet
from neurogaze_fast.eeg.preprocess import COMMON_SITES, Cleaned, CleanOptions, clean
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.windows import blinks, cut, peak_to_peak
from neurogaze_fast.errors import DataError

EXAMPLES = 5
"""Parts named for each reason to leave something out."""
MIN_SPREAD = 1e-6
"""Standard deviation of a log below which a value counts as constant, and its z-score as 0."""


@dataclass
class _Part:
    """What is kept of one trial: n windows."""

    trial: Trial
    power: np.ndarray  # float32 [n, F, C]
    level: np.ndarray  # float64 [F, C]: mean of the feature before any correction
    start: np.ndarray  # float32 [n]
    flags: np.ndarray  # uint8 [n]


@dataclass
class _Counts:
    left_out: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    windows: Counter = field(default_factory=Counter)

    def add(self, part: LeftOut) -> None:
        self.left_out[part.reason] += 1
        named = self.examples.setdefault(part.reason, [])
        if len(named) < EXAMPLES:
            named.append(part.what)


def build_maps(
    trials: Iterable[Trial | LeftOut],
    config: PrepareEegConfig,
    *,
    synthetic: bool = False,
    also_hash: Iterable[Path] = (),
    progress: Callable[[str, int, int | None], None] | None = None,
) -> MapSet:
    """Make the map set of all trials, one trial in memory at a time.

    Of each trial only its band power [n, F, C] is kept; the maps are made in batches at the end.
    The steps, in this order: clean; cut into windows; leave out windows whose peak-to-peak
    amplitude is too large; take the feature of band power; subtract its mean over the baseline's
    windows (where there is no usable baseline, the mean of the trial's own windows, our choice,
    flagged and counted); scale each subject by that subject's own windows; interpolate.

    Args:
        trials: what the readers give.
        config: its options for cleaning, windows, feature and maps.
        synthetic: whether any recording is.
        also_hash: files the trials also depend on, such as a csv of ratings.
        progress: called with ("trials" or "maps", how many are done, how many there are or None).

    Raises:
        DataError: no window is left; says why trials were left out.
    """
    progress = progress or (lambda stage, done, total: None)
    counts = _Counts()
    parts: list[_Part] = []
    options = CleanOptions(
        sites=None if config.all_channels else COMMON_SITES,
        reference=config.reference,
        bad_channel=config.bad_channel,
    )
    ch_names: tuple[str, ...] | None = options.sites
    for done, trial in enumerate(trials, start=1):
        found = trial if isinstance(trial, LeftOut) else _measure(trial, options, config, counts)
        if isinstance(found, tuple):
            part, recorded = found
            ch_names = ch_names or recorded
            if recorded == ch_names:
                parts.append(part)
            else:
                what = f"{part.trial.subject}, clip {part.trial.clip}"
                counts.add(LeftOut(part.trial.path, what, "other channels than the first trial"))
        else:
            counts.add(found)
        progress("trials", done, None)
    parts = _without_lone_windows(parts, counts)
    if not parts or ch_names is None:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in counts.left_out.most_common())
        raise DataError(
            f"No window could be used. Left out: {reasons or 'nothing, there were no trials'}. "
            "Check that the recordings are EEG in microvolts; sites other than DREAMER's 14 need "
            "--all-channels."
        )
    subjects = tuple(dict.fromkeys(part.trial.subject for part in parts))
    number = {name: i for i, name in enumerate(subjects)}
    lengths = [len(part.start) for part in parts]
    subject = np.repeat([number[part.trial.subject] for part in parts], lengths).astype(np.int64)
    power = zscore_by_subject(np.concatenate([part.power for part in parts]), subject)
    operator = TopomapOperator.from_names(ch_names, config.size, method=config.method)
    ratings = np.array([_ratings(part.trial) for part in parts], np.float32)
    valence, arousal = np.repeat(ratings, lengths, axis=0).T.copy()
    provenance = {
        "synthetic": synthetic,
        "options": config.settings(),
        "operator": operator.fingerprint,
        "band_edges": {name: list(edges) for name, edges in BANDS.items()},
        "files": _hashes([*(part.trial.path for part in parts), *also_hash]),
        "sources": _sources(parts),
        "left_out": dict(counts.left_out.most_common()),
        "left_out_examples": counts.examples,
        "windows_left_out": dict(counts.windows),
    }
    return MapSet(
        maps=_interpolate(power, operator, progress),
        power=power,
        valence=valence,
        arousal=arousal,
        subject=subject,
        trial=np.repeat(np.arange(len(parts)), lengths).astype(np.int64),
        start=np.concatenate([part.start for part in parts]),
        flags=np.concatenate([part.flags for part in parts]),
        subjects=subjects,
        names=ch_names,
        bands=tuple(BANDS),
        provenance=provenance,
    )


def zscore_by_subject(power: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """float32 [N, F, C]: each subject's windows to mean 0 and population standard deviation 1.

    Mean and deviation are of that subject's own windows, by band and site, so nothing passes from
    one subject to another. A value that does not vary becomes 0. Labels play no part, so a
    validation subject is scaled as a new user would be: by recordings, without ratings.

    Args:
        power: [N, F, C].
        subject: int [N].
    """
    scaled = np.empty(power.shape, np.float32)
    for one in np.unique(subject):
        mine = subject == one
        values = power[mine].astype(np.float64)
        values -= values.mean(axis=0)
        spread = values.std(axis=0)
        scaled[mine] = np.where(spread > MIN_SPREAD, values / np.maximum(spread, MIN_SPREAD), 0)
    return scaled


def _measure(
    trial: Trial, options: CleanOptions, config: PrepareEegConfig, counts: _Counts
) -> tuple[_Part, tuple[str, ...]] | LeftOut:
    """One trial's windows and the sites they are of, or why there are none."""
    cleaned = clean(trial, options)
    if isinstance(cleaned, LeftOut):
        return cleaned
    what = f"{trial.subject}, clip {trial.clip}"
    windows, start = cut(cleaned.signal, cleaned.sfreq, config.window, config.overlap)
    if not len(windows):
        return LeftOut(trial.path, what, f"shorter than a window of {config.window:g} s")
    steady = (peak_to_peak(windows) <= config.reject).all(axis=1)
    reason = f"a channel swings by more than {config.reject:g} microvolts"
    if not steady.any():
        return LeftOut(trial.path, what, f"in every window {reason}")
    if not steady.all():
        counts.windows[reason] += int((~steady).sum())
    windows, start = windows[steady], start[steady]
    feature = _feature(windows, cleaned.sfreq, config.feature)
    rest = _rest(cleaned, config)
    flags = np.full(len(start), FLAGS["interpolated"] * int(cleaned.interpolated.any()), np.uint8)
    flags |= (FLAGS["blink"] * blinks(windows, cleaned.ch_names)).astype(np.uint8)
    if rest is None:
        flags |= np.uint8(FLAGS["no_baseline"])
    level = feature.mean(axis=0)
    corrected = (feature - (level if rest is None else rest)).astype(np.float32)
    return _Part(trial, corrected, level, start, flags), cleaned.ch_names


def _rest(cleaned: Cleaned, config: PrepareEegConfig) -> np.ndarray | None:
    """float64 [F, C]: mean feature of the baseline's steady windows; None where there are none."""
    if cleaned.baseline is None:
        return None
    windows, _ = cut(cleaned.baseline, cleaned.sfreq, config.window, config.overlap)
    windows = windows[(peak_to_peak(windows) <= config.reject).all(axis=1)]
    if not len(windows):
        return None
    return _feature(windows, cleaned.sfreq, config.feature).mean(axis=0)


def _feature(windows: np.ndarray, sfreq: float, kind: str) -> np.ndarray:
    """float64 [n, F, C] of windows [n, C, L]."""
    power = welch_power(torch.from_numpy(np.ascontiguousarray(windows)), sfreq)
    return features(power.double(), kind).numpy()


def _without_lone_windows(parts: list[_Part], counts: _Counts) -> list[_Part]:
    """Parts of subjects with at least two windows: one alone has no spread to be scaled by."""
    windows = Counter()
    for part in parts:
        windows[part.trial.subject] += len(part.start)
    for part in parts:
        if windows[part.trial.subject] < 2:
            what = f"{part.trial.subject}, clip {part.trial.clip}"
            counts.add(LeftOut(part.trial.path, what, "the subject's only window"))
    return [part for part in parts if windows[part.trial.subject] >= 2]


def _interpolate(
    power: np.ndarray, operator: TopomapOperator, progress: Callable[[str, int, int | None], None]
) -> np.ndarray:
    """float16 [N, F, H, W]."""
    count, bands, _ = power.shape
    maps = np.empty((count, bands, operator.size, operator.size), np.float16)
    for first in range(0, count, SHARD_WINDOWS):
        batch = torch.from_numpy(power[first : first + SHARD_WINDOWS])
        made = ops.topomap(batch, operator, dtype=torch.float16)
        maps[first : first + len(batch)] = made.numpy()
        progress("maps", first + len(batch), count)
    return maps


def _ratings(trial: Trial) -> tuple[float, float]:
    if trial.valence is None or trial.arousal is None:
        return float("nan"), float("nan")
    return trial.valence, trial.arousal


def _hashes(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Name (with its folder's) and SHA-256 of each file, once each."""
    return [
        {"file": "/".join(path.parts[-2:]), "sha256": sha256_file(path)}
        for path in dict.fromkeys(paths)
    ]


def _sources(parts: Sequence[_Part]) -> dict[str, dict[str, Any]]:
    """Counts by source, and its mean feature [F][C] before any correction, for the figure."""
    metadata = {}
    for source in dict.fromkeys(part.trial.source for part in parts):
        mine = [part for part in parts if part.trial.source == source]
        windows = [len(part.start) for part in mine]
        rated = [n for part, n in zip(mine, windows, strict=True) if part.trial.valence is not None]
        level = np.average([part.level for part in mine], axis=0, weights=windows)
        metadata[source] = {
            "subjects": list(dict.fromkeys(part.trial.subject for part in mine)),
            "trials": len(mine),
            "windows": sum(windows),
            "labelled_trials": len(rated),
            "labelled_windows": sum(rated),
            **{
                f"windows_{flag}": int(sum(((part.flags & bit) > 0).sum() for part in mine))
                for flag, bit in FLAGS.items()
            },
            "mean_feature": [[round(value, 6) for value in row] for row in level.tolist()],
        }
    return metadata
