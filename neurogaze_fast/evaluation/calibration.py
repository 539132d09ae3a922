"""Whether a probability means what it says: calibration before and after temperature scaling.

A temperature T divides the logits, which changes no answer and only how sure it is (Guo et al.
2017). T is a parameter like any other: fitted on the images it is scored on it flatters, so it
always comes from other images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neurogaze_fast.errors import DataError

BINS = 15
RANGE = (0.05, 20.0)
"""Temperatures that are looked for; one at an end means that the images did not say."""
_HALVES_SEED = 20250911


def probabilities(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """float64 [N, 8]: softmax of logits [N, 8] over a temperature, one for all or [N]."""
    return np.exp(_log_softmax(logits, temperature))


def reliability(predicted: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(counts int64 [15], mean confidence and accuracy float64 [15, 2]) by top probability.

    Bins are of equal width on [0, 1] and closed above, the first also below; the means of an empty
    one are NaN. Among equal probabilities the first class is the answer.
    """
    top = predicted.max(axis=1)
    right = predicted.argmax(axis=1) == labels
    bins = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    sums = np.stack(
        [np.bincount(bins, weights=value, minlength=BINS) for value in (top, right)], axis=1
    )
    means = np.full((BINS, 2), np.nan)
    means[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return counts, means


def calibration_scores(
    logits: np.ndarray, labels: np.ndarray, temperature: float | np.ndarray = 1.0
) -> dict[str, float]:
    """Expected calibration error, negative log-likelihood (nats) and Brier score (0 to 2).

    ECE is the mean distance of accuracy and mean confidence over 15 bins of equal width on the top
    probability, weighted by their images.

    Args:
        logits: [N, 8]; labels: int [N]; temperature: one for all or [N].
    """
    logs = _log_softmax(logits, temperature)
    predicted = np.exp(logs)
    rows = np.arange(len(labels))
    counts, means = reliability(predicted, labels)
    used = counts > 0
    gap = np.abs(means[used, 0] - means[used, 1])
    truth = np.zeros_like(predicted)
    truth[rows, labels] = 1
    return {
        "ece": float((counts[used] * gap).sum() / len(labels)),
        "nll": float(-logs[rows, labels].mean()),
        "brier": float(((predicted - truth) ** 2).sum(axis=1).mean()),
    }


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in :data:`RANGE` with the lowest negative log-likelihood.

    `labels`: int [N], or the shares of the raters' votes [N, 8]: a temperature fitted to the winner
    of a vote understates how much the raters doubt.

    That likelihood is convex in 1/T, so it has one valley along log T, which a golden-section
    search finds. A set answered without one mistake (or worse than by chance) has its best
    temperature at an end of the range.

    Raises:
        DataError: there is nothing to fit on.
    """
    if len(labels) == 0:
        raise DataError("A temperature cannot be fitted: there is no labelled image to fit it on.")
    wanted = np.asarray(labels)
    if wanted.ndim == 1:
        wanted = np.eye(logits.shape[1])[wanted]

    def loss(log_t: float) -> float:
        return float(-(wanted * _log_softmax(logits, np.exp(log_t))).sum(axis=1).mean())

    low, high = np.log(RANGE)
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-6:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return float(np.exp((low + high) / 2))


def halves(n: int) -> np.ndarray:
    """int64 [N] of 0 and 1: two random halves of N images, always the same ones."""
    half = np.zeros(n, np.int64)
    half[np.random.default_rng(_HALVES_SEED).permutation(n)[: n // 2]] = 1
    return half


def cross_fitted(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """(temperature of each image [N], those of the two halves) fitted on the other half each.

    Raises:
        DataError: fewer than two images.
    """
    if len(labels) < 2:
        raise DataError("A temperature cannot be cross-fitted on fewer than two images.")
    half = halves(len(labels))
    other = [fit_temperature(logits[half != k], labels[half != k]) for k in (0, 1)]
    return np.array(other)[half], other


@dataclass(frozen=True)
class Scaling:
    """Which temperature a split is scaled with, and where it comes from."""

    source: str
    """Where it was fitted, or why there is none, in words."""
    temperature: float | None = None
    """One that was fitted on other images."""
    vote_temperature: float | None = None
    """Likewise, but fitted to the shares of the raters' votes."""
    cross_fit: bool = False
    """Fit it on two halves of the split itself, each for the other half."""


def calibration(
    logits: np.ndarray, labels: np.ndarray, scaling: Scaling
) -> tuple[dict[str, Any], np.ndarray | float | None]:
    """Calibration of a split before and after temperature scaling, for metrics.json.

    Args:
        logits: [N, 8]; labels: int [N], N at least 1.
        scaling: where the temperature comes from.

    Returns:
        ``({"before": {"ece", "nll", "brier"}, "after": the same or None, "temperature": T, or the
        two of the halves, or None, "source"}, what the logits were divided by)``.
    """
    used, stated, source = scaled_with(logits, labels, scaling)
    return {
        "before": calibration_scores(logits, labels),
        "after": None if used is None else calibration_scores(logits, labels, used),
        "temperature": stated,
        "source": source,
    }, used


def scaled_with(
    logits: np.ndarray, labels: np.ndarray, scaling: Scaling
) -> tuple[np.ndarray | float | None, list[float] | float | None, str]:
    """(what the logits are divided by, the temperature as it is stated, where it is from).

    `labels`: int [N], or shares of votes [N, 8].
    """
    if not scaling.cross_fit:
        return scaling.temperature, scaling.temperature, scaling.source
    if len(labels) < 2:
        return None, None, "unavailable: one image has no other half"
    return (*cross_fitted(logits, labels), scaling.source)


def _log_softmax(logits: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    scaled = np.asarray(logits, np.float64) / np.reshape(temperature, (-1, 1))
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
