"""Which images a model was trained with, so that any set it is scored on can be compared.

A run keeps the hashes of its training images, not the images: ``training_images.npy``. They are of
decoded pixels, so that an image is found again in whatever kind of file. Runs of older versions
that learnt from image files have hashes of the files' bytes; metrics.json says which.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import atomic_write, sha256_bytes
from neurogaze_fast.errors import ArtifactError
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.faceset import FaceRows

FILE = "training_images.npy"
PIXELS = "pixels"


@dataclass(frozen=True)
class TrainingImages:
    """Hashes of the images a model was trained with, or why they are not known."""

    hashes: frozenset[bytes] | None
    of: str = ""
    """``pixels``, or in an older run's file ``bytes``: what was hashed."""
    why: str = ""
    """Why there are none."""

    @classmethod
    def of_split(cls, part: FaceRows) -> TrainingImages:
        """The images of a training split."""
        return cls(frozenset(part.pixel_hashes.tolist()), PIXELS)

    @classmethod
    def load(cls, folder: Path, recorded: dict[str, Any] | None) -> TrainingImages:
        """Those a run kept; `recorded` is ``training_images`` of its metrics.json.

        Raises:
            ArtifactError: the file is gone or is not the one metrics.json names.
        """
        if recorded is None:
            return cls(None, why="the run did not record its training images")
        path = Path(folder) / FILE
        try:
            data = path.read_bytes()
        except OSError as cause:
            raise ArtifactError(
                f"{path} cannot be read ({cause.strerror}): without it nobody can tell which "
                "images the model was trained with. Restore it from a copy of the run."
            ) from cause
        if sha256_bytes(data) != recorded["sha256"]:
            raise ArtifactError(
                f"{path} is not the file metrics.json names (its hash differs): it was altered or "
                "belongs to another run. Restore it from a copy of the run."
            )
        try:
            hashes = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, OSError, EOFError) as cause:
            raise ArtifactError(f"{path} holds no hashes of images ({cause}).") from cause
        if hashes.dtype != np.dtype("V16") or hashes.ndim != 1:
            raise ArtifactError(f"{path} holds {hashes.dtype} {hashes.shape}, not image hashes.")
        return cls(frozenset(hashes.tolist()), recorded["of"])

    def among(self, part: FaceRows, index: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Which of the rows `index` [M] of a split are training images.

        Returns:
            (bool [M], ``{"known": bool, "n": int}``); where it is not known all are False, and
            ``"why"`` says why.
        """
        nothing = np.zeros(len(index), bool)
        if self.hashes is None:
            return nothing, {"known": False, "n": 0, "why": self.why}
        hashes = part.pixel_hashes if self.of == PIXELS else _of_bytes(part)
        if hashes is None:
            why = (
                f"not comparable: of the training images the {self.of} were hashed, of this set "
                f"the {PIXELS}"
            )
            return nothing, {"known": False, "n": 0, "why": why}
        found = np.array([h in self.hashes for h in hashes[index].tolist()], bool)
        return found, {"known": True, "n": int(found.sum())}


def _of_bytes(part: FaceRows) -> np.ndarray | None:
    """V16 [N]: hashes of a split's files, or None where it does not consist of files."""
    if isinstance(part, EncodedSplit) and part.known_hashes is None:
        return part.content_hashes
    return None


def save_training_images(folder: Path, part: FaceRows) -> dict[str, Any]:
    """Write the hashes of a training split into a run; return what metrics.json records."""
    buffer = io.BytesIO()
    np.save(buffer, part.pixel_hashes, allow_pickle=False)
    atomic_write(Path(folder) / FILE, buffer.getvalue())
    return {"of": PIXELS, "n": len(part), "sha256": sha256_bytes(buffer.getvalue())}
