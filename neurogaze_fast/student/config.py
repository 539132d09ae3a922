"""Options of train, and its recipes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neurogaze_fast.config import Faces, MachineConfig, OnConflict, require
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.training.resume import config_from_json

VOTES = "votes"
"""The --kd-teacher that is the raters."""
LEARNABLE = ("learnable", "learnable-random")
"""The --prototypes that are trained with the student."""

Prototypes = Literal[
    "bank", "random", "shuffled", "same-spectrum", "va-kernel", "classes", "valence-arousal",
    "learnable", "learnable-random",
]  # fmt: skip


@dataclass(frozen=True)
class StudentOptions:
    """What decides which student a run ends with."""

    data: Path | None = None
    """Folder of the face set (FERPlus: fer2013.csv + fer2013new.csv, or the PNG folders)."""
    faces: Faces | None = None
    """Kind of face set; by default told from what lies in --data, else demo."""
    on_conflict: OnConflict | None = None
    """Of an image that a manifest, AffectNet's csv or ckextended.csv lists with different labels or
    splits, drop all rows or keep the first (by default such a table is refused)."""
    bank: Path | None = None
    """Prototype bank: .safetensors, or the .npz of the paper's authors (prototypes [G * G, D]; with
    centres [G * G, 2] or in this project's order). By default a synthetic one that knows no EEG."""
    out: Path | None = None
    """Run folder to create; by default runs/<time>-<faces>-<variant>."""
    resume: Path | None = None
    """Continue this run folder from its newest intact checkpoint, with its own options."""
    init: Path | None = None
    """Start from these weights: a run's model.safetensors, or any torchvision state_dict as
    safetensors with --stem imagenet."""

    variant: Literal["b0", "b1", "b2", "b3"] = "b3"
    """b0: cross-entropy (CE) alone; b1: and distillation from the raters' votes (KD); b2: and the
    pull towards the bank's prototypes (Proto-KD); b3: and the class means' geometry (D-Geo)."""
    recipe: Literal["default", "paper", "fast"] = "default"
    """default: ours, the best found; paper: the published settings; fast: ours with 12 epochs.
    Where neither this nor --data is given: fast, because the demo set is small."""
    model: Literal["resnet18", "resnet50", "compact", "compact-half"] = "resnet18"
    """Student network; compact: 0.7 million weights, for fast answers on a CPU; compact-half: half
    as wide."""
    stem: Literal["small", "imagenet"] = "small"
    """small: 3x3 stride 2, no pooling (48-pixel faces); imagenet: 7x7 stride 2 and pooling."""
    size: int = 48
    """Side of the square image the network sees, pixels."""
    start_size: int | None = 32
    """Train from this side up to --size in three steps, so that early epochs are cheaper; None, or
    anything from --size on, trains at --size throughout."""

    labels: Literal["argmax", "majority", "votes", "shared"] = "argmax"
    """Rows trained on and cross-entropy's targets; shared: argmax's rows, those tied for the most
    votes share the target. Models are chosen by argmax scores."""
    class_weights: Literal["sqrt", "inverse", "none", "fourth-root"] = "sqrt"
    """Weights of rare emotions in cross-entropy: this power of one over their frequency."""
    class_weight_mean: Literal["rows", "classes"] = "rows"
    """What of the class weights has mean 1: what the training rows get, so that cross-entropy is as
    large as without them; or the eight numbers, as version 0.1 had it (with sqrt cross-entropy is
    0.44 as large on FERPlus)."""
    kd_teacher: tuple[str, ...] = ("votes",)
    """votes: the raters as teacher; or run folders: the mean of their probabilities over an image
    and its mirror image."""
    kd_view: Literal["same", "plain"] = "same"
    """What a run as teacher looks at: the very view the student sees, at each step; or the image
    as it is, once before training (cheaper, and sooner learned by heart)."""
    kd_loss: Literal["kl", "mse"] = "kl"
    """Distillation on softened probabilities, or on logits."""
    kd_weight: float = 2.3
    """Weight of KD beside cross-entropy, whose weight is 1."""
    kd_temperature: float = 1.0
    """Temperature of --kd-loss kl."""
    proto_weight: float = 0.276
    """Weight of Proto-KD beside cross-entropy."""
    tau: float = 0.90
    """Softmax temperature of Proto-KD's cosines."""
    sigma: float = 0.3
    """Width of an emotion's target over the bank's cells, on the [-1, 1] scale."""
    hard_cells: bool = False
    """One cell per emotion as the target (surprise meets fear, anger meets contempt)."""
    distinct_cells: bool = False
    """Targets around eight different cells: without it those of anger and contempt are nearly the
    same (cosine 0.98)."""
    prototypes: Prototypes = "bank"
    """What Proto-KD pulls towards: the bank, or a control: random directions, the bank in another
    order, random ones with the bank's spectrum, a smooth map of valence and arousal with it, one
    direction for each emotion, or soft labels of valence and arousal alone; or prototypes that are
    trained with the student, from the bank or from random directions."""
    centre_bank: bool = False
    """Subtract the bank's mean direction first."""
    geo_weight: float = 0.0276
    """Weight of D-Geo beside cross-entropy, once its ramp has reached 1."""
    variance_cap: float | Literal["auto"] = 0.2
    """D-Geo: variance a high-valence class may have; auto: half of what these classes have on
    average shortly before D-Geo starts, so that it binds (0.2 hardly ever does)."""
    margin: float = 0.5
    """D-Geo: cosine distance that the class means of a batch should keep from one another."""
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
    clip: float = 2.3
    """Largest gradient norm."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which is then scored; 0: off.
    A batch that was skipped counts as a step."""
    augment: bool = True
    """Random rotation, scale, shift, flip, brightness, contrast and cutout."""
    crop_scale: float = 1.0
    """Also a random square crop of at least this share of the image's area, resized; 1: none."""
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
    winograd: bool = True
    """Train 3x3 convolutions by Winograd's products (fewer, rounded a little differently), on CPUs
    with bfloat16 arithmetic and --amp, unless --compile has them; scoring stays as it is."""
    amp_dtype: Literal["bf16", "fp16"] = "bf16"
    """Precision of --amp; fp16 adds a gradient scaler."""


