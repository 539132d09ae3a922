"""Options of every command, as frozen dataclasses that tyro turns into flags.

The docstring under each field is its help text; a test fails where one is missing.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.artifacts import canonical_json, sha256_bytes
from neurogaze_fast.errors import ConfigError

Faces = Literal["ferplus", "affectnet", "ckplus", "manifest", "folder", "shards", "demo"]
Device = Literal["auto", "cpu", "cuda"]


def seal(description: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with its own SHA-256 added, so that a later edit is noticed."""
    return {**description, "sha256": sha256_bytes(canonical_json(description))}


def unseal(sealed: dict[str, Any]) -> dict[str, Any]:
    """The object :func:`seal` was given.

    Raises:
        ValueError: it was changed since.
    """
    description = {key: value for key, value in sealed.items() if key != "sha256"}
    if sealed.get("sha256") != sha256_bytes(canonical_json(description)):
        raise ValueError("its hash differs: it was edited")
    return description


def require(condition: bool, name: str, value: Any, rule: str) -> None:
    if not condition:
        flag = name.replace("_", "-")
        raise ConfigError(f"--{flag} is {value}; it must be {rule}.")


@dataclass(frozen=True)
class TrainConfig:
    """Train a student on faces."""

    data: Path | None = None
    """Folder of the face set (FERPlus: fer2013.csv + fer2013new.csv, or the PNG folders)."""
    faces: Faces | None = None
    """Kind of face set; by default told from what lies in --data, else demo."""
    bank: Path | None = None
    """Prototype bank (.safetensors); without one a synthetic bank that knows no EEG is used."""
    out: Path | None = None
    """Run folder to create; by default runs/<time>-<faces>-<variant>."""
    resume: Path | None = None
    """Continue this run folder from its newest intact checkpoint, with its own options."""
    init: Path | None = None
    """Start from these weights: a run's model.safetensors, or any torchvision state_dict as
    safetensors with --stem imagenet."""

    variant: Literal["b0", "b1", "b2", "b3"] = "b3"
    """b0: CE; b1: + KD; b2: + Proto-KD; b3: + D-Geo."""
    recipe: Literal["default", "paper", "fast"] = "default"
    """default: ours, the best found; paper: the published settings; fast: ours with 12 epochs.
    Where neither this nor --data is given: fast, because the demo set is small."""
    model: Literal["resnet18", "resnet50"] = "resnet18"
    """Student network."""
    stem: Literal["small", "imagenet"] = "small"
    """small: 3x3 stride 2, no pooling (48-pixel faces); imagenet: 7x7 stride 2 and pooling."""
    size: int = 48
    """Side of the square image the network sees, pixels."""
    start_size: int | None = 32
    """Train from this side up to --size in three steps, so that early epochs are cheaper; None, or
    anything from --size on, trains at --size throughout."""

    labels: Literal["argmax", "majority", "votes"] = "argmax"
    """Rows trained on and cross-entropy's targets; scores always use argmax."""
    class_weights: Literal["sqrt", "inverse", "none"] = "sqrt"
    """Class weights of cross-entropy: power of the inverse frequency."""
    kd_teacher: str = "votes"
    """votes: the raters as teacher; or a run folder whose model gives the logits."""
    kd_loss: Literal["kl", "mse"] = "kl"
    """Distillation on softened probabilities, or on logits."""
    kd_weight: float = 1.0
    """Weight of KD."""
    kd_temperature: float = 1.0
    """Temperature of --kd-loss kl."""
    proto_weight: float = 0.12
    """Weight of Proto-KD."""
    tau: float = 0.90
    """Softmax temperature of Proto-KD's cosines."""
    sigma: float = 0.3
    """Width of an emotion's target over the bank's cells, on the [-1, 1] scale."""
    hard_cells: bool = False
    """One cell per emotion as the target (surprise meets fear, anger meets contempt)."""
    prototypes: Literal["bank", "random", "shuffled", "classes", "valence-arousal"] = "bank"
    """What Proto-KD pulls towards: the bank, or a control: random directions, the bank in another
    order, one direction for each emotion, or soft labels of valence and arousal alone."""
    centre_bank: bool = False
    """Subtract the bank's mean direction first."""
    geo_weight: float = 0.012
    """Weight of D-Geo."""
    variance_cap: float = 0.2
    """D-Geo: variance a high-valence class may have."""
    margin: float = 0.5
    """D-Geo: cosine distance class means should keep."""
    geo_start: float = 0.2
    """D-Geo: fraction of the run at which its ramp starts."""
    geo_end: float = 0.6
    """D-Geo: fraction of the run at which its ramp reaches 1."""
    label_smoothing: float = 0.055
    """Label smoothing of cross-entropy."""

    epochs: int = 24
    """Passes over the training rows."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.05
    """Weight decay of AdamW (not on biases and normalisation)."""
    warmup: float = 0.05
    """Fraction of the run over which the learning rate rises linearly; cosine to 0 after."""
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which is then scored; 0: off.
    A batch that was skipped counts as a step."""
    augment: bool = True
    """Random rotation, scale, shift, flip, brightness, contrast and cutout."""
    flip: bool = True
    """Score the mean of the probabilities of each face and its mirror image: two passes a face."""
    select: Literal["macro_f1", "accuracy", "last"] = "macro_f1"
    """What chooses the epoch kept as model.safetensors, on valid; last: no choosing."""

    loader: Literal["auto", "resident", "dali", "torch"] = "auto"
    """Where images come from in the loop: resident memory, or decoded batch by batch by DALI or by
    torch's worker processes; auto: resident where the set fits, else DALI where it is installed."""
    workers: int = 0
    """Processes of --loader torch, threads of --loader dali; 0: as many as there are cores, at
    most 8."""
    cuda_graph: bool = True
    """Capture the whole step as one CUDA graph for each image size, wherever that can be: on one
    GPU, and not with --amp-dtype fp16."""
    compile: bool = False
    """Compile the network with torch.compile (once for each image size)."""
    amp: bool = False
    """Mixed precision."""
    amp_dtype: Literal["bf16", "fp16"] = "bf16"
    """Precision of --amp; fp16 adds a gradient scaler."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""
    threads: int = 0
    """CPU threads; 0: as many as torch takes. The last digits of a result depend on it."""
    deterministic: bool = False
    """On a GPU, only deterministic kernels (a CPU run repeats bitwise with the same threads)."""
    seed: int = 0
    """Seed of initial weights, order and augmentation."""
    checkpoint_minutes: float = 5.0
    """Save a checkpoint at least this often, and after every epoch."""
    log_every: int = 20
    """Steps between two looks at the losses."""

    def __post_init__(self) -> None:
        positive = ("size", "epochs", "batch_size", "learning_rate", "kd_temperature", "tau")
        for name in (*positive, "sigma", "clip", "log_every", "checkpoint_minutes"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        weights = ("kd_weight", "proto_weight", "geo_weight", "weight_decay", "threads", "margin")
        for name in (*weights, "variance_cap", "seed", "workers"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("label_smoothing", "warmup", "ema"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        ordered = 0 <= self.geo_start <= self.geo_end <= 1
        require(ordered, "geo_start", self.geo_start, "at most --geo-end, both in [0, 1]")
        require(self.size >= 16, "size", self.size, "16 or more")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more (BatchNorm)")
        require(self.seed < 2**31, "seed", self.seed, "below 2147483648")
        enough = self.start_size is None or self.start_size >= 16
        require(enough, "start_size", self.start_size, "16 or more, or None")
        if self.labels == "votes" and self.kd_teacher == "votes" and self.variant != "b0":
            raise ConfigError(
                "--labels votes gives cross-entropy the same targets as the default KD teacher, so "
                "KD would teach nothing new. Use --labels argmax, or --kd-teacher RUN, or "
                "--variant b0."
            )


PAPER = TrainConfig(
    recipe="paper",
    stem="imagenet",
    size=224,
    start_size=None,
    kd_loss="mse",
    kd_weight=0.30,
    kd_temperature=5.0,
    batch_size=128,
    epochs=100,
    learning_rate=2e-4,
    warmup=0.0,
    flip=False,
)
"""AdamW 2e-4, decay 0.05, cosine, batch 128, clip 1.0, 100 epochs, KD 0.30 (``kd_mse``), Proto-KD
0.12 at tau 0.90, D-Geo 0.012 from epoch 20 to 60, smoothing 0.055, no EMA. Size 224 is that of the
authors' evaluation command; warm-up, augmentation and the KD teacher are not published: none, ours,
and the raters' votes."""

