"""What a teacher has to beat: the mean, the clip's mean by other people, a ridge on band power.

The clip's mean needs no EEG at all: it is how other people rated the same film. A teacher that does
not beat it on people it never saw may have learnt to recognise films, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neurogaze_fast.errors import DataError

ALPHAS = tuple(float(alpha) for alpha in 10.0 ** np.arange(0, 8))
"""Penalties tried; the largest is as good as predicting the mean."""


def mean_prediction(target: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, 2]: the mean of the training ratings [n, 2] for every window."""
    if len(target) == 0:
        raise DataError("The training subjects have no rated window to take the mean of.")
    return np.tile(np.asarray(target, np.float64).mean(0), (count, 1))


def clip_mean_prediction(
    target: np.ndarray, clip: np.ndarray, subject: np.ndarray, held_clip: np.ndarray
) -> np.ndarray:
    """float64 [m, 2]: the mean rating that the training people gave to each window's clip.

    Each person counts once, however many windows are left of theirs. A clip that nobody rated in
    training gets the mean of the clips' means.

    Args:
        target: [n, 2] of the training windows; clip, subject: int [n].
        held_clip: int [m], of the windows to predict.
    """
    if len(target) == 0:
        raise DataError("The training subjects have no rated window to take the mean of.")
    pairs, where = np.unique(np.stack([clip, subject]), axis=1, return_inverse=True)
    by_person = _grouped_mean(np.asarray(target, np.float64), where.ravel())
    known, where = np.unique(pairs[0], return_inverse=True)
    by_clip = _grouped_mean(by_person, where)
    place = np.searchsorted(known, held_clip).clip(max=len(known) - 1)
    found = known[place] == held_clip
    return np.where(found[:, None], by_clip[place], by_clip.mean(axis=0))


def ridge_prediction(
    power: np.ndarray,
    target: np.ndarray,
    subject: np.ndarray,
    held_power: np.ndarray,
    clip: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Ridge regression from band power, its penalty chosen by cross-validation.

    Args:
        power: [n, F, C] (or [n, D]) of the training windows; target: [n, 2]; subject: [n].
        held_power: [m, F, C] of the windows to predict.
        clip: int [n]. None: people are held out in choosing; given: clips as well, each fold of
            people with each fold of clips, as the windows to predict are of other clips.

    Returns:
        (prediction float64 [m, 2] clipped to [-1, 1], the penalty chosen). Where there are too few
        people (or clips) to choose by, the largest penalty is taken.
    """
    from sklearn.linear_model import Ridge

    features = power.reshape(len(power), -1).astype(np.float64)
    errors = np.zeros(len(ALPHAS))
    folds = list(_inner_folds(subject, clip))
    for train, held in folds:
        errors += _squared_errors(features[train], target[train], features[held], target[held])
    alpha = ALPHAS[int(errors.argmin())] if folds else ALPHAS[-1]
    model = Ridge(alpha=alpha).fit(features, target)
    held_features = held_power.reshape(len(held_power), -1).astype(np.float64)
    return np.clip(model.predict(held_features), -1, 1), alpha


def calibrate(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float64 [2, 2]: (offset, slope) for valence and arousal, which make the squared error least.

    Predictions that are no better than chance have slope 0, and so become the mean: the least
    error that can be had from them, where CCC, which likes spread, is 0. A negative slope is 0.

    Args:
        prediction: [n, 2], of windows that were not trained on; target: [n, 2].
    """
    p, t = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    variance = p.var(axis=0)
    covariance = ((p - p.mean(0)) * (t - t.mean(0))).mean(0)
    slope = np.where(variance > 1e-12, covariance / np.maximum(variance, 1e-12), 0.0).clip(min=0)
    return np.stack([t.mean(0) - slope * p.mean(0), slope], axis=1)


def calibrated(prediction: np.ndarray, line: np.ndarray) -> np.ndarray:
    """float64 [n, 2]: predictions [n, 2] on the line [2, 2] of :func:`calibrate`, in [-1, 1]."""
    return np.clip(line[:, 0] + line[:, 1] * np.asarray(prediction, np.float64), -1, 1)


def _grouped_mean(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    total = np.zeros((int(group.max()) + 1, values.shape[1]))
    np.add.at(total, group, values)
    return total / np.bincount(group)[:, None]


def _inner_folds(
    subject: np.ndarray, clip: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(train, held) rows, bool [n] each; none where there is nothing to choose by."""
    people = _groups(subject, 5 if clip is None else 3)
    films = [None] if clip is None else _groups(clip, 3)
    for who in people:
        for what in films:
            held = who if what is None else who & what
            train = ~who if what is None else ~who & ~what
            if held.any() and train.any():
                yield train, held


def _groups(names: np.ndarray, most: int) -> list[np.ndarray]:
    """Masks, bool [n], of about equally many names each; none where there is one name."""
    _, number = np.unique(names, return_inverse=True)
    count = int(number.max()) + 1
    return [number % min(most, count) == k for k in range(min(most, count))] if count > 1 else []


def _squared_errors(
    train: np.ndarray, target: np.ndarray, held: np.ndarray, held_target: np.ndarray
) -> np.ndarray:
    """float64 [A]: the ridge's squared error on the held-out rows for every penalty.

    One decomposition serves them all: with X'X = V S V', w = V (S + alpha)^-1 V' X'y.
    """
    mean, middle = train.mean(0), target.mean(0)
    x, y = train - mean, target - middle
    size, basis = np.linalg.eigh(x.T @ x)
    projected = basis.T @ (x.T @ y)
    seen = (held - mean) @ basis
    errors = []
    for alpha in ALPHAS:
        found = seen @ (projected / (np.maximum(size, 0) + alpha)[:, None]) + middle
        errors.append(((found - held_target) ** 2).sum())
    return np.array(errors)
