"""Scores by other label rules, and against the votes themselves, by arithmetic done another way."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import accuracy_score, f1_score

from neurogaze_fast.evaluation.calibration import Scaling, fit_temperature
from neurogaze_fast.evaluation.scoring import Predictions, scaling_of, score
from neurogaze_fast.evaluation.training_images import PIXELS, TrainingImages
from neurogaze_fast.evaluation.vote_scores import divergence_scores, rule_scores, vote_calibration
from neurogaze_fast.faces.labels import apply_rule, hard_labels, renormalised


def some_votes(n=400, seed=0):
    """Ten votes an image, often divided; now and then a tie or an `unknown`."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([0.6] * 8 + [0.1, 0.1], n)
    votes = np.array([rng.multinomial(10, p) for p in shares])
    return votes[apply_rule(votes, "argmax")[0]]


def some_logits(votes, seed=1):
    rng = np.random.default_rng(seed)
    return np.log(renormalised(votes) + 0.1) + rng.normal(0, 0.8, (len(votes), 8))


def literature(votes):
    """Microsoft's rule for one image, written as their script reads: the label, or None."""
    counts = [0 if v < 2 else v for v in votes]
    if max(counts) <= 0.5 * sum(counts) or max(counts) == 0:
        return None
    label = counts.index(max(counts))
    return label if label < 8 else None


def test_majority_is_the_rule_of_the_literature():
    votes = some_votes()
    logits = some_logits(votes)
    labels = [literature(row) for row in votes.tolist()]
    kept = [i for i, label in enumerate(labels) if label is not None]
    truth, answers = [labels[i] for i in kept], logits.argmax(1)[kept]
    found = rule_scores(logits, votes, draws=2)["majority"]
    assert found["n"] == len(kept) < len(votes)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, answers))
    expected = f1_score(truth, answers, labels=range(8), average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)


def test_a_tie_is_shared():
    votes = np.zeros((4, 10), int)
    votes[0, [0, 3]] = 5  # neutral and sadness
    votes[1, 3] = 10
    votes[2, 0] = 10
    votes[3, [1, 2, 3]] = 3  # three in first place
    answers = [3, 3, 0, 1]
    found = rule_scores(np.eye(8)[answers] * 9.0, votes, draws=1)["ties_shared"]
    assert found["n"] == 4
    assert found["accuracy"] == pytest.approx((0.5 + 1 + 1 + 1 / 3) / 4)
    # neutral: 1.5 images, 1 of them right; answered once. happiness: a third of an image; once.
    # sadness: 0.5 + 1 + 1/3 images, 1.5 right, answered twice. surprise: a third, never.
    f1 = [2 * 1 / (1.5 + 1), 2 / 3 / (1 / 3 + 1), 0, 2 * 1.5 / (0.5 + 1 + 1 / 3 + 2)]
    assert found["macro_f1"] == pytest.approx(sum(f1) / 8)
    recalls = [1 / 1.5, 1, 0, 1.5 / (0.5 + 1 + 1 / 3)]
    assert found["balanced_accuracy"] == pytest.approx(sum(recalls) / 4)
    # By plain argmax the first image would belong to neutral alone.
    assert apply_rule(votes[:1], "argmax")[1][0, 0] == 1


def test_each_ceiling_is_an_oracle_on_a_new_vote():
    votes = np.zeros((300, 10), int)
    votes[:, 1], votes[:, 0] = 8, 2
    found = rule_scores(np.eye(8)[np.ones(300, int)], votes, draws=40)
    assert found["majority"]["accuracy"] == 1
    # A new vote of ten with chance 0.8: happiness loses or ties with a chance of about 3 %.
    assert 0.95 < found["ties_shared"]["ceiling"]["accuracy"] < 0.995
    assert found["majority"]["ceiling"]["accuracy"] > found["ties_shared"]["ceiling"]["accuracy"]


def test_divergences_agree_with_scipy():
    votes = some_votes()
    logits = some_logits(votes)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    q = renormalised(votes).astype(float)
    found = divergence_scores(logits, votes)
    assert found["jsd"] == pytest.approx(np.mean(jensenshannon(p.T, q.T) ** 2), rel=1e-6)
    expected = np.mean([-sum(b * np.log(a) for a, b in zip(*pair)) for pair in zip(p, q)])  # noqa: B905
    assert found["nll"] == pytest.approx(expected)
    perfect = divergence_scores(np.log(q + 1e-12), votes)
    assert perfect["nll"] == pytest.approx(found["entropy"], abs=1e-6)
    assert perfect["jsd"] == pytest.approx(0, abs=1e-6)
    assert perfect["ece"] == pytest.approx(0, abs=1e-6)


def test_the_temperature_of_the_votes_is_another_than_that_of_the_winners():
    votes = some_votes(2000)
    logits = 3 * np.log(renormalised(votes) + 0.02)
    of_votes = fit_temperature(logits, renormalised(votes))
    of_labels = fit_temperature(logits, votes[:, :8].argmax(1))
    assert of_votes > 1.5 > of_labels
    before = divergence_scores(logits, votes)
    after = divergence_scores(logits, votes, of_votes)
    assert after["ece"] < before["ece"]
    assert after["nll"] == min(divergence_scores(logits, votes, of_votes * f)["nll"]
                               for f in (0.9, 1.0, 1.1))  # fmt: skip


def test_valid_is_never_scaled_with_its_own_temperature():
    votes = some_votes()
    logits = some_logits(votes)
    crossed = vote_calibration(logits, votes, Scaling("halves", cross_fit=True))
    assert len(crossed["temperature"]) == 2
    other = vote_calibration(logits, votes, Scaling("valid", 9.0, 1.5))
    assert other["temperature"] == 1.5
    assert other["after"] == divergence_scores(logits, votes, 1.5)
    assert vote_calibration(logits, votes, Scaling("none"))["after"] is None


def test_the_rules_are_also_applied_without_duplicates():
    """To the rows that are no training images, and to no others."""
    rng = np.random.default_rng(0)
    votes = np.zeros((60, 10), np.uint8)
    votes[:, :8] = rng.multinomial(10, np.full(8, 1 / 8), 60)
    part = SimpleNamespace(votes=votes, pixel_hashes=np.arange(120).view("V16"))
    logits = rng.normal(size=(60, 8)).astype(np.float32)
    predictions = Predictions("valid", logits, hard_labels(votes), part, np.arange(60))
    duplicate = rng.random(60) < 0.4
    training = TrainingImages(frozenset(part.pixel_hashes[duplicate].tolist()), PIXELS)
    scores = score(predictions, training, scaling_of("valid", None), draws=0).scores
    assert scores["duplicates"]["n"] == duplicate.sum() > 0
    wanted = rule_scores(logits[~duplicate], votes[~duplicate])
    assert scores["without_duplicates"]["rules"] == wanted != scores["rules"]
    unknown = score(predictions, TrainingImages(None), scaling_of("valid", None), draws=0).scores
    assert unknown["without_duplicates"] is None
    assert unknown["rules"] == scores["rules"]
