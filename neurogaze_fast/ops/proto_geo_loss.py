"""Proto-KD and D-Geo: native forward and backward in at most three launches on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neurogaze_fast import reference
from neurogaze_fast.ops import _library
from neurogaze_fast.reference.proto_geo_loss import Reduce, check_arguments

MAX_CLASSES, MAX_CELLS = 32, 256
"""More classes or cells than this run on the reference."""


def proto_geo_loss(
    features: Tensor,
    prototypes: Tensor,
    target_cells: Tensor,
    labels: Tensor,
    *,
    tau: float,
    variance_cap: float,
    margin: float,
    high_valence: Sequence[int],
    num_classes: int = 8,
    reduce: Reduce | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine Proto-KD towards the bank, and the two D-Geo terms.

    Definition, shapes and errors: :func:`neurogaze_fast.reference.proto_geo_loss`. Native kernels
    give the gradient with respect to `features` only; where `prototypes` or `target_cells` ask for
    one, the reference runs. A label out of range raises on the CPU; on CUDA, where nothing is read
    on the host, it makes all three results NaN. Differentiable once.

    `reduce` may be any function torch can differentiate; with
    ``torch.distributed.nn.functional.all_reduce`` on both sums and counts, class means are those of
    the global batch.
    """
    check_arguments(
        features, prototypes, target_cells, labels, tau, variance_cap, margin, high_valence,
        num_classes,
    )  # fmt: skip
    if (
        not _library.native(features.device.type)
        or prototypes.requires_grad
        or target_cells.requires_grad
        or num_classes > MAX_CLASSES
        or prototypes.shape[0] > MAX_CELLS
        or features.shape[0] == 0
    ):
        return reference.proto_geo_loss(
            features,
            prototypes,
            target_cells,
            labels,
            tau=tau,
            variance_cap=variance_cap,
            margin=margin,
            high_valence=high_valence,
            num_classes=num_classes,
            reduce=reduce,
        )
    classes = sum(1 << c for c in set(high_valence))
    if reduce is None:
        return _ProtoGeoLoss.apply(
            features, prototypes, target_cells, labels,
            (tau, variance_cap, margin, classes, num_classes),
        )  # fmt: skip
    proto, sums, counts = _Rows.apply(
        features, prototypes, target_cells, labels, (tau, num_classes)
    )
    sums, counts = reduce(sums, counts)
    cap, spread = _Classes.apply(sums, counts, (variance_cap, margin, classes))
    return proto, cap, spread


