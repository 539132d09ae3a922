"""The paper's .npz layout of a bank, as far as it is known.

The authors name a file ``prototypes_dreamer_mahnob_5x5_v4.npz`` and say that the bank is saved as
npz; its keys are not published. Assumed here: ``prototypes`` [K, D] float32, ``centers`` [K, 2]
float32 as (valence, arousal), ``counts`` [K] int64. Cells are written in this project's order
(arousal rows, valence columns, both ascending) with their centres, so no reader needs to guess;
on reading, ``centers`` decides the order where there is one, and the names other code is likely
to use are understood too. There is no hash inside: a bank read this way is only as trustworthy as
its source, and is to be saved as a verified bank.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from neurogaze_fast.artifacts import atomic_write, sha256_bytes
from neurogaze_fast.errors import BankError, OutputExistsError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.grid import cell_centres, cell_of

PROTOTYPE_KEYS = ("prototypes", "protos", "teacher_prototypes", "P", "bank")
CENTRE_KEYS = ("centers", "centres", "bin_centers", "grid_centers", "va_centers")
COUNT_KEYS = ("counts", "count", "bin_counts", "n")


def export_npz(bank: PrototypeBank, path: Path) -> None:
    """Write prototypes, centers and counts of `bank`.

    Raises:
        OutputExistsError: the file is there; it is left alone.
    """
    path = Path(path)
    if path.exists():
        raise OutputExistsError(f"{path} exists and was left alone: choose another name.")
    buffer = io.BytesIO()
    centres = bank.centres.astype(np.float32)
    np.savez(buffer, prototypes=bank.prototypes, centers=centres, counts=bank.counts)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue())


def import_npz(path: Path, *, synthetic: bool = False) -> PrototypeBank:
    """Read a bank of the paper's layout; prototypes are brought to unit length.

    Without counts they are 0, and so are the people; which cells were filled is not known.

    Args:
        synthetic: whether it was made without EEG, which the file does not say.

    Raises:
        BankError: unreadable, no array that fits, or centres that are not those of a grid.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as cause:
        raise BankError(f"{path} cannot be read ({cause.strerror}).") from cause
    except (ValueError, TypeError, AttributeError, KeyError, zipfile.BadZipFile) as cause:
        raise BankError(f"{path} is no .npz file of plain arrays ({cause}).") from cause
    prototypes = _first(arrays, PROTOTYPE_KEYS)
    if prototypes is not None and prototypes.ndim == 3:  # [G, G, D]
        prototypes = prototypes.reshape(-1, prototypes.shape[2])
    grid = 0 if prototypes is None else math.isqrt(len(prototypes))
    if prototypes is None or prototypes.ndim != 2 or grid < 2 or grid**2 != len(prototypes):
        found = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise BankError(
            f"{path} holds {found or 'nothing'}; expected prototypes [G * G, D] or [G, G, D] under "
            f"one of {', '.join(PROTOTYPE_KEYS)}."
        )
    order = _order(path, _first(arrays, CENTRE_KEYS), grid)
    prototypes = prototypes.astype(np.float64)[order]
    length = np.linalg.norm(prototypes, axis=1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise BankError(f"{path} has a prototype that is zero or not finite, so it is no bank.")
    counts = _first(arrays, COUNT_KEYS)
    counts = np.zeros(grid**2, np.int64) if counts is None else counts.reshape(-1)
    if len(counts) != grid**2:
        raise BankError(f"{path} has {len(counts)} counts for {grid**2} cells.")
    return PrototypeBank(
        prototypes=(prototypes / length).astype(np.float32),
        counts=counts[order].astype(np.int64),
        subjects=np.zeros(grid**2, np.int64),
        filled_from=np.zeros((grid**2, grid**2), bool),
        provenance={
            "synthetic": synthetic,
            "made_by": "import_npz",
            "source": {"file": path.name, "sha256": sha256_bytes(data)},
        },
    )


def _first(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _order(path: Path, centres: np.ndarray | None, grid: int) -> np.ndarray:
    """int64 [K]: which row of the file is each cell."""
    if centres is None:
        return np.arange(grid**2)
    centres = centres.reshape(-1, centres.shape[-1])
    if centres.shape == (grid**2, 2):
        order = np.argsort(cell_of(centres, grid), kind="stable")
        if np.abs(centres[order] - cell_centres(grid)).max() < 1e-3:
            return order
    raise BankError(
        f"{path} has centres that are not those of {grid} x {grid} equal cells on [-1, 1]^2: "
        f"{centres.tolist()[:3]}..."
    )
