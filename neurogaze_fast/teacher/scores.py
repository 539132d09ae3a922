"""Scores of predicted (valence, arousal), with intervals over people and films.

Windows of one person resemble one another, and so do windows of one film, so the bootstrap draws
whole people and whole films. Every score here follows from six sums that a person contributes with
a film, which makes a draw a matter of adding up cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurogaze_fast.errors import DataError

TARGETS = ("valence", "arousal")
MEASURES = ("ccc", "rmse", "r2")
INTERVAL = 0.95
DRAWS = 2000
_FLAT = 1e-12


def scores(prediction: np.ndarray, target: np.ndarray) -> dict[str, dict[str, float | None]]:
    """CCC, RMSE and R2 of predictions [N, 2], as {"valence" | "arousal": {"ccc" | "rmse" | "r2"}}.

    R2 is 1 - residual / total sum of squares about the mean of `target`; it is None where all
    ratings are equal, and so is CCC where the predictions are that same constant.

    Raises:
        DataError: no rows, shapes that differ, or a value that is not finite.
    """
    sums = cell_sums(prediction, target, np.zeros(len(prediction), np.int64))
    return _named(_measures(sums.sum((0, 1))))


def trial_means(prediction: np.ndarray, trial: np.ndarray) -> np.ndarray:
    """float64 [T, ...]: the mean of [N, ...] over the windows of each trial, by its number.

    A clip is rated once, so this is the level at which the ratings are independent.
    """
    _, group = np.unique(trial, return_inverse=True)
    total = np.zeros((int(group.max()) + 1, *prediction.shape[1:]))
    np.add.at(total, group, prediction.astype(np.float64))
    return total / np.bincount(group).reshape(-1, *[1] * (prediction.ndim - 1))


def cell_sums(
    prediction: np.ndarray, target: np.ndarray, person: np.ndarray, clip: np.ndarray | None = None
) -> np.ndarray:
    """float64 [S, K, 2, 6]: n, sums of p, t, p^2, t^2 and p t, by person, clip and target.

    K is 1 without clips. People and clips are numbered in the order of their sorted names.

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
    who = np.unique(person, return_inverse=True)[1]
    what = np.zeros_like(who) if clip is None else np.unique(clip, return_inverse=True)[1]
    sums = np.zeros((who.max() + 1, what.max() + 1, 2, 6))
    np.add.at(sums, (who, what), np.stack([np.ones_like(p), p, t, p * p, t * t, p * t], axis=2))
    return sums


def bootstrap(
    predictions: dict[str, np.ndarray],
    target: np.ndarray,
    person: np.ndarray,
    clip: np.ndarray | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Each predictor's scores with a 95 % interval, and the first one's lead over the others.

    People and clips are drawn independently, with replacement, and a window counts as often as its
    person times its clip was drawn (Owen 2007): the interval is for new people watching new films.
    Without clips only people are drawn, and the interval is for new people watching these films.

    The interval is by percentiles, moved for the median's bias (Efron 1987) and widened for few
    people or clips (Hesterberg 2015): with n of the scarcer of them, a normal interval would use
    sqrt(n / (n - 1)) times Student's quantile in place of the normal one. In simulations that
    covers the true CCC in 92 to 99 % of the cases for 7 to 100 people and 6 to 28 clips; plain
    percentiles over people cover 40 to 70 % of it where films are new.

    Args:
        predictions: name -> [N, 2] on the same rows; the first name is compared with the rest.
        target: ratings [N, 2]; person: [N]; clip: [N] or None.
        draws: resamples, the same for every predictor.
        seed: of the resamples.

    Returns:
        {name: {target: {measure: {"value", "low", "high"}}}, "FIRST - name": {target: {"ccc":
        ...}}}; None where a score is undefined. Draws where it is are left out.
    """
    people = len(np.unique(person))
    clips = 1 if clip is None else len(np.unique(clip))
    weights = draw_weights(people, clips, draws, seed)
    units = people if clip is None else min(people, clips)
    value, spread = {}, {}
    for name, prediction in predictions.items():
        sums = cell_sums(prediction, target, person, clip)
        value[name] = _measures(sums.sum((0, 1)))
        spread[name] = _measures(weighted(sums, *weights))
    result = {name: _intervals(value[name], spread[name], units) for name in predictions}
    first, *others = predictions
    for other in others:
        lead = _intervals(value[first] - value[other], spread[first] - spread[other], units)
        result[f"{first} - {other}"] = {t: {"ccc": lead[t]["ccc"]} for t in TARGETS}
    return result


def draw_weights(people: int, clips: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each person, float64 [draws, S], and each clip, [draws, K], is drawn.

    A single clip stands for "no clips", and is drawn once.
    """
    rng = np.random.default_rng(seed)
    who = rng.multinomial(people, np.full(people, 1 / people), draws).astype(np.float64)
    what = rng.multinomial(clips, np.full(clips, 1 / clips), draws).astype(np.float64)
    return who, what


def weighted(sums: np.ndarray, who: np.ndarray, what: np.ndarray) -> np.ndarray:
    """float64 [draws, 2, 6]: sums [S, K, 2, 6] weighted by people [draws, S] times clips."""
    people, clips = sums.shape[:2]
    by_clip = (who @ sums.reshape(people, -1)).reshape(len(who), clips, -1)
    return np.einsum("dk,dkx->dx", what, by_clip).reshape(len(who), 2, 6)


def _measures(sums: np.ndarray) -> np.ndarray:
    """float64 [..., 2, 3]: CCC, RMSE and R2 from sums [..., 2, 6]; NaN where undefined."""
    n, p, t, pp, tt, pt = np.moveaxis(sums, -1, 0)
    n = np.where(n > 0, n, np.nan)  # a draw may meet no pair of a person and a film
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


def _intervals(value: np.ndarray, spread: np.ndarray, units: int) -> dict[str, Any]:
    """Values [2, 3] with the interval of their draws [draws, 2, 3], by name."""
    result: dict[str, Any] = {}
    for i, target in enumerate(TARGETS):
        result[target] = {}
        for j, name in enumerate(MEASURES):
            low, high = _interval(value[i, j], spread[:, i, j], units)
            result[target][name] = {
                "value": _number(value[i, j]),
                "low": _number(low),
                "high": _number(high),
            }
    return result


def _interval(value: float, draws: np.ndarray, units: int) -> tuple[float, float]:
    """See :func:`bootstrap`; NaN where no draw is defined."""
    from scipy.stats import norm, t

    known = draws[np.isfinite(draws)]
    if not len(known):
        return np.nan, np.nan
    if units < 2 or np.ptp(known) < _FLAT or not np.isfinite(value):
        low, high = np.quantile(known, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
        return float(low), float(high)
    reach = np.sqrt(units / (units - 1)) * t.ppf((1 + INTERVAL) / 2, units - 1)
    below = (np.mean(known < value) + np.mean(known <= value)) / 2
    bias = norm.ppf(np.clip(below, 1 / len(known), 1 - 1 / len(known)))
    low, high = np.quantile(known, norm.cdf(2 * bias + np.array([-reach, reach])))
    return float(low), float(high)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
