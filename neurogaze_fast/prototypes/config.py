"""Options of build_prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.config import Device, require


@dataclass(frozen=True)
class BuildPrototypesConfig:
    """Build the prototype bank from a trained teacher."""

    teacher: Positional[Annotated[Path, arg(metavar="TEACHER")]]
    """Folder written by train_teacher, or its teacher.safetensors."""
    maps: Path | None = None
    """Folder of the maps the teacher was trained on; by default where they were then."""
    grid: int = 5
    """Cells per axis of the valence/arousal square."""
    out: Path | None = None
    """File to create; by default bank.safetensors in the teacher's folder."""
    by: Literal["rating", "prediction"] = "rating"
    """What puts a window into a cell: the rating of its clip, or the teacher's own prediction."""
    min_subjects: int = 1
    """A cell with windows of fewer people than this counts as empty."""
    centre: bool = False
    """Subtract the mean of the prototypes from each, so that they spread."""
    npz: Path | None = None
    """Also write the bank in the paper's .npz layout, as far as that is known."""
    device: Device = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        require(self.grid >= 2, "grid", self.grid, "2 or more")
        require(self.min_subjects >= 1, "min_subjects", self.min_subjects, "1 or more")
