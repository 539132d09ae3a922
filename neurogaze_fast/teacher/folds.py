"""Teachers that do not see what they are scored on, and what their answers come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import DataError
from neurogaze_fast.teacher.baselines import (
    calibrate,
    calibrated,
    clip_mean_prediction,
    mean_prediction,
    ridge_prediction,
)
from neurogaze_fast.teacher.scores import DRAWS, INTERVAL, bootstrap, scores, trial_means
from neurogaze_fast.teacher.splits import Fold, SplitRows, rows_of

Answer = Callable[[Fold, SplitRows], tuple[np.ndarray, np.ndarray]]
"""Trains a fold's teacher: (its (valence, arousal) [m, 2] for the held-out windows, band power
[N, F, C] on the scale that it used)."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What was predicted for the held-out windows of one fold."""

    fold: Fold
    rows: SplitRows
    predictions: dict[str, np.ndarray]
    """Name -> [m, 2]."""
    ridge_alpha: float


def baselines(
    maps: MapSet, rows: SplitRows, power: np.ndarray, *, people_out: bool, clips_out: bool
) -> tuple[dict[str, np.ndarray], float]:
    """The baselines' predictions for the held-out windows, and the ridge's penalty.

    The mean of the clip by other people only where the clips are known and were rated in training;
    of a film nobody rated there is none.
    """
    target = targets(maps, rows.train)
    clip = maps.film[rows.train]
    found: dict[str, np.ndarray] = {}
    found["ridge"], alpha = ridge_prediction(
        power[rows.train], target, maps.subject[rows.train], power[rows.held],
        clip if clips_out else None,
    )  # fmt: skip
    if people_out and not clips_out and maps.knows_clips:
        who = maps.subject[rows.train]
        found["clip_mean"] = clip_mean_prediction(target, clip, who, maps.film[rows.held])
    found["mean"] = mean_prediction(target, len(rows.held))
    return found, alpha


def score_split(
    maps: MapSet, folds: Sequence[Fold], answer: Answer, *, seed: int
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Train and score every fold of one split.

    `teacher_calibrated` is the teacher's answer on a line fitted to the answers of the other folds,
    none of which has a person or clip in common with it: it has the least RMSE, and less spread.
    Where nothing can be read from the EEG it comes down to the mean of the other folds' ratings,
    and that mean is low where the held-out ratings are high: CCC then lies a little below 0, as it
    does for `mean`.

    Args:
        maps: all windows.
        folds: of one split.
        answer: trains a fold's teacher.
        seed: of the bootstrap.

    Returns:
        ({"folds", "pooled", "bootstrap", "skipped"} for scores.json, the line [2, 2] fitted to all
        folds, for a teacher that is used afterwards; None with a single fold).

    Raises:
        DataError: no fold has both something to train on and something to score.
    """
    answers, skipped = [], []
    for fold in folds:
        try:
            rows = rows_of(maps, fold)
        except DataError:  # in a sparse set a person may have seen none of a fold's clips
            skipped.append(fold.name)
            continue
        predicted, power = answer(fold, rows)
        found, alpha = baselines(
            maps, rows, power,
            people_out=fold.people is not None, clips_out=fold.clips is not None,
        )  # fmt: skip
        answers.append(Answers(fold, rows, {"teacher": predicted, **found}, alpha))
    if not answers:
        raise DataError(
            "No fold has both ratings to train on and ratings to score. Use fewer --folds or "
            "--clip-folds, or leave this split out of --splits."
        )
    _add_calibrated(maps, answers)
    result: dict[str, Any] = {"folds": [_fold_entry(maps, one) for one in answers]}
    everyone = np.concatenate([one.rows.held for one in answers])
    known = [name for name in answers[0].predictions if all(name in a.predictions for a in answers)]
    result["pooled"] = {}
    for level in ("window", "trial"):
        pooled = {
            name: at_level(level, np.concatenate([a.predictions[name] for a in answers]), maps,
                           everyone)
            for name in known
        }  # fmt: skip
        result["pooled"][level] = bootstrap(
            pooled,
            at_level(level, targets(maps, everyone), maps, everyone),
            at_level(level, maps.subject[everyone], maps, everyone).astype(np.int64),
            at_level(level, maps.film[everyone], maps, everyone).astype(np.int64)
            if maps.knows_clips
            else None,
            seed=seed,
        )
    unit = "subject x clip" if maps.knows_clips else "subject"
    result["bootstrap"] = {"unit": unit, "draws": DRAWS, "interval": INTERVAL}
    result["skipped"] = skipped
    line = None
    if len(answers) > 1:
        teacher = np.concatenate([one.predictions["teacher"] for one in answers])
        line = calibrate(teacher, targets(maps, everyone))
    return result, line


def targets(maps: MapSet, rows: np.ndarray) -> np.ndarray:
    """float32 [n, 2]: rated (valence, arousal)."""
    return np.stack([maps.valence[rows], maps.arousal[rows]], axis=1)


def at_level(level: str, values: np.ndarray, maps: MapSet, rows: np.ndarray) -> np.ndarray:
    """Values of windows as they are, or as the mean of each trial."""
    return values if level == "window" else trial_means(values, maps.trial[rows])


def _add_calibrated(maps: MapSet, answers: list[Answers]) -> None:
    for one in answers:
        apart = [
            other
            for other in answers
            if (one.fold.people is None or other.fold.number[0] != one.fold.number[0])
            and (one.fold.clips is None or other.fold.number[1] != one.fold.number[1])
        ]
        if apart:
            teacher = np.concatenate([other.predictions["teacher"] for other in apart])
            rated = np.concatenate([targets(maps, other.rows.held) for other in apart])
            line = calibrate(teacher, rated)
            one.predictions["teacher_calibrated"] = calibrated(one.predictions["teacher"], line)


def _fold_entry(maps: MapSet, one: Answers) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "subjects": None if one.fold.people is None else list(one.fold.people),
        "clips": None if one.fold.clips is None else list(one.fold.clips),
        "windows": len(one.rows.held),
        "ridge_alpha": one.ridge_alpha,
    }
    target = targets(maps, one.rows.held)
    for level in ("window", "trial"):
        rated = at_level(level, target, maps, one.rows.held)
        entry[level] = {
            name: scores(at_level(level, value, maps, one.rows.held), rated)
            for name, value in one.predictions.items()
        }
    return entry
