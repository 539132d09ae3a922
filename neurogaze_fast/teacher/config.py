"""Options of train_teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.config import Device, MachineConfig, require
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.training.resume import config_from_json


@dataclass(frozen=True)
class TeacherOptions:
    """What decides which teacher a run ends with."""

    maps: Positional[Annotated[Path | None, arg(metavar="MAPS")]] = None
    """Folder of maps written by prepare eeg; not needed with --resume."""
    out: Path | None = None
    """Folder to create; by default runs/<time>-teacher."""
    resume: Path | None = None
    """Continue this folder from its newest intact checkpoints, with its own options."""

    folds: int = 5
    """Groups of people held out in turn for the scores; 0: no scores."""
    clip_folds: int = 3
    """Groups of films held out in turn; with people, folds times this many teachers. 0: none."""
    splits: tuple[Literal["both", "people", "clips"], ...] = ("both", "people")
    """What is held out for the scores: people and films together, people alone (then a teacher may
    be right by recognising the film), films alone."""
    normalise: Literal["subject", "train", "none"] = "subject"
    """Scale of band power: z-scored by each person's own windows; by the training windows, so that
    one new clip can be scored alone; or as it is."""
    model: str = "topomap"
    """Network: topomap (ours, over maps), or one of braindecode's over the signals, such as EEGNet
    or TSception (prepare with --keep-signals)."""
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


@dataclass(frozen=True)
class TrainTeacherConfig(MachineConfig, TeacherOptions):
    """Train the EEG teacher on a folder of maps; --amp computes in bfloat16."""

    threads: int = 1
    """CPU threads; 0: as many as torch takes. The network is small: more threads wait for one
    another, and beside a busy process they make a run many times slower."""

    # The fields of the last base come first, so that --help ends with the machine's.

    def __post_init__(self) -> None:
        super().__post_init__()
        positive = ("epochs", "learning_rate", "clip", "width")
        for name in (*positive, "train_subjects", "valid_subjects"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("weight_decay", "consistency", "noise", "shift"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("warmup", "band_dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("folds", "clip_folds"):
            value = getattr(self, name)
            require(value == 0 or value >= 2, name, value, "0 or at least 2")
        require(len(self.splits) > 0, "splits", "empty", "at least one of both, people, clips")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more (BatchNorm)")


@dataclass(frozen=True)
class PredictEegConfig:
    """Valence and arousal of recordings, by a trained EEG teacher."""

    recording: Positional[Annotated[Path, arg(metavar="RECORDING")]]
    """A recording, or the folder that the files named in --clips lie in."""
    teacher: Path
    """Folder written by train-teacher, or its teacher.safetensors."""
    clips: Path | None = None
    """CSV of the clips, as --ratings of prepare eeg (ratings may be empty); by default the whole
    recording is one clip."""
    baseline: tuple[float, float] | None = None
    """Seconds from and to of a rest within the recording, without --clips."""
    montage: str | None = None
    """Where its channels are: a montage of MNE's (GSN-HydroCel-128, biosemi128, ...) or a file."""
    csv: Path | None = None
    """Also write one row for each window to this file."""
    device: Device = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.clips is not None and self.baseline is not None:
            raise ConfigError("--baseline is for a whole recording; with --clips, the csv has it.")


def teacher_config_from_json(path: Path) -> TrainTeacherConfig:
    """Read the config.json of a teacher's folder.

    Raises:
        ConfigError: unreadable, edited, or of another version.
    """
    before = {"splits": ("people",), "clip_folds": 0}
    return config_from_json(
        TrainTeacherConfig, path, ("maps", "out", "resume"), ("splits",), before
    )


def maps_folder(config: TrainTeacherConfig) -> Path:
    """The folder of maps to train on, from the root of the file system.

    Raises:
        ConfigError: there is none.
    """
    if config.maps is None:
        raise ConfigError(
            "Name the folder of maps to train on: neurogaze-fast train-teacher "
            "MAPS. Maps are made by: neurogaze-fast prepare eeg."
        )
    return Path(config.maps).resolve()
