"""Score a student on a split: the one path that training, evaluate and the report share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.metrics import SUMMARY, split_scores, vote_ceiling
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.labels import NUM_EMOTIONS, hard_labels
from neurogaze_fast.student.inference import predict_logits


def score_split(
    model: nn.Module,
    faces: FaceSet,
    split: str,
    *,
    size: int,
    device: torch.device,
    batch_size: int = 512,
    flip: bool = False,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """(scores as in metrics.json, logits [N, 8], labels [N]) of a split under the argmax rule.

    Always float32 without autocast, whatever the model was trained in.

    Raises:
        DataError: the split is not there or has no labelled image.
    """
    part = faces[split]
    index, _ = part.labelled("argmax")
    if not len(index):
        raise DataError(
            f"The {split} split of {faces.source} has no image with an emotion label to score."
        )
    logits = predict_logits(
        model, part.images[index], size=size, device=device, batch_size=batch_size, flip=flip
    )
    labels = hard_labels(part.votes[index])
    scores = split_scores(logits, labels, faces.is_duplicate(split)[index])
    if "train" not in faces.splits:
        scores["without_duplicates"] = None  # nothing to compare with
    scores["vote_ceiling"] = vote_ceiling(part.votes[index][:, :NUM_EMOTIONS])
    return scores, logits, labels


def validator(
    faces: FaceSet, *, device: torch.device, amp_dtype: torch.dtype | None, flip: bool = False
) -> Callable[[nn.Module, int], dict[str, float]]:
    """A function (model, image size) -> the 8-way scores on valid, for the end of each epoch.

    Quicker than :func:`score_split`: in the training's own precision, summary scores only.

    Raises:
        DataError: there is no valid split, or no labelled image in it.
    """
    part = faces["valid"]
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
        scores = split_scores(logits, labels, duplicate)["8way"]
        return {name: scores[name] for name in SUMMARY}

    return validate
