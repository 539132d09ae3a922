"""AdamW as both trainers use it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import AdamW


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float | Tensor,
    weight_decay: float,
    capturable: bool = False,
) -> AdamW:
    """Fused AdamW that decays weights but not biases and normalisation (what has one dimension).

    Args:
        learning_rate: a tensor on the device where the step is captured into a CUDA graph, into
            which a number would be frozen.
    """
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(
        groups, lr=learning_rate, weight_decay=weight_decay, fused=True, capturable=capturable
    )
