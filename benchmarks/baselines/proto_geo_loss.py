"""The fastest plain torch for proto_geo_loss that we found, kept as it is to compare with.

Against the readable reference: one fused kl_div, class sums by a one-hot matrix product (its
backward is a product too, where index_add's gathers), no label check, pairs by an upper triangle
made once.
"""

import torch
import torch.nn.functional as F

from neurogaze_fast.reference.proto_geo_loss import SHORTEST_MEAN

_PAIRS = torch.triu(torch.ones(8, 8), diagonal=1)


def proto_geo_loss(features, prototypes, target_cells, labels, *, tau, variance_cap, margin, high):
    """`high`: float [8], 1 where the cap acts; everything else as the reference."""
    z = F.normalize(features.float(), dim=1)
    p = F.normalize(prototypes, dim=1)
    log_student = F.log_softmax(z @ p.T / tau, dim=1)
    proto = F.kl_div(log_student, target_cells, reduction="batchmean")

    member = F.one_hot(labels, 8).to(z.dtype)
    counts = member.sum(0)
    mu = member.T @ z / counts.clamp_min(1).unsqueeze(1)
    kept = (counts >= 2).to(z.dtype)
    capped = high * kept
    cap = (F.relu(1 - mu.square().sum(1) - variance_cap) * capped).sum() / capped.sum().clamp_min(1)
    direction = F.normalize(mu, dim=1, eps=SHORTEST_MEAN)
    pairs = _PAIRS.to(z.device) * kept.unsqueeze(0) * kept.unsqueeze(1)
    spread = F.relu(margin - 1 + direction @ direction.T) * pairs
    return proto, cap, spread.sum() / pairs.sum().clamp_min(1)


def products_only(features, prototypes):
    """The two matrix products nobody can do without: cosines, and their gradient."""
    with torch.no_grad():
        return (features @ prototypes.T) @ prototypes
