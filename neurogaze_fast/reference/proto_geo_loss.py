"""Proto-KD and D-Geo on one batch of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from neurogaze_fast.errors import OperatorError

Reduce = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
SHORTEST_MEAN = 0.01
"""A class mean shorter than this is divided by this and not by its length. Rows that cancel leave
rounding errors (1e-8), whose direction would be noise, with a gradient of 1e8. No class that means
anything is so short: the mean of ten thousand unrelated rows is as long as this."""


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

    Proto-KD (NeuroGaze-Distill): s_k = cos(f, p_k); mean over the batch of
    KL(q || softmax(s / tau)).

    D-Geo: with z = f / |f| and mu_c the mean of z over class c, the variance of a class is
    1 - |mu_c|^2 because |z| = 1. Over classes with at least two members,
    cap = mean over the `high_valence` classes present of relu(1 - |mu_c|^2 - variance_cap), and
    margin = mean over pairs of classes present of relu(margin - (1 - cos(mu_c, mu_c'))). No such
    class, or pair, gives 0. A mean next to 0 has no direction: in cos its length counts as at least
    :data:`SHORTEST_MEAN`, so that its cosines, and their gradient, fade to 0 with it.

    The paper names the terms (cap on the variance of happiness and surprise, global margin) but not
    their formulas, nor how the target over cells is made: those are our choices.

    Args:
        features: [B, D] any float dtype.
        prototypes: [K, D].
        target_cells: [B, K] each row a distribution over the bank's cells.
        labels: int64 [B] in 0..num_classes-1.
        tau: softmax temperature, > 0 (the paper: 0.90).
        variance_cap: v_max, the variance a high-valence class may have without penalty.
        margin: m, the cosine distance two class means should keep.
        high_valence: class indices the cap acts on.
        num_classes: C.
        reduce: hook (sums [C, D], counts [C]) -> the same over all processes.

    Returns:
        (proto, cap, margin): three scalars, float32 (float64 for float64 features).

    Raises:
        OperatorError: shapes do not agree, tau <= 0, or (on the CPU) a label is out of range.
    """
    check_arguments(
        features, prototypes, target_cells, labels, tau, variance_cap, margin, high_valence,
        num_classes,
    )  # fmt: skip
    if labels.device.type == "cpu" and len(labels):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= num_classes:
            raise OperatorError(f"labels must lie in 0..{num_classes - 1}, found {low}..{high}")
    device = "cpu" if features.is_meta else features.device.type
    with torch.autocast(device, enabled=False):  # it would round the products
        return _loss(
            features, prototypes, target_cells, labels.long(), tau, variance_cap, margin,
            high_valence, num_classes, reduce,
        )  # fmt: skip


def _loss(
    features: Tensor,
    prototypes: Tensor,
    target_cells: Tensor,
    labels: Tensor,
    tau: float,
    variance_cap: float,
    margin: float,
    high_valence: Sequence[int],
    num_classes: int,
    reduce: Reduce | None,
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.float64 if features.dtype == torch.float64 else torch.float32
    z = F.normalize(features.to(wide), dim=1)
    p = F.normalize(prototypes.to(wide), dim=1)
    q = target_cells.to(wide)
    log_student = F.log_softmax(z @ p.T / tau, dim=1)
    proto = (torch.xlogy(q, q) - q * log_student).sum() / max(len(z), 1)

    sums = z.new_zeros(num_classes, z.shape[1]).index_add(0, labels, z)
    counts = z.new_zeros(num_classes).index_add(0, labels, z.new_ones(len(z)))
    if reduce is not None:
        sums, counts = reduce(sums, counts)
    mu = sums / counts.clamp_min(1).unsqueeze(1)
    kept = (counts >= 2).to(wide)

    high = torch.zeros_like(kept)
    for index in high_valence:
        high[index].fill_(1)  # a list of them would be copied from the host
    high = high * kept
    variance = 1 - mu.square().sum(1)
    cap = (F.relu(variance - variance_cap) * high).sum() / high.sum().clamp_min(1)

    direction = F.normalize(mu, dim=1, eps=SHORTEST_MEAN)
    distance = 1 - direction @ direction.T
    pairs = torch.triu(kept.unsqueeze(0) * kept.unsqueeze(1), diagonal=1)
    spread = (F.relu(margin - distance) * pairs).sum() / pairs.sum().clamp_min(1)
    return proto, cap, spread


def check_arguments(
    features: Tensor,
    prototypes: Tensor,
    target_cells: Tensor,
    labels: Tensor,
    tau: float,
    variance_cap: float,
    margin: float,
    high_valence: Sequence[int],
    num_classes: int,
) -> None:
    """Raise OperatorError where the arguments of :func:`proto_geo_loss` do not fit together."""
    if features.ndim != 2 or prototypes.ndim != 2 or features.shape[1] != prototypes.shape[1]:
        raise OperatorError(
            f"features [B, D] and prototypes [K, D] must share D, got {tuple(features.shape)} "
            f"and {tuple(prototypes.shape)}"
        )
    expected = (features.shape[0], prototypes.shape[0])
    if tuple(target_cells.shape) != expected:
        raise OperatorError(
            f"target_cells must be [B, K] = {expected}, got {tuple(target_cells.shape)}"
        )
    if tuple(labels.shape) != expected[:1]:
        raise OperatorError(f"labels must be [B] = {expected[:1]}, got {tuple(labels.shape)}")
    for name, value in (
        ("features", features),
        ("prototypes", prototypes),
        ("target_cells", target_cells),
    ):
        if not value.is_floating_point():
            raise OperatorError(f"{name} must have a floating dtype, got {value.dtype}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise OperatorError(f"labels must be integers, got {labels.dtype}")
    devices = {str(value.device) for value in (features, prototypes, target_cells, labels)}
    if len(devices) > 1:
        raise OperatorError(f"all tensors must be on one device, found {sorted(devices)}")
    if min(features.shape[1], prototypes.shape[0]) == 0:
        raise OperatorError("features need at least one column and the bank at least one cell")
    if not 0 < tau < math.inf:
        raise OperatorError(f"tau must be > 0 and finite, got {tau}")
    if not (abs(variance_cap) < math.inf and abs(margin) < math.inf):
        raise OperatorError(
            f"variance_cap and margin must be finite, got {variance_cap} and {margin}"
        )
    if num_classes < 1:
        raise OperatorError(f"num_classes must be at least 1, got {num_classes}")
    if any(not 0 <= c < num_classes for c in high_valence):
        raise OperatorError(f"high_valence must lie in 0..{num_classes - 1}, got {high_valence}")
