"""Intervals against published values, against resampling image by image, and at the edges."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.intervals import (
    bootstrap_intervals,
    images_per_point,
    summary_of,
    wilson,
)
from neurogaze_fast.evaluation.metrics import FORMS, SUMMARY, split_scores

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.490, 0.943), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (1, 2, 0.095, 0.905)],
)
def test_wilson_gives_the_published_values(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=6e-4)


def counted(predicted, labels):
    return np.bincount(labels * 8 + predicted, minlength=64).reshape(8, 8)


def small_case():
    """60 images of five emotions, two of them rare, with predictions that also go elsewhere."""
    rng = np.random.default_rng(4)
    labels = rng.choice([1, 2, 3, 4, 6], 60, p=[0.5, 0.25, 0.15, 0.06, 0.04])
    predicted = np.where(rng.random(60) < 0.6, labels, rng.integers(0, 8, 60))
    return predicted, labels


@pytest.mark.parametrize("present_only", [False, True])
def test_summary_is_what_scikit_learn_says(present_only):
    predicted, labels = small_case()
    classes = np.unique(labels) if present_only else np.arange(8)
    expected = [
        accuracy_score(labels, predicted),
        f1_score(labels, predicted, labels=classes, average="macro", zero_division=0),
        np.mean([np.mean(predicted[labels == c] == c) for c in np.unique(labels)]),
    ]
    found = summary_of(counted(predicted, labels), present_only=present_only)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("present_only", [False, True])
def test_bootstrap_agrees_with_drawing_images(present_only):
    """The same quantiles as resampled images scored by scikit-learn, up to the draws' noise."""
    predicted, labels = small_case()
    rng = np.random.default_rng(1)
    brute = []
    for _ in range(250):
        pick = rng.integers(0, len(labels), len(labels))
        p, t = predicted[pick], labels[pick]
        here = np.unique(t)
        recalls = [np.mean(p[t == c] == c) for c in here]
        averaged = here if present_only else np.arange(8)
        f1 = f1_score(t, p, labels=averaged, average="macro", zero_division=0)
        brute.append([np.mean(p == t), f1, np.mean(recalls)])
    expected = np.quantile(brute, [0.025, 0.975], axis=0).T
    matrix = counted(predicted, labels)
    found = bootstrap_intervals(matrix, present_only=present_only, draws=6000)
    np.testing.assert_allclose(found, expected, atol=0.05)
    middle = summary_of(matrix, present_only=present_only)
    assert np.all(found[:, 0] < middle)
    assert np.all(middle < found[:, 1])


def test_balanced_accuracy_of_all_classes_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 8
    predicted = np.where(rng.random(80) < 0.5, labels, 0)
    found = summary_of(counted(predicted, labels), present_only=False)[2]
    assert found == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_a_rare_class_that_a_draw_misses_counts_as_its_form_says():
    """One fear image among nine of happiness: 8-way draws without it lose its F1, the other do not.

    Everything is answered rightly, so present-only is 1 in every draw.
    """
    matrix = np.zeros((8, 8), int)
    matrix[1, 1], matrix[6, 6] = 9, 1
    only = bootstrap_intervals(matrix, present_only=True)
    eight = bootstrap_intervals(matrix, present_only=False)
    np.testing.assert_array_equal(only, 1)
    np.testing.assert_allclose(eight, [[1, 1], [1 / 8, 2 / 8], [1, 1]])


def test_intervals_stand_beside_the_scores_with_and_without_duplicates():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 5], 200)
    logits = rng.normal(size=(200, 8))
    logits[np.arange(200), labels] += 1
    duplicate = np.arange(200) < 50
    scores = split_scores(logits, labels, duplicate, draws=300)
    assert split_scores(logits, labels, duplicate, draws=300) == scores, "seeded"
    for part in (scores, scores["without_duplicates"]):
        assert sum(part["n_by_emotion"].values()) == part["n"]
        assert list(part["n_by_emotion"]) == part["present"]
        for form in FORMS:
            for name in SUMMARY:
                low, high = part[form]["intervals"][name]
                assert 0 <= low <= part[form][name] <= high <= 1
            for emotion, recall in part[form]["recall"].items():
                n = part["n_by_emotion"][emotion]
                expected = wilson(round(recall * n), n)
                assert part[form]["recall_intervals"][emotion] == pytest.approx(expected)
    alone = split_scores(logits[50:], labels[50:], np.zeros(150, bool), draws=300)
    assert alone["8way"] == scores["without_duplicates"]["8way"]
    # Restricted to what occurs, the answers are others, and so are their intervals.
    assert scores["present_only"]["intervals"] != scores["present_only_labels"]["intervals"]
    plain = split_scores(logits, labels, duplicate)
    assert "intervals" not in plain["8way"]
    assert "images_per_macro_f1_point" not in plain


def test_images_per_point_is_what_moving_them_does():
    predicted, labels = small_case()
    matrix = counted(np.repeat(predicted, 20), np.repeat(labels, 20)).astype(float)
    before = summary_of(matrix, present_only=False)[1]
    found = images_per_point(matrix)
    assert set(found) <= {EMOTIONS[c] for c in np.unique(labels)}
    for emotion, images in found.items():
        row = EMOTIONS.index(emotion)
        moved = matrix.copy()
        wrong = matrix[row].sum() - matrix[row, row]
        moved[row] *= 1 - images / wrong
        moved[row, row] = matrix[row, row] + images
        assert summary_of(moved, present_only=False)[1] - before == pytest.approx(0.01)
        assert moved.min() >= 0
    assert found["happiness"] > found["fear"], "many images weigh less each"


def test_images_per_point_leaves_out_what_has_no_point_to_give():
    matrix = np.diag([1000, 50, 50, 50, 50, 50, 50, 0])
    matrix[1, 2] = 20
    matrix[0, 1] = 1  # one mistake among a thousand is worth less than a point
    assert list(images_per_point(matrix)) == ["happiness"]
    assert images_per_point(np.diag([5] * 8)) == {}
