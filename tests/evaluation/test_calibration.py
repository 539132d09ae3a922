"""Calibration on hand-made cases, and temperatures that never see what they are scored on."""

import math

import numpy as np
import pytest

from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.calibration import (
    RANGE,
    Scaling,
    calibration,
    calibration_scores,
    cross_fitted,
    fit_temperature,
    halves,
    probabilities,
    reliability,
)
from neurogaze_fast.evaluation.scoring import Temperatures, scaling_of

pytestmark = pytest.mark.filterwarnings("error")


def sure_of(confidence, answers):
    """[N, 8] logits: the answer has probability `confidence`, the others share the rest."""
    logits = np.full((len(answers), 8), math.log((1 - confidence) / 7))
    logits[np.arange(len(answers)), answers] = math.log(confidence)
    return logits


def drawn(n, temperature, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, 8))
    shares = probabilities(logits, temperature).cumsum(axis=1)
    return logits, (rng.random(n)[:, None] > shares).sum(axis=1).clip(max=7)


def test_scores_by_hand():
    # Ten answers at 0.8, six right: the gap is 0.2. Five at 0.5, all right: the gap is 0.5.
    logits = np.concatenate([sure_of(0.8, [1] * 10), sure_of(0.5, [2] * 5)])
    labels = np.array([1] * 6 + [0] * 4 + [2] * 5)
    found = calibration_scores(logits, labels)
    assert found["ece"] == pytest.approx((10 * 0.2 + 5 * 0.5) / 15)
    other = 0.2 / 7
    nll = -(6 * math.log(0.8) + 4 * math.log(other) + 5 * math.log(0.5)) / 15
    assert found["nll"] == pytest.approx(nll)
    right = 0.2**2 + 7 * other**2
    wrong = 0.8**2 + 6 * other**2 + (1 - other) ** 2
    half = 0.5**2 + 7 * (0.5 / 7) ** 2
    assert found["brier"] == pytest.approx((6 * right + 4 * wrong + 5 * half) / 15)


def test_a_perfectly_calibrated_and_a_perfectly_sure_model():
    labels = np.array([1] * 8 + [0] * 2)
    assert calibration_scores(sure_of(0.8, [1] * 10), labels)["ece"] == pytest.approx(0)
    sure = np.eye(8)[[1] * 10] * 1000.0
    found = calibration_scores(sure, np.ones(10, int))
    assert found == {"ece": 0, "nll": 0, "brier": 0}
    assert calibration_scores(sure, np.zeros(10, int))["ece"] == 1
    assert calibration_scores(sure, np.zeros(10, int))["nll"] == 1000


def test_bins_are_closed_above():
    shares = np.zeros((3, 8))
    shares[:, 0] = [1.0, 1 / 15 * 6, 1 / 15 * 6 + 1e-9]
    counts, means = reliability(shares, np.array([0, 0, 1]))
    assert counts.tolist() == [0] * 5 + [1, 1] + [0] * 7 + [1]
    assert means[5].tolist() == pytest.approx([0.4, 1])
    assert means[6, 1] == 0
    assert np.isnan(means[0]).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_scaled_logits_is_recovered(temperature):
    logits, labels = drawn(4000, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.06)
    assert fit_temperature(4 * logits, labels) == pytest.approx(4 * found, rel=1e-4)
    at = [calibration_scores(logits, labels, found * factor)["nll"] for factor in (0.98, 1, 1.02)]
    assert at[1] == min(at)


def test_a_set_without_mistakes_ends_at_the_end_of_the_range():
    logits, _ = drawn(200, 1.0)
    assert fit_temperature(logits, logits.argmax(1)) == pytest.approx(RANGE[0], rel=1e-3)
    assert fit_temperature(logits, logits.argmin(1)) == pytest.approx(RANGE[1], rel=1e-3)
    with pytest.raises(DataError, match="no labelled image to fit it on"):
        fit_temperature(np.zeros((0, 8)), np.zeros(0, int))


def test_halves_are_fixed_and_even():
    assert halves(101).sum() == 50
    np.testing.assert_array_equal(halves(101), halves(101))


def test_cross_fitting_never_uses_a_halfs_own_labels():
    """One half is always right, the other always wrong: each gets what suits the other."""
    logits, _ = drawn(400, 1.0)
    half = halves(400)
    labels = np.where(half == 0, logits.argmax(1), logits.argmin(1))
    each, found = cross_fitted(logits, labels)
    # Half 0 (right) is softened with the temperature of half 1 (wrong), and the other way round.
    assert found[0] == pytest.approx(RANGE[1], rel=1e-3)
    assert found[1] == pytest.approx(RANGE[0], rel=1e-3)
    np.testing.assert_array_equal(each, np.array(found)[half])
    # Labels of half 0 changed: only half 1's temperature may move.
    changed = np.where(half == 0, (labels + 1) % 8, labels)
    _, other = cross_fitted(logits, changed)
    assert other[0] == found[0]
    assert other[1] != found[1]
    with pytest.raises(DataError, match="fewer than two"):
        cross_fitted(logits[:1], labels[:1])


def test_scaling_changes_no_answer_and_says_where_it_comes_from():
    logits, labels = drawn(300, 2.0)
    found, divisor = calibration(logits, labels, Scaling("fitted on valid", 2.0))
    assert (found["temperature"], divisor, found["source"]) == (2.0, 2.0, "fitted on valid")
    assert found["after"]["nll"] < found["before"]["nll"]
    assert (probabilities(logits, 2.0).argmax(1) == logits.argmax(1)).all()
    found, divisor = calibration(logits, labels, Scaling("none", None))
    assert (found["after"], found["temperature"], divisor) == (None, None, None)
    found, divisor = calibration(logits, labels, Scaling("halves", cross_fit=True))
    assert len(found["temperature"]) == 2
    assert divisor.shape == (300,)
    found, _ = calibration(logits[:1], labels[:1], Scaling("halves", cross_fit=True))
    assert found["after"] is None
    assert "no other half" in found["source"]


def test_valid_is_never_scaled_with_what_was_fitted_on_all_of_it():
    for split in ("valid", "all"):
        scaling = scaling_of(split, Temperatures(1.7, 1.4))
        assert scaling.cross_fit
        assert scaling.temperature is None
    assert scaling_of("test", Temperatures(1.7, 1.4)) == Scaling("fitted on valid", 1.7, 1.4)
