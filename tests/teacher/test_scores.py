"""Scores from sums equal the plain formulas; intervals are over people; baselines are fair."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from neurogaze_fast.errors import DataError
from neurogaze_fast.teacher.baselines import ALPHAS, mean_prediction, ridge_prediction
from neurogaze_fast.teacher.scores import bootstrap, scores, trial_means
from tests.teacher.helpers import map_set, slow_ccc


@pytest.fixture
def answers():
    generator = np.random.default_rng(0)
    target = generator.choice([-1, -0.5, 0, 0.5, 1], (120, 2))
    prediction = 0.4 * target + 0.2 * generator.standard_normal((120, 2))
    return prediction, target, np.repeat(np.arange(6), 20)


def test_scores_are_the_plain_formulas(answers):
    prediction, target, _ = answers
    found = scores(prediction, target)
    for i, name in enumerate(("valence", "arousal")):
        p, t = prediction[:, i], target[:, i]
        assert found[name]["ccc"] == pytest.approx(slow_ccc(p.tolist(), t.tolist()), abs=1e-12)
        assert found[name]["rmse"] == pytest.approx(np.sqrt(((p - t) ** 2).mean()), abs=1e-12)
        assert found[name]["r2"] == pytest.approx(r2_score(t, p), abs=1e-12)


def test_scores_do_not_depend_on_the_order(answers):
    prediction, target, _ = answers
    order = np.random.default_rng(1).permutation(len(target))
    ours, shuffled = scores(prediction, target), scores(prediction[order], target[order])
    for name in ours:
        assert shuffled[name] == pytest.approx(ours[name], abs=1e-12)


def test_undefined_scores_are_none():
    flat = np.full((5, 2), 0.5)
    found = scores(flat, flat)["valence"]
    assert found == {"ccc": None, "rmse": 0.0, "r2": None}
    assert scores(flat + 0.1, flat)["valence"]["ccc"] == pytest.approx(0, abs=1e-12)


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="one shape"):
        scores(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(DataError, match="at least 1"):
        scores(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(DataError, match="not finite"):
        scores(np.zeros((3, 2)), np.full((3, 2), np.nan))


def test_bootstrap_is_the_slow_one(answers):
    """The same people drawn, the rows really repeated."""
    prediction, target, subject = answers
    found = bootstrap({"a": prediction}, target, subject, draws=50, seed=3)["a"]
    slow = []
    for drawn in np.random.default_rng(3).integers(0, 6, (50, 6)):
        rows = np.concatenate([np.flatnonzero(subject == who) for who in drawn])
        slow.append(scores(prediction[rows], target[rows])["arousal"]["ccc"])
    low, high = np.quantile(slow, [0.025, 0.975])
    assert found["arousal"]["ccc"]["low"] == pytest.approx(low, abs=1e-9)
    assert found["arousal"]["ccc"]["high"] == pytest.approx(high, abs=1e-9)
    value = scores(prediction, target)["arousal"]["ccc"]
    assert found["arousal"]["ccc"]["value"] == pytest.approx(value, abs=1e-12)


def test_bootstrap_repeats_and_compares(answers):
    prediction, target, subject = answers
    both = {"good": prediction, "mean": mean_prediction(target, len(target))}
    first, again = (bootstrap(both, target, subject, seed=0) for _ in range(2))
    assert first == again
    lead = first["good - mean"]["valence"]["ccc"]
    assert 0 < lead["low"] < lead["value"] < lead["high"]
    one = bootstrap({"good": prediction[:20]}, target[:20], subject[:20])["good"]["valence"]["ccc"]
    assert one["low"] == pytest.approx(one["high"])  # one person: no spread to speak of


def test_trials_are_means_over_their_windows():
    prediction = np.arange(12.0).reshape(6, 2)
    trial, subject = np.array([4, 4, 9, 9, 9, 2]), np.array([1, 1, 1, 1, 1, 0])
    mean, target, who = trial_means(prediction, prediction, trial, subject)
    np.testing.assert_allclose(mean, [[10, 11], [1, 2], [6, 7]])
    np.testing.assert_array_equal(mean, target)
    assert who.tolist() == [0, 1, 1]


def test_ridge_finds_a_planted_signal_and_gives_up_on_noise():
    for signal, least, most in ((2.0, 0.6, 1.0), (0.0, -0.1, 0.1)):
        maps = map_set(subjects=8, trials=20, windows=2, signal=signal)
        target = np.stack([maps.valence, maps.arousal], axis=1)
        train = maps.subject < 5
        found, alpha = ridge_prediction(
            maps.power[train], target[train], maps.subject[train], maps.power[~train]
        )
        assert least <= scores(found, target[~train])["valence"]["ccc"] <= most
        assert np.abs(found).max() <= 1
        if signal == 0:
            assert alpha >= 1000


def test_ridge_with_one_training_subject_takes_the_largest_penalty():
    maps = map_set(subjects=1)
    target = np.stack([maps.valence, maps.arousal], axis=1)
    _, alpha = ridge_prediction(maps.power, target, maps.subject, maps.power)
    assert alpha == ALPHAS[-1]


def test_mean_of_nothing_is_refused():
    with pytest.raises(DataError):
        mean_prediction(np.zeros((0, 2)), 3)
