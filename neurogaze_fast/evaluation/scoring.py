"""Score a student on a split: the one path that training, evaluate and the report share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from neurogaze_fast.errors import DataError, NonFiniteError
from neurogaze_fast.evaluation.calibration import (
    Scaling,
    calibration,
    fit_temperature,
    probabilities,
)
from neurogaze_fast.evaluation.circumplex import expected_va, va_scores
from neurogaze_fast.evaluation.intervals import DRAWS
from neurogaze_fast.evaluation.metrics import SUMMARY, confusion, split_scores, vote_ceiling
from neurogaze_fast.evaluation.plots import plot_confusion
from neurogaze_fast.evaluation.score_plots import plot_circumplex, plot_reliability
from neurogaze_fast.evaluation.training_images import TrainingImages
from neurogaze_fast.evaluation.vote_scores import rule_scores, vote_calibration
from neurogaze_fast.faces.faceset import FaceRows, FaceSet
from neurogaze_fast.faces.labels import NUM_EMOTIONS, hard_labels, renormalised
from neurogaze_fast.student.inference import predict_logits, predict_views


@dataclass(frozen=True)
class Predictions:
    """What a model answered for the images of one split that have an emotion label."""

    split: str
    logits: np.ndarray
    """float32 [N, 8]."""
    labels: np.ndarray
    """int64 [N], by the argmax rule."""
    part: FaceRows
    """The whole split; row i of the others is row ``index[i]`` of it."""
    index: np.ndarray
    """int64 [N]."""
    plain: np.ndarray | None = None
    """float32 [N, 8]: logits of each face without its mirror image, of the same passes."""

    @property
    def annotated(self) -> np.ndarray | None:
        """float32 [N, 2]: valence and arousal as annotated, NaN where not; None if nowhere."""
        values = getattr(self.part, "valence_arousal", None)
        return None if values is None else np.asarray(values)[self.index]


@dataclass(frozen=True)
class ScoredSplit:
    """Predictions, their scores, and what calibration divided their logits by."""

    predictions: Predictions
    scores: dict[str, Any]
    divisor: np.ndarray | float | None


def predict_split(
    model: nn.Module,
    faces: FaceSet,
    split: str,
    *,
    size: int,
    device: torch.device,
    batch_size: int = 512,
    flip: bool = False,
) -> Predictions:
    """Logits and labels of a split under the argmax rule.

    Always float32 without autocast, whatever the model was trained in.

    Raises:
        DataError: the split is not there, has no labelled image, or too many damaged ones (a few
            are left out, see :meth:`~neurogaze_fast.faces.faceset.FaceSet.usable`).
    """
    part, index, labels = labelled_part(faces, split)
    plain, logits = predict_views(
        model, part.images[index], size=size, device=device, batch_size=batch_size, flip=flip
    )
    return Predictions(split, logits, labels, part, index, plain)


def labelled_part(faces: FaceSet, split: str) -> tuple[FaceRows, np.ndarray, np.ndarray]:
    """(a split, int64 [N]: its rows with a label under the argmax rule, their labels int64 [N]).

    Raises:
        DataError: as :func:`predict_split`.
    """
    part = faces.usable(split)
    index, _ = part.labelled("argmax")
    if not len(index):
        raise DataError(
            f"The {split} split of {faces.source} has no image with an emotion label to score."
        )
    return part, index, hard_labels(part.votes[index])


def score(
    predictions: Predictions, training: TrainingImages, scaling: Scaling, *, draws: int = DRAWS
) -> ScoredSplit:
    """Every score of a split, as it stands in metrics.json.

    Beside :func:`metrics.split_scores`: ``duplicates`` (how many of the images are training images,
    if that is known), ``calibration``, ``valence_arousal`` (None where nothing is annotated), and,
    where the labels are votes of people who sometimes disagree, ``vote_ceiling``, ``rules`` and
    ``votes`` (vote_scores.py), and ``rules`` in ``without_duplicates``, too.

    Args:
        predictions: of the split; training: the images the model was trained with; scaling: where
            the temperature comes from; draws: of the bootstrap, 0 for no intervals.
    """
    logits, labels = predictions.logits, predictions.labels
    duplicate, counted = training.among(predictions.part, predictions.index)
    scores = split_scores(logits, labels, duplicate, draws=draws)
    if not counted["known"]:
        scores["without_duplicates"] = None  # nothing to compare with
    scores["duplicates"] = counted
    votes = predictions.part.votes[predictions.index][:, :NUM_EMOTIONS]
    if (np.count_nonzero(votes, axis=1) > 1).any():  # one label an image says nothing about raters
        scores["vote_ceiling"] = vote_ceiling(votes)
        whole = predictions.part.votes[predictions.index]
        scores["rules"] = rule_scores(logits, whole)
        if scores["without_duplicates"] is not None:
            kept = ~duplicate
            scores["without_duplicates"]["rules"] = rule_scores(logits[kept], whole[kept])
        scores["votes"] = vote_calibration(logits, whole, scaling)
    scores["calibration"], divisor = calibration(logits, labels, scaling)
    read_out = expected_va(probabilities(logits))
    scores["valence_arousal"] = va_scores(read_out, predictions.annotated)
    return ScoredSplit(predictions, scores, divisor)


@dataclass(frozen=True)
class Temperatures:
    """What the logits of a model are divided by, fitted on one split."""

    labels: float
    """To its argmax labels."""
    votes: float
    """To the shares of its raters' votes."""

    @classmethod
    def fitted(cls, predictions: Predictions) -> Temperatures:
        """Fitted on these predictions."""
        shares = renormalised(predictions.part.votes[predictions.index])
        return cls(
            fit_temperature(predictions.logits, predictions.labels),
            fit_temperature(predictions.logits, shares),
        )


