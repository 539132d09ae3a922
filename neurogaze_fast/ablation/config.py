"""Options of ablate."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neurogaze_fast.ablation.arms import ARMS
from neurogaze_fast.config import Faces, require
from neurogaze_fast.errors import ConfigError


@dataclass(frozen=True)
class AblateConfig:
    """Train the method with one part changed at a time, and say what each part is worth.

    Any option of `train` may follow and then holds for every run (--epochs 20 --size 32 --amp).
    """

    data: Path | None = None
    """Folder of the face set."""
    faces: Faces | None = None
    """Kind of face set; by default told from --data, else demo."""
    teacher: Path | None = None
    """Run of train_teacher: the banks of every grid are built from it."""
    bank: Path | None = None
    """A 5x5 bank instead of --teacher; arms with other grids are then left out. With neither, the
    banks are synthetic and know no EEG."""
    seeds: int = 5
    """Runs of each arm."""
    arms: tuple[str, ...] = field(default_factory=tuple)
    """Arms to run, of b0 b1 b2 b3 random shuffled classes va-labels centred tau-0.07 tau-0.1 grid-7
    grid-9 geo-early kd-resnet50; by default all."""
    jobs: int = 0
    """Runs side by side; 0: one for each CPU core, or four on a GPU."""
    out: Path = Path("runs/ablation")
    """Folder of the ablation; an earlier one with the same options is continued."""
    keep_checkpoints: bool = False
    """Keep the checkpoints of finished runs (about 0.4 GB each for ResNet-18)."""

    def __post_init__(self) -> None:
        require(self.seeds >= 1, "seeds", self.seeds, "1 or more")
        require(self.jobs >= 0, "jobs", self.jobs, "0 or more")
        unknown = [name for name in self.arms if name not in ARMS]
        if unknown:
            raise ConfigError(
                f"--arms {' '.join(unknown)}: there is no such arm. Choose among {' '.join(ARMS)}."
            )
        if self.teacher is not None and self.bank is not None:
            raise ConfigError("--teacher and --bank both say where the bank comes from. Give one.")