def rows_per_sum(batch: int, device: str) -> int:
    """Rows whose class sums are made together before all are added in order.

    A function of the batch alone, so results do not depend on the number of threads.
    """
    if device == "cuda":
        return 16 * -(-batch // (16 * 128))  # one block each, at most 128
    return min(max(-(-batch // 128) * 8, 32), 128)


class _ProtoGeoLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, prototypes: Tensor, cells: Tensor, labels: Tensor, options: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        chunk = rows_per_sum(features.shape[0], features.device.type)
        try:
            proto, cap, margin, unit, stats, pull = _library.operators().proto_geo_loss(
                features, prototypes, cells, labels, *options, chunk
            )
        except RuntimeError as error:
            raise _library.readable(error, "labels must lie in") from None
        ctx.save_for_backward(features, prototypes, labels, unit, stats, pull)
        return proto, cap, margin

    @staticmethod
    def backward(ctx: Any, proto: Tensor, cap: Tensor, margin: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            gradient = _library.operators().proto_geo_loss_backward(
                proto, cap, margin, *ctx.saved_tensors
            )
        return _library.once(gradient, ctx.saved_tensors[0]), None, None, None, None


class _Rows(torch.autograd.Function):
    """Proto-KD and class sums of the local rows."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, prototypes: Tensor, cells: Tensor, labels: Tensor, options: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        chunk = rows_per_sum(features.shape[0], features.device.type)
        try:
            sums, counts, losses, unit, stats = _library.operators().proto_geo_loss_rows(
                features, prototypes, cells, labels, *options, chunk
            )
        except RuntimeError as error:
            raise _library.readable(error, "labels must lie in") from None
        sums, counts = sums.sum(0), counts.sum(0)
        ctx.save_for_backward(features, prototypes, labels, unit, stats)
        ctx.mark_non_differentiable(counts)
        return losses.sum() / features.shape[0], sums, counts

    @staticmethod
    def backward(ctx: Any, proto: Tensor, sums: Tensor, _counts: Any) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            pull = torch.stack((sums, torch.zeros_like(sums)))
            gradient = _library.operators().proto_geo_loss_backward(
                proto, torch.ones_like(proto), torch.zeros_like(proto), *ctx.saved_tensors, pull
            )
        return _library.once(gradient, ctx.saved_tensors[0]), None, None, None, None


class _Classes(torch.autograd.Function):
    """D-Geo from class sums and counts."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, counts: Tensor, options: Any) -> tuple[Tensor, Tensor]:
        losses = sums.new_zeros(1)
        _, cap, margin, pull = _library.operators().proto_geo_loss_classes(
            sums.unsqueeze(0), counts.unsqueeze(0), losses, 1, *options
        )
        ctx.save_for_backward(sums, pull)
        return cap, margin

    @staticmethod
    def backward(ctx: Any, cap: Tensor, margin: Tensor) -> tuple[Tensor | None, ...]:
        sums, pull = ctx.saved_tensors
        with torch.no_grad():
            gradient = (cap * pull[0] + margin * pull[1]).to(sums.dtype)
        return _library.once(gradient, sums), None, None


def _fake_rows(
    features: Tensor,
    prototypes: Tensor,
    cells: Tensor,
    labels: Tensor,
    tau: float,
    num_classes: int,
    chunk: int,
) -> tuple[Tensor, ...]:
    batch, width = features.shape
    parts = (batch + chunk - 1) // chunk
    wide = _wide(features)
    return (
        wide.new_empty((parts, num_classes, width)),
        wide.new_empty((parts, num_classes)),
        wide.new_empty((parts,)),
        wide.new_empty((batch, prototypes.shape[0])),
        wide.new_empty((batch, 2)),
    )


def _fake_classes(
    sums: Tensor, counts: Tensor, losses: Tensor, batch: int, *_options: Any
) -> tuple[Tensor, ...]:
    _, classes, width = sums.shape
    return (*(sums.new_empty(()) for _ in range(3)), sums.new_empty((2, classes, width)))


def _fake_forward(
    features: Tensor,
    prototypes: Tensor,
    cells: Tensor,
    labels: Tensor,
    tau: float,
    variance_cap: float,
    margin: float,
    high_valence: int,
    num_classes: int,
    chunk: int,
) -> tuple[Tensor, ...]:
    batch, width = features.shape
    wide = _wide(features)
    return (
        *(wide.new_empty(()) for _ in range(3)),
        wide.new_empty((batch, prototypes.shape[0])),
        wide.new_empty((batch, 2)),
        wide.new_empty((2, num_classes, width)),
    )


def _fake_backward(
    _proto: Tensor, _cap: Tensor, _margin: Tensor, features: Tensor, *_saved: Tensor
) -> Tensor:
    return features.new_empty(features.shape)


def _wide(features: Tensor) -> Tensor:
    wide = torch.float64 if features.dtype == torch.float64 else torch.float32
    return features.new_empty((0,), dtype=wide)


_library.declare(
    "proto_geo_loss(Tensor features, Tensor prototypes, Tensor target_cells, Tensor labels, "
    "float tau, float variance_cap, float margin, int high_valence, int num_classes, int chunk) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _fake_forward,
)
_library.declare(
    "proto_geo_loss_rows(Tensor features, Tensor prototypes, Tensor target_cells, Tensor labels, "
    "float tau, int num_classes, int chunk) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _fake_rows,
)
_library.declare(
    "proto_geo_loss_classes(Tensor sums, Tensor counts, Tensor losses, int batch, "
    "float variance_cap, float margin, int high_valence) -> (Tensor, Tensor, Tensor, Tensor)",
    _fake_classes,
)
_library.declare(
    "proto_geo_loss_backward(Tensor grad_proto, Tensor grad_cap, Tensor grad_margin, "
    "Tensor features, Tensor prototypes, Tensor labels, Tensor unit, Tensor row_stats, "
    "Tensor pull) -> Tensor",
    _fake_backward,
)
