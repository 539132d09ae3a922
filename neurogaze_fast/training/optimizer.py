"""AdamW as both trainers use it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW


class SkippingAdamW(AdamW):
    """Fused AdamW that can be told to leave weights, moments and step count alone."""

    # What torch's GradScaler would set. Without values here: torch asks whether they are set.
    found_inf: Tensor
    grad_scale: Tensor | None

    def skip_if(self, bad: Tensor) -> None:
        """Make no next step where `bad` float32 [] is 1; nothing is read on the host."""
        self.found_inf, self.grad_scale = bad, None


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float | Tensor,
    weight_decay: float,
    capturable: bool = False,
) -> SkippingAdamW:
    """Fused AdamW that decays weights but not biases and normalisation (what has one dimension).

    Args:
        learning_rate: a tensor on the device where the step is captured into a CUDA graph, into
            which a number would be frozen.
    """
    parameters = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return SkippingAdamW(
        groups, lr=learning_rate, weight_decay=weight_decay, fused=True, capturable=capturable
    )
