"""The banks of an ablation: one for each side of the grid."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from neurogaze_fast.ablation.arms import ARMS, PAPER_GRID
from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.errors import BankError
from neurogaze_fast.prototypes.bank import PrototypeBank, demo_bank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.from_teacher import build_prototypes
from neurogaze_fast.prototypes.npz import open_bank
from neurogaze_fast.teacher.model import teacher_path


def make_banks(config: AblateConfig, folder: Path, console: Console) -> dict[int, Path]:
    """Side of the grid -> bank file; built once, taken from the folder afterwards.

    Raises:
        BankError: --bank has another grid than 5x5, or what is in the folder was made otherwise.
    """
    if config.bank is not None:
        bank = open_bank(config.bank, grid=PAPER_GRID)
        if config.bank.suffix == ".npz":  # runs name their bank by the hash of a verified one
            return {PAPER_GRID: _saved(bank, folder / f"grid{PAPER_GRID}" / "bank.safetensors")}
        return {PAPER_GRID: config.bank.resolve()}
    wanted = [arm for name, arm in ARMS.items() if not config.arms or name in config.arms]
    teacher = None
    if config.teacher is not None:
        teacher = read_manifest(teacher_path(config.teacher))["sha256"]
    banks = {}
    for grid in sorted({arm.grid for arm in wanted if arm.grid is not None}):
        path = folder / f"grid{grid}" / "bank.safetensors"
        banks[grid] = path
        if path.exists():
            bank = PrototypeBank.load(path, grid=grid)
        elif config.teacher is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            bank = demo_bank(grid=grid)
            bank.save(path)
        else:
            bank = _build(config.teacher, grid, path, console)
        if (bank.provenance.get("teacher") or {}).get("sha256") != teacher:
            raise BankError(
                f"{path}, of an earlier ablation, was not made from "
                f"{config.teacher or 'no teacher'}. Choose another --out, or give the same "
                "--teacher."
            )
    return banks


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
