"""How far scores could lie from what was measured, because only so many images were scored.

The intervals are over images: they say what another sample of as many images could have given the
same model. They know nothing of what another seed of the training would have given.
"""

from __future__ import annotations

import math

import numpy as np

from neurogaze_fast.emotions import EMOTIONS

LEVEL = 0.95
DRAWS = 2000
"""Draws of a bootstrap where scores are written down."""
_Z = 1.959963984540054  # the normal distribution's 97.5 % point
_SEED = 20250911


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, `hits` of `n` (n at least 1), as fractions.

    Unlike hits/n plus or minus its standard error, it stays inside [0, 1] and keeps a width at 0
    and 1, which matters for an emotion with two dozen images.
    """
    share, z2 = hits / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and at n the bound is exactly 0 and 1; rounding must not move it.
    return (0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def summary_of(matrices: np.ndarray, *, present_only: bool) -> np.ndarray:
    """Accuracy, macro-F1 and balanced accuracy of confusion matrices [..., 8, 8], as [..., 3].

    Each matrix is scored by the definition of its form: balanced accuracy averages the recalls of
    the classes that occur in that matrix; macro-F1 averages the F1 of the same classes where
    `present_only`, else of all eight, an absent one counting 0.
    """
    matrices = np.asarray(matrices, np.float64)
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    actual, claimed = matrices.sum(-1), matrices.sum(-2)
    occurs = actual > 0
    number = occurs.sum(-1)
    both = actual + claimed  # counts may be fractions: only 0 must not divide
    f1 = 2 * hits / np.where(both > 0, both, 1)
    averaged = np.where(occurs, f1, 0).sum(-1) / number if present_only else f1.mean(-1)
    recall = (hits / np.where(occurs, actual, 1)).sum(-1) / number
    return np.stack([hits.sum(-1) / actual.sum(-1), averaged, recall], axis=-1)


def bootstrap_intervals(
    matrix: np.ndarray, *, present_only: bool, draws: int = DRAWS, seed: int = _SEED
) -> np.ndarray:
    """Percentile-bootstrap 95 % intervals of the three summary scores.

    Drawing N images with replacement is drawing their cells of the confusion matrix from a
    multinomial distribution, so no image is touched. Each draw is scored by :func:`summary_of`: a
    class that a draw happens to miss is absent in that draw, and handled as the form handles
    absent classes. What was predicted for an image stays what it was.

    Args:
        matrix: int[8, 8] of the form: true class in the row; for ``present_only`` with the
            predictions restricted to the classes that occur.
        present_only: macro-F1 over the classes that occur, not over all eight.
        draws: number of draws.
        seed: of the draws; the same seed gives the same intervals.

    Returns:
        float64 [3, 2]: low and high of accuracy, macro-F1 and balanced accuracy.
    """
    matrix = np.asarray(matrix, np.int64)
    total = int(matrix.sum())
    used = np.flatnonzero(matrix)
    rng = np.random.default_rng(seed)
    drawn = np.zeros((draws, matrix.size))
    drawn[:, used] = rng.multinomial(total, matrix.ravel()[used] / total, size=draws)
    values = summary_of(drawn.reshape(draws, *matrix.shape), present_only=present_only)
    tail = (1 - LEVEL) / 2
    return np.quantile(values, [tail, 1 - tail], axis=0).T


def images_per_point(matrix: np.ndarray) -> dict[str, float]:
    """How many images of each emotion make one point (0.01) of 8-way macro-F1.

    That many of the emotion's wrongly answered images, taken from the wrong answers in proportion
    to how often each was given, are answered rightly instead; the number is what raises macro-F1
    by 0.01. It is fractional, and shows what a difference of a point rests on.

    Args:
        matrix: int[8, 8] counts, true class in the row (:func:`metrics.confusion`).

    Returns:
        {emotion: images}. An emotion without images is left out, and so is one whose wrong answers
        are together worth less than a point.
    """
    matrix = np.asarray(matrix, np.float64)
    before = summary_of(matrix, present_only=False)[1]
    result = {}
    for row, emotion in enumerate(EMOTIONS):
        wrong = matrix[row].copy()
        wrong[row] = 0
        available = float(wrong.sum())
        if available == 0:
            continue
        step = -wrong / available
        step[row] = 1.0

        def gain(images: float, row: int = row, step: np.ndarray = step) -> float:
            moved = matrix.copy()
            moved[row] += images * step
            return float(summary_of(moved, present_only=False)[1] - before)

        if gain(available) < 0.01:
            continue
        low, high = 0.0, available  # the gain grows with every image
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if gain(middle) < 0.01 else (low, middle)
        result[emotion] = high
    return result
