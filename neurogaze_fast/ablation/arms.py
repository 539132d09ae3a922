"""The arms of the ablation: the paper's four variants, and controls it does not report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KD_TEACHER = "kd-teacher"
"""The run that arm ``kd-resnet50`` takes its logits from."""
PAPER_GRID = 5


@dataclass(frozen=True)
class Arm:
    """One way to train, told from the others by a few options."""

    name: str
    says: str
    """What it is, for tables."""
    changes: dict[str, Any]
    """Fields of TrainConfig."""
    against: str | None
    """The arm it is compared with, seed by seed; None: with none."""
    grid: int | None = None
    """Side of the bank's grid, where it matters."""
    first: bool = field(default=False, kw_only=True)
    """Whether its seeds come before any of the others."""


def _b3(name: str, says: str, grid: int = PAPER_GRID, first: bool = False, **changes: Any) -> Arm:
    return Arm(name, says, {"variant": "b3", **changes}, "b3", grid, first=first)


_ALL = (
    Arm("b0", "CE", {"variant": "b0"}, None, first=True),
    Arm("b1", "CE + KD", {"variant": "b1"}, "b0", first=True),
    Arm("b2", "CE + KD + Proto-KD", {"variant": "b2"}, "b1", PAPER_GRID, first=True),
    Arm("b3", "CE + KD + Proto-KD + D-Geo", {"variant": "b3"}, "b2", PAPER_GRID, first=True),
    _b3("random", "B3, random prototypes", first=True, prototypes="random"),
    _b3("shuffled", "B3, the bank's prototypes in another order", first=True,
        prototypes="shuffled"),
    _b3("va-kernel", "B3, a smooth map of valence and arousal with the bank's spectrum, no EEG",
        first=True, prototypes="va-kernel"),
    _b3("same-spectrum", "B3, random prototypes with the bank's spectrum", first=True,
        prototypes="same-spectrum"),
    _b3("classes", "B3, one-hot class prototypes", prototypes="classes"),
    _b3("va-labels", "B3, soft V/A labels, no prototypes", prototypes="valence-arousal"),
    _b3("centred", "B3, bank without its mean direction", centre_bank=True),
    _b3("tau-0.07", "B3, tau 0.07", tau=0.07),
    _b3("tau-0.1", "B3, tau 0.1", tau=0.1),
    _b3("grid-7", "B3, 7x7 grid", 7),
    _b3("grid-9", "B3, 9x9 grid", 9),
    _b3("distinct", "B3, targets that keep anger and contempt apart", distinct_cells=True),
    _b3("learnable", "B3, prototypes learnt from the bank", prototypes="learnable"),
    _b3("learnable-random", "B3, prototypes learnt from random ones",
        prototypes="learnable-random"),
    Arm("cap-auto", "B3, a variance cap that binds", {
        "variant": "b3", "variance_cap": "auto",
    }, "b2", PAPER_GRID),
    Arm("cap-only", "B3, a variance cap that binds and no margin", {
        "variant": "b3", "variance_cap": "auto", "margin": 0.0,
    }, "b2", PAPER_GRID),
    _b3("geo-early", "B3, D-Geo from epoch 0", geo_start=0.0, geo_end=0.0),
    Arm("kd-resnet50", "CE + KD from a ResNet-50", {
        "variant": "b1", "kd_weight": 0.69, "kd_temperature": 5.0,
    }, "b1"),
)  # fmt: skip

ARMS = {arm.name: arm for arm in _ALL}
"""Every arm, in the order in which they are shown. ``b3`` itself is the case tau 0.9, 5x5."""

PRIMARY = ("b3", "va-kernel")
"""What the EEG in the bank adds to all that can be said of the grid without any."""
EXTRA_COMPARISONS = (
    PRIMARY,
    ("b3", "b0"),
    ("b3", "b1"),
    ("b3", "same-spectrum"),
    ("b3", "random"),
    ("b3", "shuffled"),
    ("random", "b1"),
    ("learnable", "learnable-random"),
)
"""Pairs (arm, compared with) beyond each arm's own, where both were run."""


def comparisons(names: set[str]) -> list[tuple[str, str]]:
    """Pairs (arm, compared with) among `names`, in the order of :data:`ARMS`.

    The mirror images of a pair (``random`` against ``b3``, and ``b3`` against ``random``) say the
    same; the second is kept, because it answers what the true bank adds.
    """
    pairs = [(arm.name, arm.against) for arm in _ALL if arm.against is not None]
    pairs = [p for p in pairs if p[::-1] not in EXTRA_COMPARISONS]
    return [p for p in dict.fromkeys([*pairs, *EXTRA_COMPARISONS]) if set(p) <= names]
