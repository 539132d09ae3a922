"""Estimates over seeds, pairing, and the sentences made of them."""

import numpy as np
import pytest

from neurogaze_fast.ablation.results import collect, over_seeds, paired
from neurogaze_fast.ablation.statistics import Estimate
from neurogaze_fast.ablation.verdicts import sentence, verdicts
from neurogaze_fast.errors import DataError
from tests.ablation.runs import write_run


def final(result):
    return result.score("macro_f1")


def test_interval_is_students_t():
    estimate = Estimate.of([1.0, 2.0, 3.0])  # sd 1, t(0.975, 2) = 4.3027
    assert estimate.mean == 2
    assert estimate.high - estimate.mean == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert estimate.direction == 0
    assert Estimate.of([1.0, 1.1, 0.9]).direction == 1
    assert Estimate.of([-1.0, -1.1, -0.9]).direction == -1


def test_interval_holds_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.5, 1, (4000, 4))
    held = [e.low < 0.5 < e.high for e in map(Estimate.of, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval():
    estimate = Estimate.of([0.3])
    assert estimate.n == 1
    assert estimate.direction == 0
    assert np.isnan(estimate.sd)


def test_pairs_are_made_by_seed_and_only_where_both_are(tmp_path):
    for seed, value in ((0, 0.50), (1, 0.60), (2, 0.40)):
        write_run(tmp_path, "b0", seed, [value])
    for seed, value in ((2, 0.45), (0, 0.55), (7, 0.99)):
        write_run(tmp_path, "b3", seed, [value])
    results = collect(tmp_path)
    difference = paired(results, "b3", "b0", final)
    assert difference.n == 2
    assert difference.mean == pytest.approx(0.05)
    assert over_seeds(results, "b3", final).n == 3
    assert paired(results, "b3", "random", final) is None
    assert over_seeds(results, "random", final) is None


def test_early_late_and_jitter(tmp_path):
    write_run(tmp_path, "b0", 0, [0.1, 0.3, 0.4, 0.4, 0.5, 0.3])
    (result,) = collect(tmp_path)
    assert result.early("macro_f1") == pytest.approx(0.2)
    assert result.late("macro_f1") == pytest.approx(0.4)
    assert result.jitter("macro_f1") == pytest.approx((0.1 + 0.2) / 2)
    assert result.seconds == 60


def test_a_broken_result_is_named(tmp_path):
    folder = write_run(tmp_path, "b0", 0, [0.5])
    (folder / "metrics.json").write_text('{"valid": {}}')
    with pytest.raises(DataError, match=r"b0/seed0.*Remove the folder"):
        collect(tmp_path)


def test_sentences():
    assert sentence("b3", "b2", None, "macro-F1") == "b3 against b2: not run."
    assert "shows nothing" in sentence("b3", "b2", Estimate.of([0.1]), "macro-F1")
    assert "adds to" in sentence("b3", "b2", Estimate.of([0.1, 0.11]), "macro-F1")
    assert "costs" in sentence("b3", "b2", Estimate.of([-0.1, -0.11]), "macro-F1")
    assert "no difference" in sentence("b3", "b2", Estimate.of([-0.1, 0.2]), "macro-F1")


def claims(tmp_path, values, curves=None):
    """Verdicts where each arm's seeds scored `values`."""
    for arm, scores in values.items():
        for seed, value in enumerate(scores):
            write_run(tmp_path, arm, seed, [*(curves or {}).get(arm, [0.1, 0.2]), value])
    return {v.claim.split()[0]: v for v in verdicts(collect(tmp_path))}


def test_claims_are_judged_both_ways(tmp_path):
    found = claims(
        tmp_path,
        {
            "b0": [0.50, 0.51, 0.49, 0.50, 0.50],
            "b1": [0.60, 0.61, 0.59, 0.60, 0.61],
            "b3": [0.60, 0.61, 0.60, 0.59, 0.61],
            "random": [0.64, 0.65, 0.64, 0.63, 0.65],
            "grid-7": [0.60, 0.61, 0.60, 0.59, 0.61],
        },
        curves={"b0": [0.1, 0.2]} | {arm: [0.3, 0.4] for arm in ("b1", "b3", "grid-7")},
    )
    # The same early curve in every seed has no spread at all, and still a direction.
    assert found["KD"].verdict == "Supported."
    assert found["Proto-KD"].verdict.startswith("Not shown.")
    assert "cannot be told from random prototypes" in found["Proto-KD"].verdict  # by accuracy
    assert found["A"].verdict == "Not shown."
    assert any("grid-9: not run" in line for line in found["A"].because)


def test_late_gains_are_judged_by_lateness_and_not_by_the_end(tmp_path):
    """An arm that is ahead from the start has no late gain, however far ahead it ends."""
    ahead = claims(
        tmp_path / "ahead",
        {"b1": [0.50, 0.51, 0.49, 0.50, 0.52], "b3": [0.60, 0.61, 0.59, 0.61, 0.60]},
        curves={"b1": [0.30, 0.40], "b3": [0.40, 0.50]},
    )
    assert ahead["Proto-KD"].verdict == "Not shown."
    late = claims(
        tmp_path / "late",
        {"b1": [0.50, 0.51, 0.49, 0.50, 0.52], "b3": [0.60, 0.61, 0.59, 0.61, 0.60]},
        curves={"b1": [0.30, 0.40], "b3": [0.30, 0.40]},
    )
    assert late["Proto-KD"].verdict == "Supported."


def test_few_seeds_are_called_few_and_one_shows_nothing(tmp_path):
    few = claims(tmp_path / "few", {"b0": [0.5, 0.51, 0.5], "b1": [0.6, 0.61, 0.6]},
                 curves={"b1": [0.4, 0.5]})  # fmt: skip
    assert few["KD"].verdict == "Supported (only 3 seeds)."
    one = claims(tmp_path / "one", {"b0": [0.5], "b1": [0.6]})
    assert one["KD"].verdict == "One seed: it shows nothing."
    assert one["A"].verdict == "Not run."
