"""Scores against hand-worked examples and an independent count in plain numpy."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.metrics import FORMS, SUMMARY, confusion, split_scores, vote_ceiling

NEUTRAL, HAPPINESS, SURPRISE = 0, 1, 2


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def logits_for(predictions, runner_up=None):
    """[N, 8] logits whose argmax is `predictions` and whose second best is `runner_up`."""
    logits = np.zeros((len(predictions), 8), np.float32)
    if runner_up is not None:
        logits[np.arange(len(predictions)), runner_up] = 1.0
    logits[np.arange(len(predictions)), predictions] = 2.0
    return logits


def by_counting(predicted, labels, averaged):
    """Accuracy, macro-F1 and balanced accuracy from true and false positives, class by class."""
    f1, recalls = [], []
    for cls in range(8):
        hits = np.sum((predicted == cls) & (labels == cls))
        claimed, actual = np.sum(predicted == cls), np.sum(labels == cls)
        if cls in averaged:
            f1.append(2 * hits / (claimed + actual) if claimed + actual else 0.0)
        if actual:
            recalls.append(hits / actual)
    return np.mean(predicted == labels), np.mean(f1), np.mean(recalls)


def none_duplicate(labels):
    return np.zeros(len(labels), bool)


def test_hand_worked_example_with_two_classes_present():
    # Happiness x3 (two right, one taken for neutral with surprise second), surprise x1 (right).
    labels = np.array([1, 1, 1, 2])
    logits = logits_for([1, 1, 0, 2], runner_up=[2, 2, 2, 1])
    scores = split_scores(logits, labels, none_duplicate(labels))

    assert scores["n"] == 4
    assert scores["present"] == ["happiness", "surprise"]
    # F1: happiness 2*2/(2+3) = 0.8, surprise 2*1/(1+1) = 1, neutral 0, five never met: 0.
    eight = scores["8way"]
    assert eight["accuracy"] == pytest.approx(3 / 4)
    assert eight["macro_f1"] == pytest.approx((0.8 + 1.0) / 8)
    assert eight["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert eight["recall"] == {"happiness": pytest.approx(2 / 3), "surprise": 1.0}
    # Averaging over the present labels changes macro-F1 only.
    over_labels = scores["present_only_labels"]
    assert over_labels["macro_f1"] == pytest.approx((0.8 + 1.0) / 2)
    assert {k: v for k, v in over_labels.items() if k != "macro_f1"} == {
        k: v for k, v in eight.items() if k != "macro_f1"
    }
    # Without neutral to choose, row 2 falls to surprise: F1 0.8 and 2*1/(2+1) = 2/3.
    only = scores["present_only"]
    assert only["accuracy"] == pytest.approx(3 / 4)
    assert only["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert only["recall"] == {"happiness": pytest.approx(2 / 3), "surprise": 1.0}


def test_restricting_the_argmax_can_raise_accuracy():
    labels = np.array([1, 1, 2, 2])
    logits = logits_for([0, 0, 0, 2], runner_up=[1, 1, 2, 1])
    scores = split_scores(logits, labels, none_duplicate(labels))
    assert scores["8way"]["accuracy"] == 0.25
    assert scores["present_only_labels"]["accuracy"] == 0.25
    assert scores["present_only"]["accuracy"] == 1.0


def test_perfect_on_all_eight_is_one_in_every_form():
    labels = np.arange(8).repeat(3)
    scores = split_scores(logits_for(labels), labels, none_duplicate(labels))
    for form in FORMS:
        assert [scores[form][name] for name in SUMMARY] == [1.0, 1.0, 1.0]
        assert scores[form]["recall"] == dict.fromkeys(EMOTIONS, 1.0)
    assert scores["present"] == list(EMOTIONS)


def test_a_perfect_model_is_below_one_in_8way_macro_f1_when_a_class_is_absent():
    labels = np.arange(1, 8)
    scores = split_scores(logits_for(labels), labels, none_duplicate(labels))
    assert scores["8way"]["macro_f1"] == pytest.approx(7 / 8)
    assert scores["8way"]["balanced_accuracy"] == 1.0
    assert scores["present_only_labels"]["macro_f1"] == 1.0
    assert "neutral" not in scores["8way"]["recall"]


def test_one_class_and_one_image_are_enough():
    scores = split_scores(logits_for([5]), np.array([7]), np.array([False]))
    assert scores["8way"]["accuracy"] == 0.0
    assert scores["8way"]["macro_f1"] == 0.0
    assert scores["8way"]["recall"] == {"contempt": 0.0}
    assert scores["present_only"]["macro_f1"] == 1.0, "with one class left, it is always right"


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(1, 40), classes=st.integers(1, 8))
def test_equals_an_independent_count(data, n, classes):
    allowed = data.draw(st.permutations(range(8)))[:classes]
    labels = np.array(data.draw(st.lists(st.sampled_from(allowed), min_size=n, max_size=n)))
    seed = data.draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 8))
    duplicate = rng.random(n) < 0.5

    scores = split_scores(logits, labels, duplicate)
    halves = [(scores, np.ones(n, bool))]
    if not duplicate.all():
        halves.append((scores["without_duplicates"], ~duplicate))
    for part, rows in halves:
        truth = labels[rows]
        present = sorted(set(truth.tolist()))
        anything = logits[rows].argmax(1)
        masked = np.full((rows.sum(), 8), -np.inf)
        masked[:, present] = logits[rows][:, present]
        expected = {
            "8way": by_counting(anything, truth, range(8)),
            "present_only": by_counting(masked.argmax(1), truth, present),
            "present_only_labels": by_counting(anything, truth, present),
        }
        assert part["n"] == rows.sum()
        assert part["present"] == [EMOTIONS[c] for c in present]
        for form in FORMS:
            assert [part[form][name] for name in SUMMARY] == pytest.approx(expected[form])
            assert list(part[form]["recall"]) == part["present"]


def test_duplicates_are_left_out():
    # Both duplicates are right, the fresh rows are one right and one wrong.
    labels = np.array([0, 1, 2, 3])
    logits = logits_for([0, 1, 2, 4])
    scores = split_scores(logits, labels, np.array([True, True, False, False]))
    assert scores["8way"]["accuracy"] == 0.75
    fresh = scores["without_duplicates"]
    assert (fresh["n"], fresh["present"]) == (2, ["surprise", "sadness"])
    assert fresh["8way"]["accuracy"] == 0.5
    assert set(fresh) == {*FORMS, "n", "present", "n_by_emotion"}


def test_without_duplicates_is_null_when_nothing_is_left():
    labels = np.array([0, 1])
    scores = split_scores(logits_for(labels), labels, np.array([True, True]))
    assert scores["without_duplicates"] is None
    assert scores["8way"]["accuracy"] == 1.0


def test_the_result_is_strict_json_of_plain_numbers():
    labels = np.array([1, 6, 6], np.int32)
    scores = split_scores(logits_for([3, 6, 2]), labels, np.array([False, True, True]))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert type(scores["n"]) is int
    assert type(scores["8way"]["accuracy"]) is float


def test_ties_go_to_the_first_class():
    scores = split_scores(np.zeros((1, 8)), np.array([0]), np.array([False]))
    assert scores["8way"]["accuracy"] == 1.0


def test_half_precision_logits_and_small_label_types():
    labels = np.array([1, 2], np.uint8)
    scores = split_scores(logits_for([1, 2]).astype(np.float16), labels, none_duplicate(labels))
    assert scores["8way"]["accuracy"] == 1.0


GOOD_LOGITS, GOOD_LABELS = logits_for([0, 1]), np.array([0, 1])


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 8)), np.zeros(0, int), "nothing to score"),
        (np.full((2, 8), np.nan), GOOD_LABELS, "2 of 2 rows .* row 0"),
        (np.where(np.eye(2, 8, k=1) > 0, np.inf, 0.0)[::-1], GOOD_LABELS, "infinity"),
        (GOOD_LOGITS, np.array([0, 8]), "first is 8 in row 1"),
        (GOOD_LOGITS, np.array([-1, 1]), "first is -1 in row 0"),
        (GOOD_LOGITS[:, :7], GOOD_LABELS, r"logits \[2, 7\]"),
        (GOOD_LOGITS, np.array([0, 1, 2]), r"labels \[3\]"),
        (GOOD_LOGITS, GOOD_LABELS[:, None], r"labels \[2, 1\]"),
        (GOOD_LOGITS, GOOD_LABELS.astype(float), "float64"),
        (GOOD_LOGITS.astype(int), GOOD_LABELS, "floating-point"),
    ],
)
def test_input_that_cannot_be_scored_is_refused(logits, labels, message):
    with pytest.raises(DataError, match=message):
        split_scores(logits, labels, np.zeros(len(labels), bool))
    with pytest.raises(DataError, match=message):
        confusion(logits, labels)


@pytest.mark.parametrize("duplicate", [np.array([0, 1]), np.array([True]), np.zeros((2, 1), bool)])
def test_duplicate_flags_must_be_booleans_one_per_image(duplicate):
    with pytest.raises(DataError, match=r"bool\[2\]"):
        split_scores(GOOD_LOGITS, GOOD_LABELS, duplicate)


def test_confusion_counts_true_rows_and_predicted_columns():
    matrix = confusion(logits_for([1, 1, 2, 2, 0]), np.array([1, 1, 1, 2, 2]))
    expected = np.zeros((8, 8), np.int64)
    expected[1, 1], expected[1, 2], expected[2, 2], expected[2, 0] = 2, 1, 1, 1
    assert matrix.dtype == np.int64
    assert np.array_equal(matrix, expected)


def test_confusion_agrees_with_the_recalls():
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(200, 8)), rng.integers(0, 8, 200)
    matrix = confusion(logits, labels)
    recall = split_scores(logits, labels, none_duplicate(labels))["8way"]["recall"]
    assert matrix.sum() == 200
    assert np.diag(matrix) / matrix.sum(1) == pytest.approx([recall[name] for name in EMOTIONS])


def test_unanimous_votes_have_a_ceiling_of_one():
    assert vote_ceiling(10 * np.eye(8, dtype=int)) == dict.fromkeys(SUMMARY, 1.0)


def test_the_ceiling_of_three_voters_by_hand():
    # Three voters at 2:1 keep their majority with p^3 + 3 p^2 q = 20/27, p = 2/3.
    votes = np.zeros((4000, 8), int)
    votes[:, HAPPINESS], votes[:, SURPRISE] = 2, 1
    ceiling = vote_ceiling(votes, draws=5, seed=1)
    assert ceiling["accuracy"] == pytest.approx(20 / 27, abs=0.01)
    assert ceiling["balanced_accuracy"] == pytest.approx(0.5, abs=1e-9), "surprise is never said"
    assert ceiling == vote_ceiling(votes, draws=5, seed=1)
    assert ceiling != vote_ceiling(votes, draws=5, seed=2)


@pytest.mark.parametrize(
    "votes",
    [
        np.zeros((0, 8), int),
        np.ones((3, 7), int),
        np.full((2, 8), 0.125),
        np.eye(2, 8, dtype=int) - 1,
        np.zeros((1, 8), int),
    ],
)
def test_votes_that_are_not_counts_are_refused(votes):
    with pytest.raises(DataError, match="votes must be"):
        vote_ceiling(votes)
