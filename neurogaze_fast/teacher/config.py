"""Options of train_teacher and build_prototypes, as frozen dataclasses that tyro turns into flags.

The docstring under each field is its help text; a test fails where one is missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.config import Device, require, unseal
from neurogaze_fast.errors import ConfigError


@dataclass(frozen=True)
class TrainTeacherConfig:
    """Train the EEG teacher on a folder of maps."""

    maps: Positional[Annotated[Path | None, arg(metavar="MAPS")]] = None
    """Folder of maps written by prepare eeg; not needed with --resume."""
    out: Path | None = None
    """Folder to create; by default runs/<time>-teacher."""
    resume: Path | None = None
    """Continue this folder from its newest intact checkpoints, with its own options."""

    folds: int = 5
    """Leave-subjects-out teachers trained for the scores; 0: none."""
    train_subjects: int = 16
    """Subjects trained on when the labelled ones are exactly --train-subjects plus
    --valid-subjects; any other number is split in this proportion."""
    valid_subjects: int = 7
    """Subjects whose windows make the prototype bank and are never trained on."""
    width: int = 512
    """Width of the embedding, and so of the bank."""

    epochs: int = 12
    """Passes over the labelled training windows."""
    batch_size: int = 128
    """Labelled windows a step."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.05
    """Weight decay of AdamW (not on biases and normalisation)."""
    warmup: float = 0.05
    """Fraction of the run over which the learning rate rises linearly; cosine to 0 after."""
    clip: float = 1.0
    """Largest gradient norm."""
    consistency: float = 0.5
    """Weight of the agreement of two views of unlabelled windows, ramped up; 0: leave them out."""
    band_dropout: float = 0.1
    """Chance of each band of a window to be blanked while training."""
    noise: float = 0.1
    """Standard deviation of the noise added while training, in standard deviations of the maps."""
    shift: float = 1.0
    """Largest shift of a map while training, pixels."""

    amp: bool = False
    """Mixed precision (bfloat16)."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""
    threads: int = 0
    """CPU threads; 0: as many as torch takes. The last digits of a result depend on it."""
    deterministic: bool = False
    """On a GPU, only deterministic kernels (a CPU run repeats bitwise with the same threads)."""
    seed: int = 0
    """Seed of the split, the initial weights, the order, the views and the bootstrap."""
    checkpoint_minutes: float = 5.0
    """Save a checkpoint at least this often, and after every epoch."""
    log_every: int = 20
    """Steps between two looks at the losses."""

    def __post_init__(self) -> None:
        positive = ("epochs", "learning_rate", "clip", "log_every", "checkpoint_minutes", "width")
        for name in (*positive, "train_subjects", "valid_subjects"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("weight_decay", "threads", "seed", "consistency", "noise", "shift"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("warmup", "band_dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        require(self.folds == 0 or self.folds >= 2, "folds", self.folds, "0 or at least 2")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more (BatchNorm)")
        require(self.seed < 2**31, "seed", self.seed, "below 2147483648")


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


def teacher_config_from_json(path: Path) -> TrainTeacherConfig:
    """Read the config.json of a teacher's folder.

    Raises:
        ConfigError: unreadable, edited, or of another version.
    """
    try:
        values = unseal(json.loads(Path(path).read_text()))["config"]
        for name in ("maps", "out", "resume"):
            values[name] = None if values[name] is None else Path(values[name])
        return TrainTeacherConfig(**values)
    except OSError as cause:
        raise ConfigError(
            f"{path} cannot be read ({cause.strerror}): is this a folder of train_teacher?"
        ) from cause
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise ConfigError(
            f"{path} is damaged or was written by another version ({cause})."
        ) from cause
