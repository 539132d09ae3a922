"""The prototype bank: 25 frozen unit vectors on the valence/arousal grid, in two verified files.

NAME.safetensors holds the tensors, NAME.manifest.json the SHA-256 of that file, the emotion order
and the provenance. A missing or altered one of either is refused (see artifacts.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import sha256_bytes, verified_open, write_artifact
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import BankError, OutputExistsError
from neurogaze_fast.prototypes.grid import cell_centres

KIND = "prototype bank"
_TENSORS = ("prototypes", "counts", "subjects", "filled_from", "centres")
MAX_BYTES = 16 << 20
"""Larger files are refused unread; 25 cells of width 512 have 55 kB."""
_MAX_HEADER = 1 << 16
"""Bytes of a safetensors header; a bank's has 400, and parsing 100,000 entries takes a second."""


@dataclass(frozen=True)
class PrototypeBank:
    """A frozen G x G bank. K = G*G cells, row-major, arousal rows, valence columns."""

    prototypes: np.ndarray
    """float32 [K, D], rows of unit length."""
    counts: np.ndarray
    """int64 [K]: windows averaged into each cell."""
    subjects: np.ndarray
    """int64 [K]: different people among them."""
    filled_from: np.ndarray
    """bool [K, K]: row k marks the cells an empty cell k was filled from; all false elsewhere."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What it was made from; ``synthetic`` is always there."""
    sha256: str = ""
    """Hash of the file it was loaded from, or saved to; empty before."""

    @property
    def filled(self) -> np.ndarray:
        """bool [K]: the empty cells that were filled from others."""
        return np.asarray(self.filled_from.any(1))

    def __post_init__(self) -> None:
        cells = len(self.prototypes) if self.prototypes.ndim else 0
        expected = {"prototypes": np.float32, "counts": np.int64, "subjects": np.int64}
        for name, dtype in (expected | {"filled_from": np.bool_}).items():
            value = getattr(self, name)
            shape = {"prototypes": (cells, self.width), "filled_from": (cells, cells)}
            if value.dtype != dtype or value.shape != shape.get(name, (cells,)):
                raise BankError(
                    f"The bank's {name} are {value.dtype} {value.shape}, expected "
                    f"{np.dtype(dtype)} {shape.get(name, (cells,))}. Build the bank again."
                )
        for name in ("counts", "subjects"):
            if (getattr(self, name) < 0).any():
                raise BankError(
                    f"The bank's {name} hold {getattr(self, name).min()}: a number of windows or "
                    "people is 0 or more. Build the bank again."
                )
        if self.grid < 2 or self.grid**2 != cells:
            raise BankError(f"A bank has G x G cells with G >= 2, found {cells}. Build it again.")
        norms = np.linalg.norm(self.prototypes.astype(np.float64), axis=1)
        if not np.all(np.abs(norms - 1) < 1e-4):
            bad = int(np.flatnonzero(~(np.abs(norms - 1) < 1e-4))[0])
            raise BankError(
                f"Prototype {bad} has length {norms[bad]:.4g}, expected 1: it is not normalised or "
                "not finite. Build the bank again."
            )

    @property
    def grid(self) -> int:
        """G."""
        return round(len(self.prototypes) ** 0.5)

    @property
    def width(self) -> int:
        """D."""
        return self.prototypes.shape[1] if self.prototypes.ndim == 2 else 0

    @property
    def centres(self) -> np.ndarray:
        """float64 [K, 2]: (valence, arousal) of each cell."""
        return cell_centres(self.grid)

    @property
    def synthetic(self) -> bool:
        """Whether it was made without EEG."""
        return bool(self.provenance.get("synthetic", False))

    def save(self, path: Path) -> str:
        """Write NAME.safetensors and NAME.manifest.json; return the file's SHA-256.

        Raises:
            OutputExistsError: the file is there; it is left alone.
        """
        from safetensors.numpy import save

        path = _bank_path(path)
        if path.exists():
            raise OutputExistsError(f"{path} exists and was left alone: choose another name.")
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
        provenance = {
            "kind": KIND,
            "emotions": list(EMOTIONS),
            "grid": self.grid,
            "width": self.width,
            **self.provenance,
            "synthetic": self.synthetic,
        }
        return write_artifact(path, save(tensors), provenance)

    @classmethod
    def load(
        cls, path: Path, *, width: int | None = None, grid: int | None = None
    ) -> PrototypeBank:
        """Verify and read a bank.

        Args:
            width: the D it must have; grid: the G it must have. None accepts any.

        Raises:
            BankError: missing, altered, malformed, another emotion order, width or grid.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if Path(path).is_dir():
            raise BankError(f"{path} is a folder. Pass the bank's .safetensors file.")
        path = _bank_path(path)
        if path.exists() and path.stat().st_size > MAX_BYTES:
            raise BankError(
                f"{path} has {path.stat().st_size >> 20} MiB, more than the {MAX_BYTES >> 20} MiB "
                "that a bank can have, and was not read. Pass the bank's .safetensors file."
            )
        data, provenance = verified_open(path, BankError)
        if provenance.get("kind") != KIND:
            raise BankError(
                f"{path} is a {provenance.get('kind', 'file of unknown kind')!r}, not a {KIND}."
            )
        if provenance.get("emotions") != list(EMOTIONS):
            raise BankError(
                f"{path} was made for the emotion order {provenance.get('emotions')}, this version "
                f"uses {list(EMOTIONS)}: its cells would be read for the wrong emotion. Build the "
                "bank again with this version."
            )
        if int.from_bytes(data[:8], "little") > _MAX_HEADER:
            raise BankError(f"{path} has a header that is no bank's: too long. Build it again.")
        try:
            tensors = load(data)
        except (SafetensorError, ValueError) as cause:
            raise BankError(f"{path} is no safetensors file ({cause}). Build it again.") from cause
        if sorted(tensors) != sorted(_TENSORS):
            raise BankError(
                f"{path} holds {sorted(tensors)}, expected {sorted(_TENSORS)}. Build it again."
            )
        centres = tensors.pop("centres")
        bank = cls(**tensors, provenance=provenance, sha256=sha256_bytes(data))
        # Said this way round because a centre that is not finite lies near nothing.
        if centres.shape != bank.centres.shape or not (np.abs(centres - bank.centres) < 1e-9).all():
            raise BankError(
                f"{path} has other cell centres than a {bank.grid} x {bank.grid} grid. "
                "Build it again."
            )
        stated = provenance.get("grid"), provenance.get("width")
        if stated != (bank.grid, bank.width):
            raise BankError(
                f"{path} holds a {bank.grid} x {bank.grid} grid of width {bank.width}, its "
                f"manifest says grid {stated[0]} and width {stated[1]}. Build it again."
            )
        if width is not None and bank.width != width:
            raise BankError(f"{path} has width {bank.width}, expected {width}.")
        if grid is not None and bank.grid != grid:
            raise BankError(
                f"{path} has a {bank.grid} x {bank.grid} grid, expected {grid} x {grid}."
            )
        return bank


def demo_bank(width: int = 512, grid: int = 5, seed: int = 0) -> PrototypeBank:
    """A bank without EEG: a seeded smooth random map of the cell centres, marked synthetic.

    Random Fourier features (Rahimi & Recht 2007) with a length of 0.8: neighbouring cells are
    alike and distant ones nearly orthogonal, as one hopes of real prototypes, but it knows
    nothing about brains.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    frequency = generator.standard_normal((2, width)) / 0.8
    phase = generator.uniform(0, 2 * np.pi, width)
    features = np.cos(cell_centres(grid) @ frequency + phase)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cells = grid * grid
    return PrototypeBank(
        prototypes=features.astype(np.float32),
        counts=np.zeros(cells, np.int64),
        subjects=np.zeros(cells, np.int64),
        filled_from=np.zeros((cells, cells), bool),
        provenance={"synthetic": True, "made_by": "demo_bank", "seed": seed},
    )


def _bank_path(path: Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")
