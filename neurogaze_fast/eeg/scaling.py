"""Every subject's band power on that subject's own scale."""

from __future__ import annotations

import numpy as np

MIN_SPREAD = 1e-6
"""Standard deviation of a log below which a value counts as constant, and its z-score as 0."""


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
