"""AdamW as both trainers use it: clipped, skipping bad batches, with an average that follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from neurogaze_fast.ops import gradient_norm, optimizer_step
from neurogaze_fast.reference.optimizer_step import move_towards


class SkippingAdamW(AdamW):
    """AdamW whose step is :func:`neurogaze_fast.ops.optimizer_step`; its state is torch's own.

    What the next step does beside AdamW is asked for before it: clip (:meth:`gradient_norm`), leave
    everything alone (:meth:`skip_if`), move an average (:meth:`lead`).
    """

    # What torch's GradScaler would set. Without values here: torch asks whether they are set.
    found_inf: Tensor
    grad_scale: Tensor | None
    # What was asked for the next step: (norm, clip), and averages with the share of their way.
    _clipping: tuple[Tensor, float] | None = None
    _averages: tuple[Mapping[Tensor, Tensor], Tensor] | None = None

    def skip_if(self, bad: Tensor) -> None:
        """Make no next step where `bad` float32 [] is 1; nothing is read on the host."""
        self.found_inf, self.grad_scale = bad, None

    def gradient_norm(self, clip: float) -> Tensor:
        """[] float32: norm of all gradients; the next step uses them scaled down to `clip`."""
        groups = self.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        norm = gradient_norm(gradients)
        self._clipping = (norm, clip)
        return norm

    def lead(self, averages: Mapping[Tensor, Tensor], share: Tensor) -> None:
        """Let the `averages` (of parameters) go that share of the way in the next step."""
        self._averages = (averages, share)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; then all of the above must be asked anew.

        A step to be skipped is the exception: it counts until :meth:`skip_if` says otherwise.
        """
        # torch's scaler passes no closure, and no scale once it has unscaled the gradients.
        assert closure is None
        assert getattr(self, "grad_scale", None) is None
        norm, clip = self._clipping or (None, math.inf)
        averages, share = self._averages or ({}, None)
        waiting = dict(averages)
        for group in self.param_groups:
            state: list[list[Tensor]] = [[] for _ in range(6)]
            parameters, gradients, means, squares, _, steps = state
            self._init_group(group, *state)
            optimizer_step(
                parameters,
                gradients,
                means,
                squares,
                steps,
                [waiting.pop(p, None) for p in parameters],
                rate=group["lr"],
                norm=norm,
                clip=clip,
                skip=getattr(self, "found_inf", None),
                follow=share,
                weight_decay=group["weight_decay"],
                betas=group["betas"],
                eps=group["eps"],
            )
        if waiting and share is not None:  # of parameters without a gradient
            move_towards(list(waiting.values()), [p.detach() for p in waiting], share)
        self._clipping = self._averages = None


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
