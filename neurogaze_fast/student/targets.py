"""Training rows and everything the objective compares them with, as tensors on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.faceset import FaceRows
from neurogaze_fast.faces.labels import class_weights, crowd_logits, hard_labels, renormalised
from neurogaze_fast.prototypes.grid import target_cells
from neurogaze_fast.student.config import VOTES, TrainConfig
from neurogaze_fast.student.kd_teacher import KdTeacher
from neurogaze_fast.student.objective import Targets


@dataclass(frozen=True)
class TrainingRows:
    """The rows of the train split a run learns from."""

    images: np.ndarray | EncodedSplit
    """uint8 [M, H, W], or images to be decoded."""
    names: np.ndarray
    """str [M]; source_rows int64 [M]: for messages."""
    source_rows: np.ndarray
    targets: Targets
    """One row per image, on the training device."""
    class_weights: Tensor
    """float32 [8]."""


def training_rows(
    split: FaceRows,
    config: TrainConfig,
    emotion_cells: np.ndarray | None,
    device: torch.device,
) -> TrainingRows:
    """Apply the label rule and prepare every target once.

    Args:
        emotion_cells: float32 [8, K], each emotion's target over the prototypes (see controls.py);
            None without Proto-KD.

    Raises:
        DataError: fewer than two rows are left; CheckpointError: the KD teacher cannot be loaded.
    """
    index, targets = split.labelled(config.labels)
    if len(index) < 2:  # BatchNorm needs two
        raise DataError(
            f"Only {len(index)} of the {len(split)} training images has an emotion label under the "
            f"{config.labels!r} rule. Check the votes, or choose another --labels."
        )
    images = split.subset(index) if isinstance(split, EncodedSplit) else split.images[index]
    votes = split.votes[index]
    labels = hard_labels(votes)
    teacher = None
    if config.variant != "b0":
        teacher = crowd_logits(votes)  # a run that looks at the student's view gives its own later
        if config.kd_teacher != (VOTES,) and config.kd_view == "plain":
            # A damaged image is black here; whatever the loader shows instead has its own answer.
            pixels = images.decoded[0] if isinstance(images, EncodedSplit) else images
            teacher = KdTeacher.load(config.kd_teacher, device).logits_of_set(pixels, device)
    cells = None
    if emotion_cells is not None:
        cells = target_cells(renormalised(votes), emotion_cells)

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return TrainingRows(
        images=images,
        names=split.names[index],
        source_rows=split.rows[index],
        targets=Targets(
            on_device(labels),
            on_device(targets),
            None if teacher is None else on_device(teacher),
            None if cells is None else on_device(cells),
        ),
        class_weights=on_device(
            class_weights(labels, config.class_weights, mean_over=config.class_weight_mean)
        ),
    )