def scaling_of(split: str, temperatures: Temperatures | None) -> Scaling:
    """How a split of the set trained on is scaled: never with what was fitted on its own images.

    Args:
        temperatures: fitted on valid; only splits other than valid use them.
    """
    if split in ("valid", "all"):
        words = f"each of two halves of {split} scaled with what was fitted on the other"
        return Scaling(words, cross_fit=True)
    if temperatures is None:
        return Scaling("fitted on valid")
    return Scaling("fitted on valid", temperatures.labels, temperatures.votes)


def draw_split(scored: ScoredSplit, folder: Path, title: str, suffix: str = "") -> None:
    """Write confusion, reliability and circumplex of a split as ``NAME{suffix}.png``."""
    logits, labels = scored.predictions.logits, scored.predictions.labels
    plot_confusion(confusion(logits, labels), folder / f"confusion{suffix}.png", title)
    plot_reliability(
        logits,
        labels,
        scored.divisor,
        scored.scores["calibration"],
        folder / f"reliability{suffix}.png",
    )
    read_out = expected_va(probabilities(logits))
    plot_circumplex(read_out, labels, folder / f"circumplex{suffix}.png", title)


def validator(
    faces: FaceSet, *, device: torch.device, amp_dtype: torch.dtype | None, flip: bool = False
) -> Callable[[nn.Module, int], dict[str, float]]:
    """A function (model, image size) -> the 8-way scores on valid, for the end of each epoch.

    Quicker than :func:`score`: in the training's own precision, summary scores only.

    Raises:
        DataError: there is no valid split, or no labelled image in it. The function raises
            NonFiniteError where the model's answers are not finite.
    """
    part = faces.usable("valid")
    index, _ = part.labelled("argmax")
    if not len(index):
        raise DataError(
            f"The valid split of {faces.source} has no image with an emotion label, so no epoch "
            "can be chosen."
        )
    images, labels = part.images[index], hard_labels(part.votes[index])
    duplicate = np.zeros(len(index), bool)

    def validate(model: nn.Module, size: int) -> dict[str, float]:
        logits = predict_logits(
            model, images, size=size, device=device, amp_dtype=amp_dtype, flip=flip
        )
        broken = int((~np.isfinite(logits)).any(1).sum())
        if broken:
            raise NonFiniteError(
                f"The run diverged: for {broken} of {len(logits)} valid images the model answers "
                "with values that are not finite. Lower --learning-rate and start a new run."
            )
        scores = split_scores(logits, labels, duplicate)["8way"]
        return {name: scores[name] for name in SUMMARY}

    return validate
