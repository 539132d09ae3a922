"""Non-finite batches: leave the model as it was, name the batch, give up after eight in a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurogaze_fast.errors import NonFiniteError

LIMIT = 8
_CAPACITY = 64


class NonFiniteGuard:
    """Undoes what a non-finite batch would do, by selects on the device: no host sync in a step.

    The fused AdamW leaves weights, moments and step count alone where ``found_inf`` is 1; the
    buffers that the forward pass has already changed (BatchNorm's) are put back from a copy. The
    numbers of bad steps go to a small device buffer that :meth:`read` fetches now and then.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._buffers = [b for b in model.buffers() if b.numel()]
        self._copies = [b.clone() for b in self._buffers]
        self._log = torch.full((_CAPACITY,), -1, dtype=torch.int64, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._streak = torch.zeros((), dtype=torch.int64, device=device)
        self._worst = torch.zeros((), dtype=torch.int64, device=device)
        self._reported = 0

    def before_forward(self) -> None:
        """Remember the buffers."""
        if self._buffers:  # a network without BatchNorm has none
            torch._foreach_copy_(self._copies, self._buffers)

    def after_backward(self, loss: Tensor, gradient_norm: Tensor, step: int | Tensor) -> Tensor:
        """Restore the buffers if the batch was bad; return ``found_inf`` (float32, 0 or 1)."""
        bad = ~(torch.isfinite(loss.detach()) & torch.isfinite(gradient_norm))
        for buffer, copy in zip(self._buffers, self._copies, strict=True):
            buffer.copy_(torch.where(bad, copy, buffer))
        slot = self._count % _CAPACITY
        self._log.index_copy_(
            0, slot.view(1), torch.where(bad, step, self._log.index_select(0, slot.view(1)))
        )
        self._count += bad
        self._streak.copy_(torch.where(bad, self._streak + 1, 0))
        torch.maximum(self._worst, self._streak, out=self._worst)
        return bad.to(torch.float32)

    def read(self) -> tuple[list[int], bool]:
        """(bad steps since the last call, whether :data:`LIMIT` came in a row). Synchronises."""
        count = int(self._count)
        fresh = min(count - self._reported, _CAPACITY)
        steps = [int(self._log[(count - n) % _CAPACITY]) for n in range(fresh, 0, -1)]
        self._reported = count
        return steps, int(self._worst) >= LIMIT

    def require_some(self, good: float, epoch: int) -> None:
        """Refuse an epoch without one good batch: its weights would be those from before it.

        Raises:
            NonFiniteError: `good` is 0.
        """
        if not good:
            raise NonFiniteError(
                f"Every batch of epoch {epoch} was non-finite, so nothing was learnt in it. Look "
                "at the data named above, or lower --learning-rate."
            )

    def state_dict(self) -> dict[str, int]:
        """Counters, so that a streak survives a restart."""
        return {"streak": int(self._streak), "worst": int(self._worst)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore :meth:`state_dict`."""
        self._streak.fill_(state["streak"])
        self._worst.fill_(state["worst"])