RECIPES = {
    "default": TrainConfig(),
    "paper": PAPER,
    "fast": TrainConfig(recipe="fast", epochs=12),
}


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
    flip: bool | None = None
    """Score the mean of each face and its mirror image; by default as the run's own scores were
    made."""
    out: Path | None = None
    """Folder to write; by default RUN/evaluation/<kind>-<split>. An earlier evaluation of the same
    model is replaced."""
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
        if self.verify and (self.split is not None or self.out is not None):
            raise ConfigError(
                "--verify scores the splits that the run recorded and writes nothing: leave out "
                "--split and --out."
            )


def to_dict(config: Any) -> dict[str, Any]:
    """A config as a JSON object; paths become strings."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(config).items()
    }


def train_config_from_json(path: Path) -> TrainConfig:
    """Read a run's config.json.

    Raises:
        ConfigError: unreadable, or of another version.
    """
    try:
        values = unseal(json.loads(Path(path).read_text()))["config"]
        for name in ("data", "bank", "out", "resume", "init"):
            values[name] = None if values[name] is None else Path(values[name])
        return TrainConfig(**values)
    except OSError as cause:
        raise ConfigError(
            f"{path} cannot be read ({cause.strerror}): is this a run folder?"
        ) from cause
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise ConfigError(
            f"{path} is damaged or was written by another version ({cause})."
        ) from cause
