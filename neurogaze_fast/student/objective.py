"""The student's objective: CE + KD + Proto-KD + D-Geo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurogaze_fast.emotions import high_valence_indices
from neurogaze_fast.ops import logit_loss, proto_geo_loss
from neurogaze_fast.reference.proto_geo_loss import Reduce
from neurogaze_fast.student.config import LEARNABLE, TrainConfig

TERMS = ("total", "ce", "kd", "proto", "geo_cap", "geo_margin")


@dataclass(frozen=True)
class ObjectiveWeights:
    """Every number of the objective."""

    kd: float
    proto: float
    geo: float
    label_smoothing: float
    kd_loss: str
    kd_temperature: float
    tau: float
    variance_cap: float
    """0 where it is still to be chosen: the term then is the variance itself."""
    margin: float
    soft_labels: bool = False
    """Proto-KD's targets are over the emotions, and compared with the student's softmax."""
    learnable: bool = False
    """The prototypes are trained with the student."""

    @classmethod
    def from_config(cls, config: TrainConfig) -> ObjectiveWeights:
        """The numbers of a run's options."""
        return cls(
            kd=config.kd_weight,
            proto=config.proto_weight,
            geo=config.geo_weight,
            label_smoothing=config.label_smoothing,
            kd_loss=config.kd_loss,
            kd_temperature=config.kd_temperature,
            tau=config.tau,
            variance_cap=0.0 if config.variance_cap == "auto" else float(config.variance_cap),
            margin=config.margin,
            soft_labels=config.prototypes == "valence-arousal",
            learnable=config.prototypes in LEARNABLE,
        )


@dataclass(frozen=True)
class Targets:
    """What a batch is compared with; every tensor has one row per image."""

    labels: Tensor
    """int64 [B]: D-Geo's classes."""
    targets: Tensor
    """float32 [B, 8]: cross-entropy's distributions."""
    teacher_logits: Tensor | None
    """float32 [B, 8], or None without KD."""
    cells: Tensor | None
    """float32 [B, K]: distribution over the bank's cells, or None without Proto-KD."""

    def rows(self, index: Tensor) -> Targets:
        """The rows `index` int64 [B]."""
        return Targets(
            self.labels[index],
            self.targets[index],
            None if self.teacher_logits is None else self.teacher_logits[index],
            None if self.cells is None else self.cells[index],
        )


class Objective(nn.Module):
    """Weighs the terms of a variant (b0: CE; b1: + KD; b2: + Proto-KD; b3: + D-Geo).

    Owns the prototypes, frozen or learnt, and the projector where one is needed.

    A bias-free linear projector comes before Proto-KD and D-Geo when the student's width differs
    from the bank's; it is trained with the student and dropped afterwards. There is none where its
    output would not count (b2 with soft labels): D-Geo, which is only shown then, looks at the
    features themselves.
    """

    class_weights: Tensor
    prototypes: Tensor | None

    def __init__(
        self,
        variant: str,
        weights: ObjectiveWeights,
        class_weights: Tensor,
        prototypes: Tensor | None,
        width: int,
        reduce: Reduce | None = None,
    ) -> None:
        """`reduce`: sums over processes, so that D-Geo's class means are the global batch's."""
        super().__init__()
        self.variant, self.weights, self._reduce = variant, weights, reduce
        self.variance_cap = weights.variance_cap
        self.register_buffer("class_weights", class_weights)
        if weights.learnable and prototypes is not None:
            self.prototypes = nn.Parameter(prototypes.clone())
        else:
            self.register_buffer("prototypes", prototypes)
        self.projector = None
        counts = variant == "b3" or not weights.soft_labels
        if prototypes is not None and prototypes.shape[1] != width and counts:
            self.projector = nn.Linear(width, prototypes.shape[1], bias=False)

    def forward(
        self, features: Tensor, logits: Tensor, batch: Targets, ramp: float | Tensor
    ) -> dict[str, Tensor]:
        """Features [B, D] and logits [B, 8] -> each of :data:`TERMS`.

        The terms come without their weights; ``total`` is their weighted sum.
        """
        w = self.weights
        ce, kd = logit_loss(
            logits,
            batch.targets,
            self.class_weights,
            batch.teacher_logits,
            label_smoothing=w.label_smoothing,
            kd=w.kd_loss,
            temperature=w.kd_temperature,
        )
        total = ce + w.kd * kd
        proto = cap = margin = torch.zeros_like(ce)
        if self.prototypes is not None:
            assert batch.cells is not None
            projected = features if self.projector is None else self.projector(features)
            bank = self.prototypes
            if bank.shape[1] != projected.shape[1]:  # soft labels: D-Geo looks at no bank
                bank = projected.new_ones(len(bank), projected.shape[1])
            proto, cap, margin = proto_geo_loss(
                projected,
                bank,
                batch.cells,
                batch.labels,
                tau=w.tau,
                variance_cap=self.variance_cap,
                margin=w.margin,
                high_valence=high_valence_indices(),
                reduce=self._reduce,
            )
            if w.soft_labels:
                proto = F.kl_div(logits.float().log_softmax(1), batch.cells, reduction="batchmean")
            total = total + w.proto * proto
            if self.variant == "b3":
                total = total + w.geo * ramp * (cap + margin)
        return dict(zip(TERMS, (total, ce, kd, proto, cap, margin), strict=True))
