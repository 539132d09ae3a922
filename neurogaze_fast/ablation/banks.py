"""The banks of an ablation: for each side of the grid one from each teacher."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from neurogaze_fast.ablation.arms import ARMS, PAPER_GRID
from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.artifacts import read_manifest, sha256_file
from neurogaze_fast.errors import BankError
from neurogaze_fast.prototypes.bank import PrototypeBank, demo_bank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.from_teacher import build_prototypes
from neurogaze_fast.prototypes.npz import open_bank
from neurogaze_fast.teacher.model import teacher_path


def make_banks(config: AblateConfig, folder: Path, console: Console) -> dict[int, list[Path]]:
    """Side of the grid -> bank files, one for each teacher; built once, then taken from the folder.

    Raises:
        BankError: --bank has another grid than 5x5, two of them are the same, or what is in the
            folder was made otherwise.
    """
    if config.bank:
        files = [_given(path, folder, place) for place, path in enumerate(config.bank)]
        return {PAPER_GRID: _different(files)}
    wanted = [arm for name, arm in ARMS.items() if not config.arms or name in config.arms]
    grids = sorted({arm.grid for arm in wanted if arm.grid is not None})
    return {
        grid: _different(
            [
                _built(teacher, grid, _place(folder, grid, place), console)
                for place, teacher in enumerate(config.teacher or (None,))
            ]
        )
        for grid in grids
    }


def _place(folder: Path, grid: int, place: int) -> Path:
    name = "bank" if place == 0 else f"bank-{place + 1}"
    return folder / f"grid{grid}" / f"{name}.safetensors"


def _given(path: Path, folder: Path, place: int) -> Path:
    bank = open_bank(path, grid=PAPER_GRID)
    if path.suffix == ".npz":  # runs name their bank by the hash of a verified one
        return _saved(bank, _place(folder, PAPER_GRID, place))
    return path.resolve()


def _built(teacher: Path | None, grid: int, path: Path, console: Console) -> Path:
    digest = None if teacher is None else read_manifest(teacher_path(teacher))["sha256"]
    if path.exists():
        bank = PrototypeBank.load(path, grid=grid)
    elif teacher is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        bank = demo_bank(grid=grid)
        bank.save(path)
    else:
        bank = _build(teacher, grid, path, console)
    if (bank.provenance.get("teacher") or {}).get("sha256") != digest:
        raise BankError(
            f"{path}, of an earlier ablation, was not made from {teacher or 'no teacher'}. Choose "
            "another --out, or give the same --teacher."
        )
    return path


def _different(files: list[Path]) -> list[Path]:
    hashes: dict[str, Path] = {}
    for path in files:
        digest = sha256_file(path)
        if digest in hashes:
            raise BankError(
                f"{path} and {hashes[digest]} are the same bank: counted twice it would look like "
                "two teachers. Name each once."
            )
        hashes[digest] = path
    return files


def _saved(bank: PrototypeBank, path: Path) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        bank.save(path)
    elif PrototypeBank.load(path).provenance.get("source") != bank.provenance["source"]:
        raise BankError(
            f"{path}, of an earlier ablation, was not made from {bank.provenance['source']['file']}"
            ". Choose another --out, or give the same --bank."
        )
    return path


def _build(teacher: Path, grid: int, path: Path, console: Console) -> PrototypeBank:
    console.print(f"Building the {grid}x{grid} bank of {teacher}", markup=False, highlight=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    build_prototypes(BuildPrototypesConfig(teacher=teacher, grid=grid, out=path), console)
    return PrototypeBank.load(path, grid=grid)
