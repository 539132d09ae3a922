"""Scores against the raters' votes: other rules for what is right, and the votes themselves.

FERPlus's images carry ten people's votes, and papers turn them into labels by different rules, so a
number means little without its rule. Beside the argmax rule, by which this package chooses:

* ``majority`` (Barsoum et al. 2016, the literature's): single votes are struck out, the winner must
  hold more than half of what remains, and other images are left out;
* ``ties_shared``: the images of argmax; one with k emotions in first place counts as a kth of an
  image of each of them, where argmax gives it whole to the first in the list.

Each has its own ceiling: what an oracle that knows the votes scores on a new vote of as many people
(:func:`metrics.vote_ceiling` says why that is slightly generous).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.calibration import BINS, Scaling, probabilities, scaled_with
from neurogaze_fast.evaluation.intervals import summary_of
from neurogaze_fast.evaluation.metrics import SUMMARY
from neurogaze_fast.faces.labels import apply_rule, leading, renormalised

RULES = ("majority", "ties_shared")


def rule_scores(
    logits: np.ndarray, votes: np.ndarray, *, draws: int = 20, seed: int = 0
) -> dict[str, Any]:
    """Accuracy, macro-F1 and balanced accuracy by each of :data:`RULES`, with its ceiling.

    Args:
        logits: [N, 8] float, of the images of the argmax rule.
        votes: [N, 10] whole counts: the emotions, unknown, NF.
        draws: new votes drawn for the ceiling, all columns drawn anew; seed: of the draws.

    Returns:
        ``{RULE: {"accuracy", "macro_f1", "balanced_accuracy", "n", "ceiling": {the three}}}``;
        None in place of a rule that keeps no image.
    """
    answers = np.asarray(logits).argmax(axis=1)
    votes = np.asarray(votes, np.int64)
    found: dict[str, Any] = {rule: _score(rule, answers, votes) for rule in RULES}
    rng = np.random.default_rng(seed)
    total = votes.sum(axis=1)
    oracle = votes[:, : len(EMOTIONS)].argmax(axis=1)
    again = [rng.multinomial(total, votes / total[:, None]) for _ in range(draws)]
    for rule, scores in found.items():
        if scores is None:
            continue
        ceilings = [_score(rule, oracle, new) for new in again]
        known = [[one[name] for name in SUMMARY] for one in ceilings if one is not None]
        means = np.mean(known, axis=0).tolist() if known else [None] * len(SUMMARY)
        scores["ceiling"] = dict(zip(SUMMARY, means, strict=True))
    return found


def _score(rule: str, answers: np.ndarray, votes: np.ndarray) -> dict[str, Any] | None:
    """The three summary scores of `answers` [N] under a rule; None where it keeps no image."""
    if rule == "majority":
        keep, targets = apply_rule(votes, "majority")
    else:
        keep, _ = apply_rule(votes, "argmax")
        targets = renormalised(leading(votes))
    if not keep.any():
        return None
    size = len(EMOTIONS)
    counts = np.zeros((size, size))
    np.add.at(counts.T, answers[keep], targets[keep])
    values = summary_of(counts, present_only=False).tolist()
    return {**dict(zip(SUMMARY, values, strict=True)), "n": int(keep.sum())}


def divergence_scores(
    logits: np.ndarray, votes: np.ndarray, temperature: float | np.ndarray = 1.0
) -> dict[str, float]:
    """How far the probabilities are from the shares of the eight emotions' votes.

    Args:
        logits: [N, 8]; votes: [N, 10] or [N, 8] counts; temperature: divides the logits, one for
            all or [N].

    Returns:
        ``nll``: mean of -sum_c q_c log p_c in nats (its least value is the votes' own entropy,
        ``entropy``); ``jsd``: mean Jensen-Shannon divergence in nats, 0 to log 2; ``ece``: mean
        distance of confidence and the share of votes for the answer, in 15 bins by confidence.
    """
    q = renormalised(votes).astype(np.float64)
    p = probabilities(logits, temperature)
    middle = (p + q) / 2
    top = p.argmax(axis=1)
    rows = np.arange(len(p))
    confidence, share = p[rows, top], q[rows, top]
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.abs(np.bincount(bins, confidence - share, minlength=BINS))
    return {
        "nll": float(-(q * np.log(np.maximum(p, 1e-300))).sum(axis=1).mean()),
        "entropy": float(_entropy(q).mean()),
        "jsd": float((_entropy(middle) - (_entropy(p) + _entropy(q)) / 2).mean()),
        "ece": float(gaps.sum() / len(p)),
    }


def vote_calibration(logits: np.ndarray, votes: np.ndarray, scaling: Scaling) -> dict[str, Any]:
    """:func:`divergence_scores` before and after a temperature that was fitted to votes.

    Args:
        scaling: where the temperature comes from.

    Returns:
        ``{"before": {...}, "after": the same or None, "temperature": T, or those of two halves, or
        None, "source"}``.
    """
    of_votes = replace(scaling, temperature=scaling.vote_temperature)
    used, stated, source = scaled_with(logits, renormalised(votes), of_votes)
    return {
        "before": divergence_scores(logits, votes),
        "after": None if used is None else divergence_scores(logits, votes, used),
        "temperature": stated,
        "source": source,
    }


def _entropy(p: np.ndarray) -> np.ndarray:
    """[N]: entropy in nats of distributions [N, C]."""
    return -np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0.0).sum(axis=1)
