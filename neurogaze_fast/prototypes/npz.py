"""The paper's .npz layout of a bank, as far as it is known.

The authors name a file ``prototypes_dreamer_mahnob_5x5_v4.npz`` and say that the bank is saved as
npz; its keys are not published. Assumed here: ``prototypes`` [K, D] float32, ``centers`` [K, 2]
float32 as (valence, arousal), ``counts`` [K] int64. Cells are written in this project's order
(arousal rows, valence columns, both ascending) with their centres, so no reader needs to guess. On
reading, arrays are told apart by their shapes, and by their names where several have the same; the
centres decide the order of the cells, and without any it is taken for this project's. There is no
hash inside: a bank read this way is only as trustworthy as its source. A run saves it as a verified
bank.
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
ORDER = "arousal rows, valence columns"


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
    prototypes = _prototypes(path, arrays)
    grid = math.isqrt(len(prototypes))
    order, said = _order(path, arrays, grid)
    prototypes = prototypes.astype(np.float64)[order]
    length = np.linalg.norm(prototypes, axis=1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise BankError(f"{path} has a prototype that is zero or not finite, so it is no bank.")
    counts = _counts(path, arrays, grid)
    return PrototypeBank(
        prototypes=(prototypes / length).astype(np.float32),
        counts=counts[order].astype(np.int64),
        subjects=np.zeros(grid**2, np.int64),
        filled_from=np.zeros((grid**2, grid**2), bool),
        provenance={
            "synthetic": synthetic,
            "made_by": "import_npz",
            "order": said,
            "source": {"file": path.name, "sha256": sha256_bytes(data)},
        },
    )


def open_bank(path: Path, *, width: int | None = None, grid: int | None = None) -> PrototypeBank:
    """A verified bank, or one of an .npz file; arguments and errors as `PrototypeBank.load`."""
    if Path(path).suffix != ".npz":
        return PrototypeBank.load(path, width=width, grid=grid)
    bank = import_npz(path)
    if (width or bank.width, grid or bank.grid) != (bank.width, bank.grid):
        raise BankError(
            f"{path} holds {bank.grid} x {bank.grid} prototypes of width {bank.width}, not the "
            f"{grid or bank.grid} x {grid or bank.grid} of width {width or bank.width} that are "
            "needed here."
        )
    return bank


def _prototypes(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """[G * G, D] of the one array that can hold prototypes."""
    fits = {
        name: array.reshape(-1, array.shape[-1])
        for name, array in arrays.items()
        if array.dtype.kind in "fiu"
        and ((array.ndim == 2) or (array.ndim == 3 and array.shape[0] == array.shape[1]))
        and array.shape[-1] > 2  # two columns are centres
    }
    fits = {k: a for k, a in fits.items() if len(a) >= 4 and math.isqrt(len(a)) ** 2 == len(a)}
    named = [name for name in fits if name in PROTOTYPE_KEYS]
    chosen = named if len(named) == 1 else list(fits)
    if len(chosen) != 1:
        found = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        why = f"and {' and '.join(fits)} may each be prototypes" if fits else "and none of it fits"
        raise BankError(
            f"{path} holds {found or 'nothing'}, {why}. Expected is one array of prototypes "
            f"[G * G, D] or [G, G, D]; of several the one named {', '.join(PROTOTYPE_KEYS)} is "
            "taken."
        )
    return fits[chosen[0]]


def _counts(path: Path, arrays: dict[str, np.ndarray], grid: int) -> np.ndarray:
    """[K]: windows averaged into each cell; zeros where the file does not tell."""
    named = next((arrays[name] for name in COUNT_KEYS if name in arrays), None)
    if named is not None and named.size not in (1, grid**2):
        raise BankError(f"{path} has {named.size} counts for {grid**2} cells.")
    fits = [
        array
        for array in ([] if named is None else [named]) or arrays.values()
        if array.dtype.kind in "fiu"
        and array.shape in ((grid**2,), (grid, grid), (grid**2, 1))
        and (array >= 0).all()
        and (array == np.floor(array)).all()
    ]
    return fits[0].reshape(-1) if len(fits) == 1 else np.zeros(grid**2, np.int64)


def _order(path: Path, arrays: dict[str, np.ndarray], grid: int) -> tuple[np.ndarray, str]:
    """(int64 [K], which row of the file is each cell; by what)."""
    named = {name: arrays[name] for name in CENTRE_KEYS if name in arrays}
    pairs = {n: a for n, a in arrays.items() if a.shape in ((grid**2, 2), (grid, grid, 2))}
    candidates = named or pairs
    for name, array in candidates.items():
        centres = array.reshape(-1, array.shape[-1] if array.ndim else 1)
        if centres.shape == (grid**2, 2) and np.isfinite(centres).all():
            order = np.argsort(cell_of(centres, grid), kind="stable")
            if np.abs(centres[order] - cell_centres(grid)).max() < 1e-3:
                return order, name
    if candidates:
        name, array = next(iter(candidates.items()))
        raise BankError(
            f"{path} has centres ({name}) that are not those of {grid} x {grid} equal cells on "
            f"[-1, 1]^2, so the order of its prototypes is unknown: {array.tolist()[:3]}..."
        )
    return np.arange(grid**2), f"assumed: {ORDER}"
