"""An exponential moving average of a student's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class ExponentialMovingAverage:
    """A second model whose weights follow the trained one's slowly.

    The decay starts small, min(decay, (1 + n) / (10 + n)) after n updates, so that a short run's
    average is not held back by the initial weights. Nothing is read on the host.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        own_values, values = self.module.state_dict().values(), model.state_dict().values()
        pairs = list(zip(own_values, values, strict=True))
        self._averaged = [(own, other) for own, other in pairs if own.is_floating_point()]
        self._copied = [(own, other) for own, other in pairs if not own.is_floating_point()]
        device = next(model.parameters()).device
        self._updates = torch.zeros((), dtype=torch.float32, device=device)

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the model's present weights and buffers."""
        follow = 1 - torch.clamp((1 + self._updates) / (10 + self._updates), max=self._decay)
        own = [pair[0] for pair in self._averaged]
        change = torch._foreach_sub([pair[1] for pair in self._averaged], own)
        torch._foreach_mul_(change, follow)
        torch._foreach_add_(own, change)
        for mine, other in self._copied:
            mine.copy_(other)
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and how many updates made them."""
        return {"module": self.module.state_dict(), "updates": self._updates.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.module.load_state_dict(state["module"])
        self._updates.copy_(state["updates"])
