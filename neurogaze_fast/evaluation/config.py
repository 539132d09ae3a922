"""Options of evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.config import Device, Faces, OnConflict, require
from neurogaze_fast.errors import ConfigError


@dataclass(frozen=True)
class EvaluateConfig:
    """Score a trained run."""

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """Run folder, or a model.safetensors file."""
    data: Path | None = None
    """Folder of the face set; by default the one the run was trained on."""
    faces: Faces | None = None
    """Kind of face set; by default told from what lies in --data, or the run's."""
    split: Literal["train", "valid", "test", "all"] | None = None
    """Split to score; by default valid, or all of another set that has no official split."""
    neutral_frames: bool = False
    """CK+: also read the first frame of every sequence, as neutral."""
    on_conflict: OnConflict | None = None
    """Of an image that a manifest, AffectNet's csv or ckextended.csv lists with different labels or
    splits, drop all rows or keep the first (by default what the run was trained with, else such a
    table is refused)."""
    flip: bool | None = None
    """Score the mean of each face and its mirror image; by default as the run's own scores were
    made."""
    out: Path | None = None
    """Folder to write; by default RUN/evaluation/<kind>-<split>. An earlier evaluation of the same
    model is replaced."""
    corruptions: bool = False
    """Score damaged copies of the split's faces, and nothing else: 12 kinds of damage (noise, blur,
    JPEG, ...) at 5 strengths each (docs/corruptions.md)."""
    against: tuple[Path, ...] = ()
    """With --corruptions: further runs to score on the same pictures; errors are relative to
    RUN's."""
    seed: int = 0
    """With --corruptions: seed of what is random in them."""
    groups: str | None = None
    """With --faces manifest: also score by the groups in this column of the csv, with intervals and
    a test of whether they differ (docs/groups.md says what that can and cannot show)."""
    features: bool = False
    """Also draw the features in two dimensions, and the class means beside the bank."""
    verify: bool = False
    """Compare the run with its fingerprint.json and score it again, instead of scoring a set;
    --data then says where the set it was trained on lies now."""
    device: Device = "auto"
    """Where to compute."""
    batch_size: int = 512
    """Images at a time; does not change the result beyond rounding."""
    json: bool = False
    """Print the scores (or the checks) as JSON instead of a table."""

    def __post_init__(self) -> None:
        require(self.batch_size > 0, "batch_size", self.batch_size, "more than 0")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        if self.against and not self.corruptions:
            raise ConfigError("--against compares runs under --corruptions: give that, too.")
        if self.corruptions and (self.verify or self.groups is not None or self.features):
            raise ConfigError(
                "--corruptions scores in its own way: leave out --verify, --groups and --features."
            )
        own = self.split, self.out, self.groups
        if self.verify and (self.features or any(value is not None for value in own)):
            raise ConfigError(
                "--verify scores the splits that the run recorded and writes nothing: leave out "
                "--split, --out, --groups and --features."
            )
