"""Options of build_prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.config import Device, require
from neurogaze_fast.errors import ConfigError


@dataclass(frozen=True)
class BuildPrototypesConfig:
    """Build the prototype bank from a trained teacher."""

    teacher: Positional[Annotated[Path | None, arg(metavar="TEACHER")]] = None
    """Folder written by train-teacher, or its teacher.safetensors."""
    embeddings: Path | None = None
    """Instead of a teacher: a table of embeddings made elsewhere, .csv or .npz (docs/eeg.md)."""
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
        if (self.teacher is None) == (self.embeddings is None):
            raise ConfigError(
                "Name one of a teacher's folder and --embeddings TABLE: a bank is made of either."
            )
        if self.embeddings is not None and (self.maps or self.npz or self.by != "rating"):
            raise ConfigError("--maps, --npz and --by are for a teacher, not for --embeddings.")
        require(self.grid >= 2, "grid", self.grid, "2 or more")
        require(self.min_subjects >= 1, "min_subjects", self.min_subjects, "1 or more")
