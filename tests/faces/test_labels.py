"""The three label rules, weights and crowd logits on votes worked out by hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from neurogaze_fast.faces.ferplus_votes import read_votes
from neurogaze_fast.faces.labels import (
    apply_rule,
    class_weights,
    crowd_logits,
    hard_labels,
    renormalised,
)

#           ne ha su sa an di fe co un NF
VOTES = np.array(
    [
        [4, 0, 0, 1, 3, 2, 0, 0, 0, 0],  # neutral wins, 4 of 9 once single votes are struck
        [6, 0, 1, 1, 0, 0, 0, 0, 2, 0],  # neutral, 6 of 8
        [4, 0, 0, 4, 1, 0, 0, 0, 1, 0],  # tie: the first column
        [0, 3, 0, 0, 0, 0, 0, 0, 7, 0],  # unknown wins
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],  # no face
        [5, 0, 0, 5, 0, 0, 0, 0, 0, 0],  # exactly half is no majority
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],  # all single: majority strikes everything out
        [0, 0, 0, 0, 0, 0, 2, 0, 1, 1],  # fear: 2 of 4, but 2 of 2 after striking out
        [4, 0, 0, 0, 0, 0, 0, 0, 4, 0],  # tie with unknown: the emotion comes first
    ],
    np.uint8,
)


def test_argmax():
    keep, targets = apply_rule(VOTES, "argmax")
    np.testing.assert_array_equal(keep, [1, 1, 1, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(targets.argmax(1)[keep], [0, 0, 0, 0, 0, 6, 0])
    np.testing.assert_array_equal(targets.sum(1), keep)


def test_majority():
    keep, targets = apply_rule(VOTES, "majority")
    np.testing.assert_array_equal(keep, [0, 1, 0, 0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(targets.argmax(1)[keep], [0, 6])


def test_votes_are_the_rows_of_argmax_renormalised():
    keep, targets = apply_rule(VOTES, "votes")
    np.testing.assert_array_equal(keep, apply_rule(VOTES, "argmax")[0])
    np.testing.assert_allclose(targets[0], [0.4, 0, 0, 0.1, 0.3, 0.2, 0, 0])
    np.testing.assert_allclose(targets[8], [1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(targets[keep].sum(1), 1, rtol=1e-6)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="rule must be one of"):
        apply_rule(VOTES, "plurality")


def test_hard_labels_agree_with_argmax_where_it_keeps():
    keep, targets = apply_rule(VOTES, "argmax")
    np.testing.assert_array_equal(hard_labels(VOTES)[keep], targets[keep].argmax(1))


def test_crowd_logits_are_normalised_log_shares():
    logits = crowd_logits(VOTES[:1])
    np.testing.assert_allclose(np.exp(logits).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(logits[0, 0], np.log(4.1 / 10.8), rtol=1e-6)
    np.testing.assert_allclose(logits[0, 1], np.log(0.1 / 10.8), rtol=1e-6)


def test_shares_of_a_row_without_emotion_votes_are_zero():
    np.testing.assert_array_equal(renormalised(VOTES[4:5]), np.zeros((1, 8)))


@pytest.mark.parametrize(("scheme", "ratio"), [("none", 1), ("sqrt", 2), ("inverse", 4)])
def test_class_weights(scheme, ratio):
    labels = np.array([0] * 4 + [1])
    weights = class_weights(labels, scheme)
    assert weights[1] / weights[0] == pytest.approx(ratio)
    assert weights[labels].mean() == pytest.approx(1)  # what a row gets
    classes = class_weights(labels, scheme, mean_over="classes")
    assert classes[:2].mean() == pytest.approx(1)
    assert classes[1] / classes[0] == pytest.approx(ratio)
    if scheme != "none":
        assert not weights[2:].any()


REAL = os.environ.get("NEUROGAZE_FERPLUS")
PUBLISHED = {
    "majority": {"Training": 25060, "PublicTest": 3199, "PrivateTest": 3153},
    "argmax": {"Training": 28389, "PublicTest": 3553, "PrivateTest": 3546},
}


@pytest.mark.skipif(not REAL, reason="NEUROGAZE_FERPLUS names no folder with the real FERPlus")
@pytest.mark.parametrize("rule", sorted(PUBLISHED))
def test_published_counts_from_the_real_votes(rule):
    table = read_votes(Path(REAL) / "fer2013new.csv")
    usage, named = np.array(table.usage), np.array([bool(n) for n in table.names])
    keep, _ = apply_rule(table.votes, rule)
    found = {u: int((keep & named & (usage == u)).sum()) for u in set(table.usage)}
    assert found == {u: PUBLISHED[rule][u] for u in found}
