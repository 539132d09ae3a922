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
    teacher: tuple[Path, ...] = ()
    """Runs of train-teacher: the banks of every grid are built from them. Seeds take turns: where
    there are several, every difference is over teachers, too."""
    bank: tuple[Path, ...] = ()
    """5x5 banks instead of --teacher, one or several; arms with other grids are then left out. With
    neither, the banks are synthetic and know no EEG."""
    seeds: int = 5
    """Runs of each arm."""
    arms: tuple[str, ...] = field(default_factory=tuple)
    """Arms to run, of b0 b1 b2 b3 random shuffled va-kernel same-spectrum classes va-labels centred
    tau-0.07 tau-0.1 grid-7 grid-9 distinct learnable learnable-random cap-auto cap-only geo-early
    kd-resnet50; by default all."""
    plan: Path | None = None
    """A plan file (TOML) that was written before the runs: it sets arms, seeds, train's options,
    and which differences were asked for; the report tells them from those looked at afterwards."""
    mixed: bool = False
    """Tabulate runs of different code, threads or machines, or of different banks within a seed,
    together; the tables then say so."""
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
        if self.teacher and self.bank:
            raise ConfigError("--teacher and --bank both say where the bank comes from. Give one.")
