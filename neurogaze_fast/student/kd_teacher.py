"""Trained students as one KD teacher: their mean opinion of an image and its mirror image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.artifacts import canonical_json, check_fields, read_manifest, sha256_bytes
from neurogaze_fast.errors import CheckpointError
from neurogaze_fast.student.inference import load_model, predict_logits
from neurogaze_fast.student.model_file import model_path
from neurogaze_fast.student.networks import Student


def teacher_provenance(runs: Sequence[str]) -> dict[str, Any]:
    """What a run records of its KD teacher: ``{"sha256", "models", "synthetic"}``.

    Raises:
        CheckpointError: one of them has no model, or its manifest was altered.
    """
    paths = [model_path(Path(run)) for run in runs]
    manifests = [read_manifest(path, CheckpointError) for path in paths]
    for path, manifest in zip(paths, manifests, strict=True):
        check_fields(manifest["provenance"], {"synthetic": bool}, path, CheckpointError)
    hashes = [manifest["sha256"] for manifest in manifests]
    return {
        "sha256": hashes[0] if len(hashes) == 1 else sha256_bytes(canonical_json(hashes)),
        "models": hashes,
        "synthetic": any(manifest["provenance"]["synthetic"] for manifest in manifests),
    }


@dataclass(frozen=True)
class KdTeacher:
    """One or several trained students, frozen, on the training device."""

    models: tuple[Student, ...]
    sizes: tuple[int, ...]
    """The side of the image each was trained with: that is the side it looks at."""

    @classmethod
    def load(cls, runs: Sequence[str], device: torch.device) -> KdTeacher:
        """The verified models of run folders, or model files.

        Raises:
            CheckpointError: missing, altered, no student, of other emotions, or of three channels.
        """
        models, sizes = [], []
        for run in runs:
            model, provenance = load_model(Path(run))
            if model.channels != 1:
                raise CheckpointError(
                    f"{run} looks at {model.channels} channels, and students here at grey images: "
                    "it cannot be their KD teacher."
                )
            models.append(model.to(device).requires_grad_(False))
            sizes.append(provenance["size"])
        return cls(tuple(models), tuple(sizes))

    def logits(self, views: dict[int, Tensor]) -> Tensor:
        """float32 [B, 8]: log of the mean probability over the models and both orientations.

        Args:
            views: side -> images [B, 1, side, side], for every side in :attr:`sizes`; computed in
                the precision autocast is set to.
        """
        opinions = []
        with torch.no_grad():
            for model, size in zip(self.models, self.sizes, strict=True):
                both = torch.cat((views[size], views[size].flip(3)))
                opinions.append(model(both)[1].float().log_softmax(1).unflatten(0, (2, -1)))
        every = torch.cat(opinions)
        return every.logsumexp(0) - math.log(len(every))

    def logits_of_set(self, images: np.ndarray, device: torch.device) -> np.ndarray:
        """float32 [N, 8]: the same for the stored images as they are, uint8 [N, H, W]."""
        parts = [
            torch.from_numpy(predict_logits(model, images, size=size, device=device, flip=True))
            for model, size in zip(self.models, self.sizes, strict=True)
        ]
        every = torch.stack(parts).log_softmax(2)
        return (every.logsumexp(0) - math.log(len(parts))).numpy()
