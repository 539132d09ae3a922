"""From ten raters' votes to training rows, targets and weights.

Votes are [N, 10]: the eight emotions in FERPlus order, then `unknown` and `NF` (not a face).
"""

from __future__ import annotations

import numpy as np

from neurogaze_fast.emotions import EMOTIONS

VOTE_COLUMNS = (*EMOTIONS, "unknown", "NF")
"""Columns of a vote table, in the order of fer2013new.csv."""

RULES = ("argmax", "majority", "votes", "shared")
NUM_EMOTIONS = 8


def apply_rule(votes: np.ndarray, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Which rows a label rule keeps, and their targets.

    * ``argmax``: the column with most votes, ties to the first column; rows won by unknown or NF
      are dropped.
    * ``majority``: the rule of Barsoum et al. 2016: single votes are struck out, and the winner
      must hold more than half of what remains; rows won by unknown or NF are dropped.
    * ``votes``: the rows of ``argmax``; the eight emotions' votes, renormalised.
    * ``shared``: the rows of ``argmax``; emotions with equally many votes share the target.

    Args:
        votes: [N, 10] counts.

    Returns:
        (keep bool [N], targets float32 [N, 8]); targets of rows not kept are zero.
    """
    votes = np.asarray(votes, dtype=np.int64)
    counts = votes
    if rule == "majority":
        counts = np.where(votes > 1, votes, 0)
    winner = counts.argmax(1)
    keep = (winner < NUM_EMOTIONS) & (counts.max(1) > 0)
    if rule == "majority":
        keep &= 2 * counts.max(1) > counts.sum(1)
    targets = np.zeros((len(votes), NUM_EMOTIONS), np.float32)
    if rule == "votes":
        targets[keep] = renormalised(votes[keep])
    elif rule == "shared":
        targets[keep] = renormalised(leading(votes[keep]))
    elif rule in RULES:
        targets[keep, winner[keep]] = 1
    else:
        raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
    return keep, targets


def leading(votes: np.ndarray) -> np.ndarray:
    """bool [N, 8]: which of the eight emotions have most votes; several where they tie."""
    emotions = np.asarray(votes)[:, :NUM_EMOTIONS]
    return emotions == emotions.max(axis=1, keepdims=True)


def hard_labels(votes: np.ndarray) -> np.ndarray:
    """int64 [N]: the most voted of the eight emotions (the label of the ``argmax`` rule)."""
    return np.asarray(votes)[:, :NUM_EMOTIONS].argmax(1).astype(np.int64)


def renormalised(votes: np.ndarray) -> np.ndarray:
    """float32 [N, 8]: the eight emotions' shares of the votes given to them."""
    emotions = np.asarray(votes)[:, :NUM_EMOTIONS].astype(np.float64)
    return (emotions / emotions.sum(1, keepdims=True).clip(min=1)).astype(np.float32)


def crowd_logits(votes: np.ndarray) -> np.ndarray:
    """float32 [N, 8]: the crowd as a teacher, log((votes + 0.1) / sum).

    The 0.1 keeps emotions nobody named finite. Our choice: the paper does not say which teacher
    gives the logits it distils.
    """
    smoothed = np.asarray(votes)[:, :NUM_EMOTIONS].astype(np.float64) + 0.1
    return np.log(smoothed / smoothed.sum(1, keepdims=True)).astype(np.float32)


def class_weights(labels: np.ndarray, scheme: str) -> np.ndarray:
    """float32 [8] with mean 1 over the classes that occur; 0 votes in training give weight 0.

    ``inverse``: inverse frequency; ``sqrt``, ``fourth-root``: its roots; ``none``: ones.
    """
    counts = np.bincount(labels, minlength=NUM_EMOTIONS).astype(np.float64)
    power = {"none": 0.0, "fourth-root": 0.25, "sqrt": 0.5, "inverse": 1.0}[scheme]
    present = counts > 0
    weights = np.where(present, np.maximum(counts, 1) ** -power, 0.0)
    return (weights / weights[present].mean()).astype(np.float32)
