"""Intervals over seeds and images against simulations whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from neurogaze_fast.ablation.statistics import (
    COMMON,
    Estimate,
    crossed,
    draw_images,
    holm,
    over_groups,
    scores_of_draws,
    seeds_for,
)
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.valid_logits import ValidLogits
from neurogaze_fast.evaluation.vote_scores import divergence_scores


def experiment(rng, seeds, images=120, *, truth=0.02, of_seed=0.02, of_image=0.15, noise=0.1):
    """Differences [N, S] of two arms for each image and seed, around `truth`."""
    return (
        truth
        + of_seed * rng.standard_normal((1, seeds))
        + of_image * rng.standard_normal((images, 1))
        + noise * rng.standard_normal((images, seeds))
    )


@pytest.mark.parametrize("seeds", [3, 12])
def test_intervals_hold_other_seeds_and_other_images(seeds):
    rng = np.random.default_rng(seeds)
    weights = draw_images(120, draws=300)
    held, of_seeds_alone, tries = 0, 0, 400
    for number in range(tries):
        each = experiment(rng, seeds)
        draws = weights.astype(np.float64) @ each / 120
        found = crossed(each.mean(0), draws, seed=number)
        held += found.low < 0.02 < found.high
        plain = Estimate.of(each.mean(0))
        of_seeds_alone += plain.low < 0.02 < plain.high
    assert 0.925 < held / tries < 0.99
    if seeds == 12:
        assert of_seeds_alone / tries < 0.85, "an interval of seeds alone knows nothing of images"


def test_with_no_noise_of_images_it_is_students_t():
    values = [0.01, 0.03, 0.02, 0.05]
    found = crossed(values, np.tile(values, (500, 1)))
    plain = Estimate.of(values)
    assert found.se == pytest.approx(plain.se, rel=0.08)
    assert found.df == pytest.approx(3, abs=0.2)
    assert crossed(values, None) == plain
    assert crossed([0.1], np.ones((5, 1))).n == 1


def test_p_values_are_those_of_the_t_test():
    values = [0.011, 0.032, -0.004, 0.021, 0.014]
    estimate = Estimate.of(values)
    assert estimate.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    low = stats.ttest_1samp(values, -0.03, alternative="greater").pvalue
    high = stats.ttest_1samp(values, 0.03, alternative="less").pvalue
    assert estimate.p_equivalent(0.03) == pytest.approx(max(low, high))
    assert np.isnan(Estimate.of([0.1]).p)
    assert Estimate.of([0.1, 0.1]).p == 0
    assert Estimate.of([0.0, 0.0]).p_equivalent(0.005) == 0


def test_holm_is_holm():
    # Worked by hand: 4 * 0.01, 3 * 0.013, 2 * 0.03, 1 * 0.04, none below the one before it.
    assert holm([0.03, 0.01, 0.04, 0.013]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    one, unknown = holm([0.02, float("nan")])
    assert one == 0.02
    assert np.isnan(unknown)
    assert holm([]) == []


def test_scores_of_draws_are_those_of_the_drawn_images():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 6, (60, 10)).astype(np.uint8)
    votes[:, 0] += 1
    logits = rng.standard_normal((60, 8)).astype(np.float32)
    weights = draw_images(60, draws=4)
    assert weights.sum(1).tolist() == [60] * 4
    found = scores_of_draws(ValidLogits(logits, votes, np.arange(60)), weights)
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    for draw in range(4):
        rows = np.repeat(np.arange(60), weights[draw].astype(int))
        labels, said = votes[rows][:, :8].argmax(1), logits[rows].argmax(1)
        assert found["accuracy"][draw] == pytest.approx(accuracy_score(labels, said))
        f1 = f1_score(labels, said, labels=range(8), average="macro", zero_division=0)
        assert found["macro_f1"][draw] == pytest.approx(f1)
        common = [EMOTIONS.index(name) for name in COMMON]
        recall = recall_score(labels, said, labels=common, average="macro", zero_division=0)
        assert found["common_recall"][draw] == pytest.approx(recall)
        nll = divergence_scores(logits[rows], votes[rows])["nll"]
        assert found["log_loss"][draw] == pytest.approx(nll, rel=1e-6)


def test_seeds_of_one_teacher_are_no_new_teachers():
    values, banks = [0.01, 0.02, 0.05, 0.03, 0.02, 0.07], ["a", "b", "c", "a", "b", "c"]
    found, expected = over_groups(values, banks), Estimate.of([0.02, 0.02, 0.06])
    assert found.holds == "teachers"
    assert (found.mean, found.low, found.n) == pytest.approx((expected.mean, expected.low, 3))
    assert over_groups(values, ["a"] * 6) is None


def test_seeds_needed_are_those_of_the_power_formula():
    estimate = Estimate.of([0.0, 0.01, -0.01, 0.005, -0.005])
    needed = seeds_for(estimate, 0.005)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert needed == int(np.ceil((z * estimate.sd / 0.005) ** 2))
    assert seeds_for(Estimate.of([0.1]), 0.005) is None
