"""What a teacher has to beat: the training subjects' mean, and a ridge on band power."""

from __future__ import annotations

import numpy as np

from neurogaze_fast.errors import DataError

ALPHAS = tuple(float(alpha) for alpha in 10.0 ** np.arange(0, 8))
"""Penalties tried; the largest is as good as predicting the mean."""


def mean_prediction(target: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, 2]: the mean of the training ratings [n, 2] for every window."""
    if len(target) == 0:
        raise DataError("The training subjects have no rated window to take the mean of.")
    return np.tile(np.asarray(target, np.float64).mean(0), (count, 1))


def ridge_prediction(
    power: np.ndarray,
    target: np.ndarray,
    subject: np.ndarray,
    held_power: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Ridge regression from band power, its penalty chosen by cross-validation over people.

    Args:
        power: [n, F, C] of the training windows; target: [n, 2]; subject: [n].
        held_power: [m, F, C] of the windows to predict.

    Returns:
        (prediction float64 [m, 2] clipped to [-1, 1], the penalty chosen). With one training
        subject nothing can be chosen by people: then the largest penalty is taken.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    features = power.reshape(len(power), -1).astype(np.float64)
    people = len(np.unique(subject))
    alpha = ALPHAS[-1]
    if people > 1:
        search = GridSearchCV(
            Ridge(),
            {"alpha": ALPHAS},
            cv=GroupKFold(min(5, people)),
            scoring="neg_mean_squared_error",
            refit=False,
        )
        alpha = search.fit(features, target, groups=subject).best_params_["alpha"]
    model = Ridge(alpha=alpha).fit(features, target)
    held = held_power.reshape(len(held_power), -1).astype(np.float64)
    return np.clip(model.predict(held), -1, 1), alpha