@dataclass(frozen=True)
class TrainConfig(MachineConfig, StudentOptions):
    """Train a student on faces."""

    # The fields of the last base come first, so that --help ends with the machine's.

    def __post_init__(self) -> None:
        super().__post_init__()
        positive = ("size", "epochs", "batch_size", "learning_rate", "kd_temperature", "tau")
        for name in (*positive, "sigma", "clip"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        weights = ("kd_weight", "proto_weight", "geo_weight", "weight_decay", "margin")
        for name in (*weights, "workers"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        auto = self.variance_cap == "auto"
        fixed = not isinstance(self.variance_cap, str) and self.variance_cap >= 0
        require(auto or fixed, "variance_cap", self.variance_cap, "0 or more, or auto")
        if auto and self.variant == "b3" and self.geo_start == 0:
            raise ConfigError(
                "--variance-cap auto looks at the classes before D-Geo starts, and with --geo-start"
                " 0 there is no before. Start it later, or give the cap as a number."
            )
        for name in ("label_smoothing", "warmup", "ema"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        ordered = 0 <= self.geo_start <= self.geo_end <= 1
        require(ordered, "geo_start", self.geo_start, "at most --geo-end, both in [0, 1]")
        require(self.size >= 16, "size", self.size, "16 or more")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more (BatchNorm)")
        crop = self.crop_scale
        require(0 < crop <= 1, "crop_scale", crop, "more than 0, at most 1")
        require(self.augment or crop == 1, "crop_scale", crop, "1 where --no-augment is given")
        enough = self.start_size is None or self.start_size >= 16
        require(enough, "start_size", self.start_size, "16 or more, or None")
        crowd = self.kd_teacher == (VOTES,)
        require(
            crowd or (bool(self.kd_teacher) and VOTES not in self.kd_teacher),
            "kd_teacher", " ".join(self.kd_teacher) or "empty", "votes, or one run or more",
        )  # fmt: skip
        if self.labels == "votes" and crowd and self.variant != "b0":
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
    proto_weight=0.12,
    geo_weight=0.012,
    batch_size=128,
    epochs=100,
    learning_rate=2e-4,
    warmup=0.0,
    clip=1.0,
    flip=False,
)
"""AdamW 2e-4, decay 0.05, cosine, batch 128, clip 1.0, 100 epochs, KD 0.30 (``kd_mse``), Proto-KD
0.12 at tau 0.90, D-Geo 0.012 from epoch 20 to 60, smoothing 0.055, no EMA. Size 224 is that of the
authors' evaluation command. Not published are warm-up (none here), augmentation, class weights and
their scale, targets over the cells and D-Geo's formulas (ours) and the KD teacher (the raters'
votes): so this is the published numbers around our choices, and no reproduction."""

RECIPES = {
    "default": TrainConfig(),
    "paper": PAPER,
    "fast": TrainConfig(recipe="fast", epochs=12),
}


def train_config_from_json(path: Path) -> TrainConfig:
    """Read a run's config.json.

    Raises:
        ConfigError: unreadable, edited, or of another version.
    """
    return config_from_json(
        TrainConfig,
        path,
        ("data", "bank", "out", "resume", "init"),
        tuples=("kd_teacher",),
        before={"kd_view": "plain", "class_weight_mean": "classes", "winograd": False},
    )
