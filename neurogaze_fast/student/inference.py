"""Logits of a whole set, and the model file they can be recomputed from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurogaze_fast.artifacts import check_fields, verified_open, write_artifact
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import CheckpointError
from neurogaze_fast.faces.resident import plain_batches
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.model_file import model_path
from neurogaze_fast.student.networks import ARCHITECTURES, Student, build_student, load_weights
from neurogaze_fast.student.resnet import STEMS

KIND = "student"
MOST_PIXELS = 4096
"""Side of the largest image a model file may ask for."""
_FIELDS = {"channels": int, "size": int, "flip?": bool, "synthetic?": bool}


def amp_dtype(config: TrainConfig) -> torch.dtype | None:
    """The precision of a run's autocast, or None without --amp."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[config.amp_dtype] if config.amp else None


def predict_logits(
    model: nn.Module,
    images: np.ndarray,
    *,
    size: int,
    device: torch.device,
    batch_size: int = 512,
    amp_dtype: torch.dtype | None = None,
    flip: bool = False,
) -> np.ndarray:
    """float32 [N, 8] for uint8 [N, H, W]; the model's training mode is put back afterwards.

    With `flip`, the logarithm of the mean of the probabilities of each image and its mirror image.
    """
    how: dict[str, Any] = {"size": size, "device": device, "batch_size": batch_size}
    return predict_views(model, images, **how, amp_dtype=amp_dtype, flip=flip)[1]


def predict_views(
    model: nn.Module,
    images: np.ndarray,
    *,
    size: int,
    device: torch.device,
    batch_size: int = 512,
    amp_dtype: torch.dtype | None = None,
    flip: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(of each image once, as :func:`predict_logits` gives them): float32 [N, 8], of one pass."""

    def logits(batch: Tensor) -> tuple[Tensor, Tensor]:
        plain = model(batch)[1].float()
        if not flip:
            return plain, plain
        both = torch.stack((plain, model(batch.flip(3))[1].float()))
        return plain, both.log_softmax(2).logsumexp(0) - math.log(2)

    was_training = model.training
    model.eval()
    once: list[Tensor] = []
    asked: list[Tensor] = []
    with (
        torch.inference_mode(),
        torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None),
    ):
        for batch in plain_batches(images, size=size, batch_size=batch_size, device=device):
            for views, found in zip((once, asked), logits(batch), strict=True):
                views.append(found.cpu())
    model.train(was_training)
    return _joined(once), _joined(asked)


def _joined(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).numpy() if parts else np.zeros((0, len(EMOTIONS)), np.float32)


def save_model(
    path: Path, model: Student, state: dict[str, Tensor], metadata: dict[str, Any]
) -> str:
    """Write a student's weights with a manifest saying what they are; return their SHA-256.

    `metadata` must hold ``size``; architecture, stem, channels and emotion order are added here.
    """
    from safetensors.torch import save

    provenance = {
        "kind": KIND,
        "architecture": model.architecture,
        "stem": model.stem,
        "channels": model.channels,
        "emotions": list(EMOTIONS),
        **metadata,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return write_artifact(path, save(tensors), provenance)


def load_model(run: Path) -> tuple[Student, dict[str, Any]]:
    """A verified student in evaluation mode, and its provenance.

    Raises:
        CheckpointError: missing, altered, not a student, or another emotion order.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = model_path(run)
    data, provenance = verified_open(path, CheckpointError)
    if (
        provenance.get("kind") != KIND
        or provenance.get("architecture") not in ARCHITECTURES
        or provenance.get("stem") not in STEMS
    ):
        raise CheckpointError(
            f"{path} is a {provenance.get('kind', 'file of unknown kind')!r} of architecture "
            f"{provenance.get('architecture')!r}; this version reads students of "
            f"{', '.join(ARCHITECTURES)}."
        )
    if provenance.get("emotions") != list(EMOTIONS):
        raise CheckpointError(
            f"{path} was trained for the emotion order {provenance.get('emotions')}, this version "
            f"uses {list(EMOTIONS)}: its outputs would be read under the wrong names."
        )
    check_fields(provenance, _FIELDS, path, CheckpointError)
    if provenance["channels"] not in (1, 3) or not 1 <= provenance["size"] <= MOST_PIXELS:
        raise CheckpointError(
            f"{path} says that it sees {provenance['channels']} channel(s) of "
            f"{provenance['size']} pixels, which no student does. Restore it from a copy."
        )
    model = build_student(
        provenance["architecture"], stem=provenance["stem"], channels=provenance["channels"]
    )
    try:
        state = load(data)
    except SafetensorError as cause:
        raise CheckpointError(
            f"{path} is no safetensors file ({cause}). Restore it from a copy of the run."
        ) from cause
    load_weights(model, state, str(path))
    return model.to(memory_format=torch.channels_last).eval(), provenance
