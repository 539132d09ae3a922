"""An exponential moving average of a student's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from neurogaze_fast.reference.optimizer_step import move_towards


class ExponentialMovingAverage:
    """A second model whose weights follow the trained one's slowly.

    The decay starts small, min(decay, (1 + n) / (10 + n)) after n updates, so that a short run's
    average is not held back by the initial weights. Nothing is read on the host.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        self.weights: dict[Tensor, Tensor] = dict(
            zip(model.parameters(), self.module.parameters(), strict=True)
        )
        """The average of each parameter, as :meth:`SkippingAdamW.lead` takes it."""
        self._buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        device = next(model.parameters()).device
        self._updates = torch.zeros((), dtype=torch.float32, device=device)

    def share(self) -> Tensor:
        """[] float32: the share of the way that the average goes in this update."""
        return 1 - torch.clamp((1 + self._updates) / (10 + self._updates), max=self._decay)

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the model's present weights and buffers."""
        parameters = [p.detach() for p in self.weights]
        move_towards(list(self.weights.values()), parameters, self.share())
        self.update_buffers()

    @torch.no_grad()
    def update_buffers(self) -> None:
        """The rest of an update whose weights the optimiser has led here."""
        followed = [pair for pair in self._buffers if pair[0].is_floating_point()]
        if followed:
            move_towards([own for own, _ in followed], [b for _, b in followed], self.share())
        for own, other in self._buffers:
            if not own.is_floating_point():
                own.copy_(other)
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and how many updates made them."""
        return {"module": self.module.state_dict(), "updates": self._updates.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.module.load_state_dict(state["module"])
        self._updates.copy_(state["updates"])
