"""The concordance against Lin's formula written out, and the terms of the loss."""

import math

import numpy as np
import pytest
import torch

from neurogaze_fast.errors import OperatorError
from neurogaze_fast.teacher.losses import ccc, consistency, consistency_ramp, supervised_terms
from tests.teacher.helpers import slow_ccc


@pytest.mark.parametrize("n", [2, 3, 50, 400])
def test_ccc_is_lins_formula(n):
    generator = np.random.default_rng(n)
    p, t = generator.uniform(-1, 1, (n, 2)), generator.uniform(-1, 1, (n, 2))
    t[:, 1] = 0.6 * p[:, 1] + 0.1
    found = ccc(torch.from_numpy(p), torch.from_numpy(t)).numpy()
    expected = [slow_ccc(p[:, i].tolist(), t[:, i].tolist()) for i in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ccc_of_known_cases():
    t = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert ccc(t, t) == pytest.approx([1, 1], abs=1e-6)
    assert ccc(-t, t) == pytest.approx([-1, -1], abs=1e-6)
    # A shift of 1 with unit slope: 2 var / (2 var + 1), var = 2/3.
    assert ccc(t + 1, t) == pytest.approx([4 / 7, 4 / 7], abs=1e-6)
    assert ccc(torch.zeros_like(t), t) == pytest.approx([0, 0])
    assert ccc(torch.zeros_like(t), torch.zeros_like(t)) == pytest.approx([0, 0])


def test_ccc_is_differentiable():
    p = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    t = torch.randn(6, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ccc(x, t), (p,))
    constant = torch.zeros(6, 2, dtype=torch.float64, requires_grad=True)
    ccc(constant, t).sum().backward()
    assert torch.isfinite(constant.grad).all()


@pytest.mark.parametrize(("a", "b"), [((0, 2), (0, 2)), ((3, 2), (4, 2)), ((3,), (3,))])
def test_ccc_of_what_does_not_fit_is_refused(a, b):
    with pytest.raises(OperatorError, match="not defined"):
        ccc(torch.zeros(a), torch.zeros(b))


def test_supervised_terms_vanish_for_perfect_predictions():
    t = torch.randn(20, 2, dtype=torch.float64)
    mse, discordance = supervised_terms(t, t)
    assert mse == 0
    assert discordance == pytest.approx(0, abs=1e-6)


def test_consistency_vanishes_for_equal_views_and_grows_with_disagreement():
    embedding, va = torch.randn(8, 5), torch.rand(8, 2)
    embedding -= embedding.mean(0)
    assert consistency((embedding, va), (3 * embedding, va)) == pytest.approx(0, abs=1e-6)
    assert consistency((embedding, va), (-embedding, va)) == pytest.approx(2, abs=1e-5)
    assert consistency((embedding, va), (embedding, va + 0.5)) == pytest.approx(0.25, abs=1e-6)


def test_a_direction_that_all_share_is_no_agreement():
    one, other, va = torch.randn(8, 5), torch.randn(8, 5), torch.rand(8, 2)
    apart = consistency((one, va), (other, va))
    assert apart > 0.3
    assert consistency((one + 100, va), (other + 100, va)) == pytest.approx(apart.item(), abs=1e-3)


def test_ramp_rises_to_one():
    values = [consistency_ramp(x) for x in (0, 0.1, 0.2, 0.3, 0.6, 1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(math.exp(-5))
    assert values[3:] == [1, 1, 1]
