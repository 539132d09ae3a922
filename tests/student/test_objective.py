"""Variants, weights and the projector."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurogaze_fast.emotions import EMOTIONS, HIGH_VALENCE, high_valence_indices
from neurogaze_fast.student.config import RECIPES
from neurogaze_fast.student.objective import TERMS, Objective, ObjectiveWeights, Targets
from neurogaze_fast.student.schedule import geo_ramp, image_size
from neurogaze_fast.training.schedule import learning_rate


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Targets(
        labels=torch.arange(32) % 8,
        targets=torch.nn.functional.one_hot(torch.arange(32) % 8, 8).float(),
        teacher_logits=torch.randn(32, 8),
        cells=torch.softmax(torch.randn(32, 25), 1),
    )


def terms(variant, batch, ramp=1.0, width=16, bank_width=16):
    torch.manual_seed(1)
    features, logits = torch.randn(32, width), torch.randn(32, 8)
    bank = torch.randn(25, bank_width) if variant in ("b2", "b3") else None
    weights = ObjectiveWeights.from_config(RECIPES["paper"])
    objective = Objective(variant, weights, torch.ones(8), bank, width)
    if variant == "b0":
        batch = Targets(batch.labels, batch.targets, None, None)
    return objective, objective(features, logits, batch, ramp)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("b0", {"ce": 1}),
        ("b1", {"ce": 1, "kd": 0.3}),
        ("b2", {"ce": 1, "kd": 0.3, "proto": 0.12}),
        ("b3", {"ce": 1, "kd": 0.3, "proto": 0.12, "geo_cap": 0.012, "geo_margin": 0.012}),
    ],
)
def test_total_is_the_weighted_sum_of_the_variants_terms(batch, variant, expected):
    _, values = terms(variant, batch)
    assert tuple(values) == TERMS
    total = sum(weight * values[name] for name, weight in expected.items())
    torch.testing.assert_close(values["total"], total)
    assert values["geo_cap"] + values["geo_margin"] > 0 or variant in ("b0", "b1")


def test_ramp_scales_only_the_geometry(batch):
    _, off = terms("b3", batch, ramp=0.0)
    _, without = terms("b2", batch)
    torch.testing.assert_close(off["total"], without["total"])


def test_projector_only_where_widths_differ(batch):
    same, _ = terms("b3", batch)
    other, values = terms("b3", batch, width=32)
    assert same.projector is None
    assert other.projector.weight.shape == (16, 32)
    assert other.projector.bias is None
    values["total"].backward()
    assert other.projector.weight.grad.abs().sum() > 0


def test_bank_is_frozen(batch):
    objective, _ = terms("b3", batch, width=32)
    assert [name for name, _ in objective.named_parameters()] == ["projector.weight"]
    assert not objective.prototypes.requires_grad


def test_learning_rate_warms_up_and_ends_near_zero():
    rates = [learning_rate(s, 100, peak=1.0, warmup=0.1) for s in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3
    assert learning_rate(0, 100, peak=1.0, warmup=0.0) == pytest.approx(1.0)


def test_ramp_is_the_late_half_cosine():
    values = [geo_ramp(e / 100, 0.2, 0.6) for e in range(100)]
    assert values[19] == 0
    assert values[20] == 0
    assert values[40] == pytest.approx(0.5)
    assert values[60] == 1
    assert values == sorted(values)
    assert geo_ramp(0.0, 0.0, 0.0) == 1


def test_progressive_sizes_rise_in_three_steps():
    sizes = [image_size(e, 20, size=48, start_size=24) for e in range(20)]
    assert sizes == [24] * 8 + [36] * 7 + [48] * 5
    assert {image_size(e, 5, size=48, start_size=None) for e in range(5)} == {48}
    assert {image_size(e, 5, size=48, start_size=64) for e in range(5)} == {48}
    assert image_size(0, 1, size=48, start_size=24) == 48


def test_sizes_never_fall():
    for epochs in range(1, 40):
        for start in (16, 23, 47, 48, 64, None):
            sizes = [image_size(e, epochs, size=48, start_size=start) for e in range(epochs)]
            assert sizes == sorted(sizes)


@pytest.mark.parametrize("width", [16, 24])
@pytest.mark.parametrize("soft_labels", [False, True], ids=["bank", "soft labels"])
@pytest.mark.parametrize("variant", ["b0", "b1", "b2", "b3"])
def test_whatever_is_trained_gets_a_gradient(batch, variant, soft_labels, width):
    """Else it would only decay, and processes that train together would wait for its gradient."""
    torch.manual_seed(3)
    images, body = torch.randn(32, 5), torch.nn.Linear(5, width)
    head, bank = torch.nn.Linear(width, 8), None
    if variant in ("b2", "b3"):
        cells = torch.softmax(torch.randn(32, 8), 1)
        batch, bank = replace(batch, cells=cells), torch.eye(8, 16)
    weights = replace(ObjectiveWeights.from_config(RECIPES["default"]), soft_labels=soft_labels)
    objective = Objective(variant, weights, torch.ones(8), bank, width)
    features = body(images)
    values = objective(features, head(features), batch, 1.0)
    values["total"].backward()
    for part in (body, head, objective):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    expected = width == 24 and variant in ("b2", "b3") and (variant, soft_labels) != ("b2", True)
    assert (objective.projector is not None) == expected


def test_soft_labels_without_a_projector_still_show_the_students_geometry(batch):
    """As it is where the widths are the same and none is needed."""
    torch.manual_seed(4)
    features, logits = torch.randn(32, 24), torch.randn(32, 8)
    batch = replace(batch, cells=torch.softmax(torch.randn(32, 8), 1))
    weights = replace(ObjectiveWeights.from_config(RECIPES["default"]), soft_labels=True)
    found = {
        width: Objective("b2", weights, torch.ones(8), torch.eye(8, width), 24)(
            features, logits, batch, 1.0
        )
        for width in (16, 24)
    }
    assert found[16]["geo_cap"] > 0
    for name in TERMS:
        torch.testing.assert_close(found[16][name], found[24][name])


OPTIONS = {
    "kd_weight": 0.7, "proto_weight": 0.3, "geo_weight": 0.2, "label_smoothing": 0.2,
    "kd_loss": "kl", "kd_temperature": 3.0, "tau": 0.35, "variance_cap": 0.15, "margin": 0.8,
}  # fmt: skip


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def by_hand(features, logits, bank, batch, weights, o):
    """The terms of the objective by their definitions, in numpy and float64."""
    f, z, p, t, q, y = (
        np.asarray(v, np.float64)
        for v in (features, logits, bank, batch.teacher_logits, batch.cells, batch.targets)
    )
    smooth = (1 - o["label_smoothing"]) * y + o["label_smoothing"] / 8
    ce = -(smooth * weights * np.log(softmax(z))).sum(1).mean()
    if o["kd_loss"] == "mse":
        kd = ((z - t) ** 2).mean()
    else:
        T = o["kd_temperature"]
        ours, theirs = softmax(z / T), softmax(t / T)
        kd = T * T * (theirs * np.log(theirs / ours)).sum(1).mean()
    u = f / np.linalg.norm(f, axis=1, keepdims=True)
    cosines = u @ (p / np.linalg.norm(p, axis=1, keepdims=True)).T
    proto = (q * np.log(q / softmax(cosines / o["tau"]))).sum(1).mean()
    labels = batch.labels.numpy()
    mu = np.stack([u[labels == c].mean(0) for c in range(8)])
    high = [EMOTIONS.index(name) for name in ("happiness", "surprise")]
    cap = np.mean([max(1 - mu[c] @ mu[c] - o["variance_cap"], 0) for c in high])
    d = mu / np.linalg.norm(mu, axis=1, keepdims=True)
    apart = [max(o["margin"] - (1 - d[a] @ d[b]), 0) for a in range(8) for b in range(a)]
    margin = np.mean(apart)
    total = (
        ce + o["kd_weight"] * kd + o["proto_weight"] * proto
        + o["geo_weight"] * 0.6 * (cap + margin)
    )  # fmt: skip
    return dict(zip(TERMS, (total, ce, kd, proto, cap, margin), strict=True))


@pytest.mark.parametrize("kd_loss", ["kl", "mse"])
def test_every_option_reaches_the_objective(batch, kd_loss):
    """None of them is dropped, exchanged or fixed on the way from the options to the loss."""
    options = OPTIONS | {"kd_loss": kd_loss}
    torch.manual_seed(2)
    features, logits, bank = torch.randn(32, 16) + 0.5, torch.randn(32, 8), torch.randn(25, 16)
    class_weights = torch.linspace(0.3, 2.2, 8)
    weights = ObjectiveWeights.from_config(replace(RECIPES["default"], **options))
    found = Objective("b3", weights, class_weights, bank, 16)(features, logits, batch, 0.6)
    expected = by_hand(features, logits, bank, batch, class_weights.numpy(), options)
    assert expected["geo_cap"] > 0.1
    assert expected["geo_margin"] > 0.1
    for name in TERMS:
        assert float(found[name]) == pytest.approx(expected[name], rel=2e-5), name


def test_the_capped_classes_are_happiness_and_surprise():
    assert HIGH_VALENCE == ("happiness", "surprise")
    assert [EMOTIONS[i] for i in high_valence_indices()] == ["happiness", "surprise"]
