"""Proto-KD and D-Geo against loops over samples, classes and pairs."""

import math

import pytest
import torch

from neurogaze_fast.reference import proto_geo_loss

OPTIONS = {"tau": 0.9, "variance_cap": 0.2, "margin": 0.5, "high_valence": (1, 2)}


def make(batch=24, width=6, cells=5, seed=0, labels=None):
    generator = torch.Generator().manual_seed(seed)
    f = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    p = torch.randn(cells, width, generator=generator, dtype=torch.float64)
    q = torch.rand(batch, cells, generator=generator, dtype=torch.float64)
    if labels is None:
        labels = torch.randint(0, 8, (batch,), generator=generator)
    return f, p, q / q.sum(1, keepdim=True), torch.as_tensor(labels)


def slow(f, p, q, labels, tau, variance_cap, margin, high_valence):
    """The definition, one scalar at a time."""
    proto = 0.0
    for i in range(len(f)):
        s = [float(f[i] @ p[k] / (f[i].norm() * p[k].norm())) / tau for k in range(len(p))]
        log_sum = math.log(sum(math.exp(x) for x in s))
        for k, x in enumerate(s):
            if q[i, k] > 0:
                proto += float(q[i, k]) * (math.log(float(q[i, k])) - (x - log_sum))
    means = {}
    for c in range(8):
        members = [f[i] / f[i].norm() for i in range(len(f)) if labels[i] == c]
        if len(members) >= 2:
            means[c] = sum(members) / len(members)
    caps = [
        max(0.0, 1 - float(means[c] @ means[c]) - variance_cap) for c in high_valence if c in means
    ]
    length = {c: max(float(mean.norm()), 0.01) for c, mean in means.items()}
    pairs = [
        max(0.0, margin - (1 - float(means[a] @ means[b]) / (length[a] * length[b])))
        for a in means
        for b in means
        if a < b
    ]
    return (
        proto / len(f),
        sum(caps) / max(1, len(caps)),
        sum(pairs) / max(1, len(pairs)),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batch", [2, 7, 24, 60])
def test_equals_the_loops(seed, batch):
    data = make(batch, seed=seed)
    values = proto_geo_loss(*data, **OPTIONS)
    expected = slow(*data, **OPTIONS)
    for value, want in zip(values, expected, strict=True):
        assert float(value) == pytest.approx(want, abs=1e-12)


def test_no_class_with_two_members_gives_no_geometry():
    _, cap, margin = proto_geo_loss(*make(8, labels=range(8)), **OPTIONS)
    assert cap == margin == 0


def test_one_class_gives_no_margin():
    _, cap, margin = proto_geo_loss(*make(6, labels=[1] * 6), **OPTIONS)
    assert cap > 0
    assert margin == 0


def test_aligned_orthogonal_prototypes_give_the_flat_softmax_of_the_paper():
    p = torch.eye(25, dtype=torch.float64)
    q = torch.eye(25, dtype=torch.float64)[:1]
    proto, _, _ = proto_geo_loss(p[:1] * 3, p, q, torch.tensor([0]), **OPTIONS)
    assert math.exp(-float(proto)) == pytest.approx(0.11, abs=0.005)


def test_scale_of_features_does_not_matter():
    f, p, q, labels = make()
    for a, b in zip(
        proto_geo_loss(f, p, q, labels, **OPTIONS),
        proto_geo_loss(f * 1000, p * 7, q, labels, **OPTIONS),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_gradients():
    f, p, q, labels = make(12)
    f.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: proto_geo_loss(x, p, q, labels, **OPTIONS), f)


def test_zero_row_and_certain_targets_stay_finite():
    f, p, _, labels = make()
    f[0] = 0
    f.requires_grad_()
    q = torch.eye(5, dtype=torch.float64)[torch.arange(24) % 5]
    total = sum(proto_geo_loss(f, p, q, labels, **OPTIONS))
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(f.grad).all()


def test_reduce_sees_sums_and_counts_of_this_process():
    f, p, q, labels = make(40)
    whole = proto_geo_loss(f, p, q, labels, **OPTIONS)
    seen = []

    def collect(sums, counts):
        seen.append((sums, counts))
        return sums, counts

    proto_geo_loss(f[:20], p, q[:20], labels[:20], **OPTIONS, reduce=collect)
    other = seen[0]

    def add(sums, counts):
        return sums + other[0], counts + other[1]

    half = proto_geo_loss(f[20:], p, q[20:], labels[20:], **OPTIONS, reduce=add)
    for a, b in zip(half[1:], whole[1:], strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision_is_summed_in_float32():
    f, p, q, labels = make()
    low = f.to(torch.bfloat16)
    values = proto_geo_loss(low, p.float(), q.float(), labels, **OPTIONS)
    exact = proto_geo_loss(low.double(), p.float().double(), q.float().double(), labels, **OPTIONS)
    for value, want in zip(values, exact, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), want, rtol=1e-5, atol=1e-6)


def test_empty_batch_is_zero():
    f = torch.zeros(0, 6, requires_grad=True)
    values = proto_geo_loss(
        f, torch.ones(5, 6), torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), **OPTIONS
    )
    sum(values).backward()
    assert [v.item() for v in values] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(4, 7)}, "share D"),
        ({"target_cells": torch.zeros(4, 6)}, "target_cells"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels must be"),
        ({"labels": torch.tensor([0, 1, 8, 0])}, r"0\.\.7, found 0\.\.8"),
        ({"labels": torch.tensor([0, -1, 2, 0])}, r"found -1\.\.2"),
        ({"tau": 0.0}, "tau"),
        ({"tau": float("nan")}, "tau"),
    ],
)
def test_unfitting_arguments_are_refused(change, message):
    arguments = {
        "features": torch.ones(4, 6),
        "prototypes": torch.ones(5, 6),
        "target_cells": torch.full((4, 5), 0.2),
        "labels": torch.zeros(4, dtype=torch.int64),
        **OPTIONS,
    } | change
    with pytest.raises(ValueError, match=message):
        proto_geo_loss(**arguments)


@pytest.mark.parametrize("left", [0.0, 1e-9, 1e-3, 0.3])
def test_a_mean_next_to_zero_has_no_direction(left):
    """Rows that cancel but for `left`: their class's cosines, and the gradient, fade to 0."""
    f, p, q, labels = make(8, labels=[0, 0, 0, 0, 1, 1, 2, 2])
    f[2:4] = -f[:2] + left * f[4:6]
    options = OPTIONS | {"margin": 1.5}
    margin = proto_geo_loss(f.requires_grad_(), p, q, labels, **options)[2]
    assert float(margin) == pytest.approx(slow(f.detach(), p, q, labels, **options)[2], abs=1e-12)
    (gradient,) = torch.autograd.grad(margin, f)
    assert gradient.norm() < 100 / f.detach().norm(dim=1).min()
    if left < 1e-6:
        apart = torch.nn.functional.normalize(f.detach(), dim=1)[4:].view(2, 2, -1).mean(1)
        between = torch.cosine_similarity(apart[0], apart[1], dim=0)
        expected = (0.5 + 0.5 + max(0.5 + float(between), 0)) / 3
        assert float(margin) == pytest.approx(expected, abs=1e-6)
