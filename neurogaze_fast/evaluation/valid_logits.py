"""valid_logits.npz: what a run's model answered for every valid image, for statistics across runs.

Logits as float16 (a rounding of 0.1 % or less), beside the votes and row numbers they belong to:
about 110 kB for FERPlus.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurogaze_fast.artifacts import atomic_write, sha256_bytes
from neurogaze_fast.errors import ArtifactError

FILE = "valid_logits.npz"
_ARRAYS = {"logits": (np.float16, 2), "votes": (np.uint8, 2), "rows": (np.int64, 1)}


@dataclass(frozen=True)
class ValidLogits:
    """One row for each valid image with an emotion label."""

    logits: np.ndarray
    """float32 [N, 8]."""
    votes: np.ndarray
    """uint8 [N, 10]."""
    rows: np.ndarray
    """int64 [N]: the data set's numbers."""


def save_valid_logits(
    folder: Path, logits: np.ndarray, votes: np.ndarray, rows: np.ndarray
) -> dict[str, object]:
    """Write the file into a run; return what metrics.json records of it.

    Args:
        logits: float [N, 8]; votes: whole numbers [N, 10]; rows: [N].
    """
    buffer = io.BytesIO()
    # A float16 ends at 65504; only the order of such logits matters.
    half = np.clip(logits, -6e4, 6e4).astype(np.float16)
    np.savez_compressed(
        buffer, logits=half, votes=votes.astype(np.uint8), rows=rows.astype(np.int64)
    )
    data = buffer.getvalue()
    atomic_write(Path(folder) / FILE, data)
    return {"n": len(logits), "sha256": sha256_bytes(data)}


def load_valid_logits(folder: Path, recorded: dict[str, object] | None) -> ValidLogits | None:
    """Those of a run; None where it recorded none (older versions).

    Args:
        recorded: ``valid_logits`` of its metrics.json.

    Raises:
        ArtifactError: the file is gone, is not the one that was recorded, or is damaged.
    """
    if recorded is None:
        return None
    path = Path(folder) / FILE
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise ArtifactError(
            f"{path} cannot be read ({cause.strerror}). Restore it from a copy of the run."
        ) from cause
    if sha256_bytes(data) != recorded.get("sha256"):
        raise ArtifactError(
            f"{path} is not the file that metrics.json names (its hash differs): it was altered or "
            "is another run's. Restore it from a copy of the run."
        )
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            found = {name: file[name] for name in _ARRAYS}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as cause:
        raise ArtifactError(f"{path} holds no logits of valid images ({cause}).") from cause
    shaped = all(
        found[name].dtype == dtype and found[name].ndim == ndim
        for name, (dtype, ndim) in _ARRAYS.items()
    )
    n = len(found["rows"])
    if not shaped or found["logits"].shape != (n, 8) or found["votes"].shape != (n, 10):
        raise ArtifactError(f"{path} holds arrays of other shapes than a run writes.")
    return ValidLogits(found["logits"].astype(np.float32), found["votes"], found["rows"])
