"""Trials in, map set out: clean, cut, band power, baseline, z-score by subject, maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.eeg.bad_channels import positions_of
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.file_hashes import hashes
from neurogaze_fast.eeg.map_operator import interpolated, operators
from neurogaze_fast.eeg.maps import FLAGS, MapSet
from neurogaze_fast.eeg.measure import Counts, Part, measured
from neurogaze_fast.eeg.preprocess import CleanOptions
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.sources import sites_of_sources
from neurogaze_fast.errors import DataError

MIN_SPREAD = 1e-6
"""Standard deviation of a log below which a value counts as constant, and its z-score as 0."""


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
    The steps, in this order: clean; cut into windows; leave out windows that touch a gap or a
    dropout, or whose peak-to-peak amplitude is too large; take the feature of band
    power; subtract its mean over the baseline's windows (where there is no usable baseline, the
    mean of the trial's own windows, our choice, flagged and counted); scale each subject by that
    subject's own windows; interpolate.

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
    counts = Counts()
    parts: list[Part] = []
    options = CleanOptions(
        sites=sites_of_sources(config),
        reference=config.reference,
        bad_channel=config.bad_channel,
    )
    ch_names: tuple[str, ...] | None = options.sites
    for done, (found, lost) in enumerate(measured(trials, options, config), start=1):
        counts.windows += lost.windows
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
    edges = config.band_edges()
    bands, parts = _same_bands(parts, counts, tuple(edges))
    parts = _without_lone_windows(parts, counts)
    if not parts or ch_names is None:
        raise DataError(_nothing_left(counts))
    subjects = tuple(dict.fromkeys(part.trial.subject for part in parts))
    number = {name: i for i, name in enumerate(subjects)}
    lengths = [len(part.start) for part in parts]
    subject = np.repeat([number[part.trial.subject] for part in parts], lengths).astype(np.int64)
    power = np.concatenate([part.power for part in parts])
    level, spread = subject_scale(power, subject, len(subjects))
    power = scaled_by_subject(power, subject, level, spread)
    positions, cap = _caps(parts, ch_names)
    made = operators(ch_names, positions, config.size, config.method)
    ratings = np.array([_ratings(part.trial) for part in parts], np.float32)
    valence, arousal = np.repeat(ratings, lengths, axis=0).T.copy()
    films = [film_of(part.trial) for part in parts]
    clips = tuple(sorted(set(films)))
    provenance = {
        "synthetic": synthetic,
        "options": config.settings(),
        "operator": made[0].fingerprint,
        "caps": 0 if positions is None else len(positions),
        "stand_ins": _stand_ins(parts),
        "band_edges": {name: list(edges[name]) for name in bands},
        "files": hashes([*(part.trial.path for part in parts), *also_hash]),
        "sources": _sources(parts),
        "left_out": dict(counts.left_out.most_common()),
        "left_out_examples": counts.examples,
        "windows_left_out": dict(counts.windows),
    }
    return MapSet(
        maps=interpolated(power, made, cap, lambda done: progress("maps", done, len(power))),
        power=power,
        valence=valence,
        arousal=arousal,
        subject=subject,
        trial=np.repeat(np.arange(len(parts)), lengths).astype(np.int64),
        start=np.concatenate([part.start for part in parts]),
        flags=np.concatenate([part.flags for part in parts]),
        subjects=subjects,
        names=ch_names,
        bands=bands,
        provenance=provenance,
        clip=np.repeat([clips.index(film) for film in films], lengths).astype(np.int64),
        clips=clips,
        level=level,
        spread=spread,
        positions=positions,
        cap=cap,
        signals=_signals(parts) if config.keep_signals else None,
    )


def film_of(trial: Trial) -> str:
    """What a person watched, the same text for everybody who watched it."""
    return f"{trial.source}:{trial.film or trial.clip}"


def subject_scale(
    power: np.ndarray, subject: np.ndarray, subjects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation, float64 [S, F, C] each, of every subject's windows.

    By band and site, so nothing passes from one subject to another. The spread of what does not
    vary is 0. Labels play no part, so a validation subject is scaled as a new user would be: by
    recordings, without ratings.

    Args:
        power: [N, F, C].
        subject: int [N], below `subjects`, each of which has a window.
        subjects: S.
    """
    level = np.empty((subjects, *power.shape[1:]))
    spread = np.empty_like(level)
    for one in range(subjects):
        values = power[subject == one].astype(np.float64)
        level[one] = values.mean(axis=0)
        spread[one] = values.std(axis=0)
    return level, np.where(spread > MIN_SPREAD, spread, 0.0)


