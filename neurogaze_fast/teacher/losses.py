"""What the teacher minimises: error and discordance on ratings, disagreement on the rest."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from neurogaze_fast.errors import OperatorError

TERMS = ("total", "mse", "discordance", "consistency")


def ccc(prediction: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    """Lin's concordance correlation coefficient of each column.

    2 cov(p, t) / (var p + var t + (mean p - mean t)^2), with population moments (Lin 1989). Two
    constant columns, where it is undefined, give 0.

    Args:
        prediction: float [N, T]; target: the same shape, N at least 1.
        eps: added to the denominator.

    Returns:
        float [T], each in [-1, 1].

    Raises:
        OperatorError: shapes that differ, are not [N, T], or have no rows.
    """
    if prediction.shape != target.shape or target.ndim != 2 or len(target) == 0:
        raise OperatorError(
            f"The concordance of {list(prediction.shape)} with {list(target.shape)} is not "
            "defined: pass two arrays of one shape [N, T] with N at least 1."
        )
    mean_p, mean_t = prediction.mean(0), target.mean(0)
    p, t = prediction - mean_p, target - mean_t
    spread = (p * p).mean(0) + (t * t).mean(0) + (mean_p - mean_t) ** 2
    return 2 * (p * t).mean(0) / (spread + eps)


def supervised_terms(va: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(mean squared error, 1 - mean CCC) of predicted and rated (valence, arousal) [N, 2].

    The paper says only that the teacher regresses V/A. The sum of both is our choice: squared
    error alone rewards predicting the mean when the signal is weak, concordance alone is noisy in
    a small batch.
    """
    return F.mse_loss(va, target), 1 - ccc(va, target).mean()


def consistency(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Disagreement of two augmented views of the same windows, as (embedding [N, D], va [N, 2]).

    Mean squared difference of (valence, arousal) plus 1 - cosine of the embeddings, taken about
    the mean of both batches: otherwise the cheapest agreement is for all windows to point the
    same way, and prototypes made of them differ less. How the paper uses its unlabelled
    recordings is not known; this (a Pi-model, Laine & Aila 2017) is our choice.
    """
    middle = (first[0].mean(0) + second[0].mean(0)) / 2
    cosine = F.cosine_similarity(first[0] - middle, second[0] - middle, dim=1)
    return F.mse_loss(first[1], second[1]) + (1 - cosine).mean()


def consistency_ramp(progress: float, end: float = 0.3) -> float:
    """Weight of the consistency at `progress` (0..1 of the run): exp(-5 (1 - x)^2) up to `end`.

    Early on the teacher knows nothing worth agreeing on. The shape is Laine & Aila's (2017), the
    end is ours.
    """
    return math.exp(-5 * (1 - min(1.0, progress / end)) ** 2)
