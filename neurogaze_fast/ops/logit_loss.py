"""Cross-entropy and logit distillation with their gradients in one native pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurogaze_fast import reference
from neurogaze_fast.ops import _library
from neurogaze_fast.reference.logit_loss import check_arguments

_KD = {"mse": 1, "kl": 2}


def logit_loss(
    logits: Tensor,
    targets: Tensor,
    class_weights: Tensor,
    teacher_logits: Tensor | None,
    *,
    label_smoothing: float,
    kd: str,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Weighted, smoothed cross-entropy, and distillation from a teacher's logits.

    Definition, shapes and errors: :func:`neurogaze_fast.reference.logit_loss`. Native kernels give
    the gradient with respect to `logits` only; where another argument asks for one, the reference
    runs. Differentiable once.
    """
    check_arguments(
        logits, targets, class_weights, teacher_logits, label_smoothing, kd, temperature
    )
    others = (targets, class_weights, *(() if teacher_logits is None else (teacher_logits,)))
    if (
        not _library.native(logits.device.type)
        or any(value.requires_grad for value in others)
        or logits.shape[0] == 0
    ):
        return reference.logit_loss(
            logits,
            targets,
            class_weights,
            teacher_logits,
            label_smoothing=label_smoothing,
            kd=kd,
            temperature=temperature,
        )
    return _LogitLoss.apply(
        logits, targets, class_weights, teacher_logits,
        (float(label_smoothing), _KD[kd], float(temperature)),
    )  # fmt: skip


class _LogitLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        class_weights: Tensor,
        teacher_logits: Tensor | None,
        options: tuple[float, int, float],
    ) -> tuple[Tensor, Tensor]:
        ce, kd, d_ce, d_kd = _library.operators().logit_loss(
            logits, targets, class_weights, teacher_logits, *options
        )
        ctx.save_for_backward(d_ce, d_kd, logits)
        return ce, kd

    @staticmethod
    def backward(ctx: Any, ce: Tensor, kd: Tensor) -> tuple[Tensor | None, ...]:
        d_ce, d_kd, logits = ctx.saved_tensors
        with torch.no_grad():
            gradient = _library.operators().logit_loss_backward(ce, kd, d_ce, d_kd, logits)
        return _library.once(gradient, logits), None, None, None, None


def _fake_forward(
    logits: Tensor, targets: Tensor, weights: Tensor, teacher: Tensor | None, *_options: Any
) -> tuple[Tensor, ...]:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    empty = logits.new_empty((0,), dtype=wide)
    batch, classes = logits.shape
    return (
        empty.new_empty(()),
        empty.new_empty(()),
        empty.new_empty((batch, classes)),
        empty.new_empty((0 if teacher is None else batch, classes)),
    )


_library.declare(
    "logit_loss(Tensor logits, Tensor targets, Tensor class_weights, Tensor? teacher_logits, "
    "float label_smoothing, int kd, float temperature) -> (Tensor, Tensor, Tensor, Tensor)",
    _fake_forward,
)
_library.declare(
    "logit_loss_backward(Tensor grad_ce, Tensor grad_kd, Tensor d_ce, Tensor d_kd, Tensor logits) "
    "-> Tensor",
    lambda _ce, _kd, _d_ce, _d_kd, logits: logits.new_empty(logits.shape),
)
