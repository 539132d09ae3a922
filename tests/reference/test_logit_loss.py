"""CE and KD against the definitions written out."""

import pytest
import torch
import torch.nn.functional as F

from neurogaze_fast.reference import logit_loss

OPTIONS = {"label_smoothing": 0.055, "kd": "kl", "temperature": 5.0}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 8, generator=generator, dtype=torch.float64)
    targets = torch.rand(9, 8, generator=generator, dtype=torch.float64)
    weights = torch.rand(8, generator=generator, dtype=torch.float64)
    teacher = torch.randn(9, 8, generator=generator, dtype=torch.float64)
    return logits, targets / targets.sum(1, keepdim=True), weights, teacher


def test_cross_entropy_is_the_sum_written_out(batch):
    logits, targets, weights, _ = batch
    ce, kd = logit_loss(logits, targets, weights, None, **OPTIONS)
    smooth = targets * (1 - 0.055) + 0.055 / 8
    expected = -(smooth * weights * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(ce, expected)
    assert kd == 0


def test_hard_targets_equal_weighted_index_cross_entropy_up_to_its_norm(batch):
    logits, _, weights, _ = batch
    labels = torch.arange(9) % 8
    ce, _ = logit_loss(
        logits, F.one_hot(labels, 8).double(), weights, None, **OPTIONS | {"label_smoothing": 0}
    )
    per_row = F.cross_entropy(logits, labels, weight=weights, reduction="none")
    torch.testing.assert_close(ce, per_row.mean())


def test_kl_is_hintons(batch):
    logits, targets, weights, teacher = batch
    _, kd = logit_loss(logits, targets, weights, teacher, **OPTIONS)
    p, q = (teacher / 5).softmax(1), (logits / 5).softmax(1)
    torch.testing.assert_close(kd, 25 * (p * (p / q).log()).sum(1).mean())


def test_mse_is_on_logits(batch):
    logits, targets, weights, teacher = batch
    _, kd = logit_loss(logits, targets, weights, teacher, **OPTIONS | {"kd": "mse"})
    torch.testing.assert_close(kd, ((logits - teacher) ** 2).mean())


@pytest.mark.parametrize("kd", ["kl", "mse"])
def test_gradients(batch, kd):
    logits, targets, weights, teacher = batch
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: logit_loss(z, targets, weights, teacher, **OPTIONS | {"kd": kd}), logits
    )


def test_half_precision_is_summed_in_float32(batch):
    logits, targets, weights, teacher = (x.float() for x in batch)
    ce, kd = logit_loss(logits.bfloat16(), targets, weights, teacher, **OPTIONS)
    assert ce.dtype == kd.dtype == torch.float32
    exact, _ = logit_loss(logits.bfloat16().double(), targets, weights, teacher, **OPTIONS)
    torch.testing.assert_close(ce.double(), exact, rtol=1e-5, atol=1e-5)


def test_empty_batch_is_zero_and_differentiable():
    logits = torch.zeros(0, 8, requires_grad=True)
    ce, kd = logit_loss(logits, torch.zeros(0, 8), torch.ones(8), torch.zeros(0, 8), **OPTIONS)
    (ce + kd).backward()
    assert ce == kd == 0
    assert logits.grad.shape == (0, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(2, 7)}, r"\[B, C\]"),
        ({"class_weights": torch.ones(7)}, "class_weights"),
        ({"teacher_logits": torch.zeros(3, 8)}, "teacher_logits"),
        ({"kd": "l1"}, "kd must be"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_unfitting_arguments_are_refused(change, message):
    arguments = {
        "logits": torch.zeros(2, 8),
        "targets": torch.zeros(2, 8),
        "class_weights": torch.ones(8),
        "teacher_logits": torch.zeros(2, 8),
        **OPTIONS,
    } | change
    with pytest.raises(ValueError, match=message):
        logit_loss(**arguments)
