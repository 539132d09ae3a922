"""Scores of predicted (valence, arousal), with intervals over people.

Windows of one person resemble one another, so the bootstrap draws whole people. Every score here
follows from six sums a person contributes, which makes a draw a matter of adding up rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurogaze_fast.errors import DataError

TARGETS = ("valence", "arousal")
MEASURES = ("ccc", "rmse", "r2")
INTERVAL = 0.95
DRAWS = 1000
_FLAT = 1e-12


def scores(prediction: np.ndarray, target: np.ndarray) -> dict[str, dict[str, float | None]]:
    """CCC, RMSE and R2 of predictions [N, 2], as {"valence" | "arousal": {"ccc" | "rmse" | "r2"}}.

    R2 is 1 - residual / total sum of squares about the mean of `target`; it is None where all
    ratings are equal, and so is CCC where the predictions are that same constant.

    Raises:
        DataError: no rows, shapes that differ, or a value that is not finite.
    """
    sums = subject_sums(prediction, target, np.zeros(len(prediction), np.int64))
    return _named(_measures(sums.sum(0)))


def trial_means(
    prediction: np.ndarray, target: np.ndarray, trial: np.ndarray, subject: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(prediction, target, subject) of each trial: the mean over its windows.

    A clip is rated once, so this is the level at which the ratings are independent.
    """
    _, first, group = np.unique(trial, return_index=True, return_inverse=True)
    size = np.bincount(group)[:, None]
    means = []
    for values in (prediction, target):
        total = np.zeros((len(size), values.shape[1]))
        np.add.at(total, group, values.astype(np.float64))
        means.append(total / size)
    return means[0], means[1], subject[first]


def subject_sums(prediction: np.ndarray, target: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """float64 [S, 2, 6]: n, sums of p, t, p^2, t^2 and p t, for each person and target.

    Raises:
        DataError: no rows, shapes that differ, or a value that is not finite.
    """
    p, t = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if p.shape != t.shape or p.ndim != 2 or p.shape[1] != 2 or len(p) == 0:
        raise DataError(
            f"Scores need predictions and ratings of one shape [N, 2] with N at least 1, found "
            f"{list(p.shape)} and {list(t.shape)}."
        )
    if not (np.isfinite(p).all() and np.isfinite(t).all()):
        raise DataError(
            "A prediction or rating is not finite: leave unlabelled windows out before scoring, "
            "and train again if the predictions are NaN."
        )
    _, group = np.unique(subject, return_inverse=True)
    sums = np.zeros((group.max() + 1, 2, 6))
    np.add.at(sums, group, np.stack([np.ones_like(p), p, t, p * p, t * t, p * t], axis=2))
    return sums


def bootstrap(
    predictions: dict[str, np.ndarray],
    target: np.ndarray,
    subject: np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Each predictor's scores with a 95 % interval over people, and its lead over the others.

    Args:
        predictions: name -> [N, 2] on the same rows; the first name is compared with the rest.
        target: ratings [N, 2]; subject: [N].
        draws: resamples of as many people as there are, with replacement; percentile interval.
        seed: of the resamples, which are the same for every predictor.

    Returns:
        {name: {target: {measure: {"value", "low", "high"}}}, "FIRST - name": {target: {"ccc":
        ...}}}; None where a score is undefined. Draws where it is are left out.
    """
    people = len(np.unique(subject))
    drawn = np.random.default_rng(seed).integers(0, people, (draws, people))
    weight = np.zeros((draws, people))
    np.add.at(weight, (np.arange(draws)[:, None], drawn), 1)
    value, spread = {}, {}
    for name, prediction in predictions.items():
        sums = subject_sums(prediction, target, subject)
        value[name] = _measures(sums.sum(0))
        spread[name] = _measures(np.einsum("ds,stk->dtk", weight, sums))
    result: dict[str, Any] = {name: _intervals(value[name], spread[name]) for name in predictions}
    first, *others = predictions
    for other in others:
        lead = _intervals(value[first] - value[other], spread[first] - spread[other])
        result[f"{first} - {other}"] = {t: {"ccc": lead[t]["ccc"]} for t in TARGETS}
    return result


def _measures(sums: np.ndarray) -> np.ndarray:
    """float64 [..., 2, 3]: CCC, RMSE and R2 from sums [..., 2, 6]; NaN where undefined."""
    n, p, t, pp, tt, pt = np.moveaxis(sums, -1, 0)
    mean_p, mean_t = p / n, t / n
    var_p = np.maximum(pp / n - mean_p**2, 0)
    var_t = np.maximum(tt / n - mean_t**2, 0)
    error = np.maximum((pp - 2 * pt + tt) / n, 0)
    spread = var_p + var_t + (mean_p - mean_t) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ccc = np.where(spread > _FLAT, 2 * (pt / n - mean_p * mean_t) / spread, np.nan)
        r2 = np.where(var_t > _FLAT, 1 - error / var_t, np.nan)
    return np.stack([ccc, np.sqrt(error), r2], axis=-1)


def _named(measures: np.ndarray) -> dict[str, dict[str, float | None]]:
    return {
        target: {name: _number(measures[i, j]) for j, name in enumerate(MEASURES)}
        for i, target in enumerate(TARGETS)
    }


def _intervals(value: np.ndarray, spread: np.ndarray) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for i, target in enumerate(TARGETS):
        result[target] = {}
        for j, name in enumerate(MEASURES):
            known = spread[:, i, j][np.isfinite(spread[:, i, j])]
            edges = (np.nan, np.nan)
            if len(known):
                edges = np.quantile(known, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
            result[target][name] = {
                "value": _number(value[i, j]),
                "low": _number(edges[0]),
                "high": _number(edges[1]),
            }
    return result


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