def scaled_by_subject(
    power: np.ndarray, subject: np.ndarray, level: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """float32 [N, F, C]: the z-scores of :func:`subject_scale`; 0 where the spread is."""
    scaled = np.empty(power.shape, np.float32)
    for one in range(len(level)):
        mine = subject == one
        values = power[mine] - level[one]
        scaled[mine] = np.where(spread[one] > 0, values / np.maximum(spread[one], MIN_SPREAD), 0)
    return scaled


def _same_bands(
    parts: list[Part], counts: Counts, wanted: tuple[str, ...]
) -> tuple[tuple[str, ...], list[Part]]:
    """The bands that some recording has, and the parts that have all of them.

    A recorder's low-pass takes bands away. Where every trial lacks them the set is made without;
    a trial that lacks what others have is left out. Both are counted.
    """
    bands = max((part.bands for part in parts), key=len, default=wanted)
    kept = []
    for part in parts:
        lacking = [name for name in wanted if name not in part.bands]
        if lacking:
            what = f"{part.trial.subject}, clip {part.trial.clip}"
            names, lowpass = " or ".join(lacking), part.trial.lowpass
            reason = f"low-passed at {lowpass:g} Hz in the header: no {names}"
            whole = part.bands == bands
            counts.add(LeftOut(part.trial.path, f"{names} of {what}" if whole else what, reason))
            if not whole:
                continue
        kept.append(part)
    return bands, kept


def _nothing_left(counts: Counts) -> str:
    """Why there is no window, with a part for each reason, and what to do."""
    reasons = "; ".join(
        f"{reason} ({count}, such as {counts.examples[reason][0]})"
        for reason, count in counts.left_out.most_common()
    )
    text = f"No window could be used. Left out: {reasons or 'nothing, there were no trials'}."
    if any("swings by" in reason or "flat" in reason for reason in counts.left_out):
        text += (
            " Check that the recordings are EEG, and their unit: MNE's objects and .fif files hold "
            "volts, DREAMER.mat microvolts."
        )
    if any("outside its scale" in reason for reason in counts.left_out):
        text += " Say the lowest and highest rating by --ratings-scale, such as 1 9."
    if any("rating is no number" in reason for reason in counts.left_out):
        text += " Write ratings as numbers with a point, or leave both empty where there are none."
    if any("without the site" in reason for reason in counts.left_out):
        text += " Sites other than DREAMER's 14 need --all-channels."
    return text


def _without_lone_windows(parts: list[Part], counts: Counts) -> list[Part]:
    """Parts of subjects with at least two windows: one alone has no spread to be scaled by."""
    windows: Counter[str] = Counter()
    for part in parts:
        windows[part.trial.subject] += len(part.start)
    for part in parts:
        if windows[part.trial.subject] < 2:
            what = f"{part.trial.subject}, clip {part.trial.clip}"
            counts.add(LeftOut(part.trial.path, what, "the subject's only window"))
    return [part for part in parts if windows[part.trial.subject] >= 2]


def _caps(
    parts: list[Part], ch_names: tuple[str, ...]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(positions [P, C, 2] of the different caps, int64 [N] of which cap a window is).

    (None, None) where all sites lie where their names say.
    """
    if all(part.positions is None for part in parts):
        return None, None
    caps: dict[bytes, np.ndarray] = {}
    numbers = []
    for part in parts:
        where = positions_of(ch_names) if part.positions is None else part.positions
        caps.setdefault(where.tobytes(), where)
        numbers.append(list(caps).index(where.tobytes()))
    cap = np.repeat(numbers, [len(part.start) for part in parts]).astype(np.int64)
    return np.stack(list(caps.values())), cap


def _stand_ins(parts: list[Part]) -> dict[str, dict[str, str]]:
    """By file: which electrode stands for which site, where that was decided by place."""
    return {part.trial.path.name: part.trial.stand_ins for part in parts if part.trial.stand_ins}


def _signals(parts: list[Part]) -> np.ndarray:
    kept = [part.signals for part in parts if part.signals is not None]
    return np.concatenate(kept)


def _ratings(trial: Trial) -> tuple[float, float]:
    if trial.valence is None or trial.arousal is None:
        return float("nan"), float("nan")
    return trial.valence, trial.arousal


def _sources(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
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
