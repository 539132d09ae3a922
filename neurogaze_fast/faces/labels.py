"""From ten raters' votes to training rows, targets and weights.

Votes are [N, 10]: the eight emotions in FERPlus order, then `unknown` and `NF` (not a face).
"""

from __future__ import annotations

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError

VOTE_COLUMNS = (*EMOTIONS, "unknown", "NF")
"""Columns of a vote table, in the order of fer2013new.csv."""

RULES = ("argmax", "majority", "votes", "shared")
NUM_EMOTIONS = 8
MAX_VOTES = 255
_NAMED = 5
"""Rows an error names."""


def checked_votes(votes: np.ndarray, rows: np.ndarray, where: str) -> np.ndarray:
    """uint8 [N, 10] of the votes of N rows, whatever type of numbers they came as.

    Args:
        rows: [N] numbers by which an error names the rows.
        where: What the votes are of, for the error.

    Raises:
        DataError: another shape, or a vote that is no whole number from 0 to 255.
    """
    votes = np.asarray(votes)
    wanted = (len(rows), len(VOTE_COLUMNS))
    if votes.shape != wanted:
        raise DataError(
            f"{where} has votes of shape {list(votes.shape)} for {len(rows)} images, expected "
            f"{list(wanted)}: a row for each image, and in it {', '.join(VOTE_COLUMNS)}."
        )
    if votes.dtype == np.uint8:
        return votes
    if votes.dtype.kind not in "uif":
        raise DataError(f"{where} has votes of type {votes.dtype}, expected whole numbers.")
    with np.errstate(invalid="ignore"):
        fits = (votes >= 0) & (votes <= MAX_VOTES) & (votes == np.floor(votes))
    wrong = np.flatnonzero(~fits.all(axis=1))
    if len(wrong):
        found = ", ".join(
            f"row {rows[i]} ({VOTE_COLUMNS[column]} {votes[i, column]:g})"
            for i in wrong[:_NAMED]
            for column in np.flatnonzero(~fits[i])[:1]
        )
        raise DataError(
            f"{where} has {len(wrong)} row(s) with votes that are no whole numbers from 0 to "
            f"{MAX_VOTES}: {found}{' and others' if len(wrong) > _NAMED else ''}. Votes are counts "
            "of raters: correct these rows, or take them out."
        )
    return votes.astype(np.uint8)


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


def class_weights(labels: np.ndarray, scheme: str, *, mean_over: str = "rows") -> np.ndarray:
    """float32 [8], a weight for each class; a class without rows gets 0.

    ``inverse``: inverse frequency; ``sqrt``, ``fourth-root``: its roots; ``none``: ones.

    Args:
        labels: int64 [N], the rows' classes.
        mean_over: what has mean 1. ``rows``: the weights the rows get, so that cross-entropy is as
            large as without weights, whatever the scheme, and the weights of the terms beside it
            mean what is written. ``classes``: the weights of the classes that occur; FERPlus's rows
            then get 0.69 (fourth-root), 0.44 (sqrt) or 0.16 (inverse) on average.
    """
    counts = np.bincount(labels, minlength=NUM_EMOTIONS).astype(np.float64)
    power = {"none": 0.0, "fourth-root": 0.25, "sqrt": 0.5, "inverse": 1.0}[scheme]
    present = counts > 0
    weights = np.where(present, np.maximum(counts, 1) ** -power, 0.0)
    averaged = weights[labels] if mean_over == "rows" else weights[present]
    return (weights / averaged.mean()).astype(np.float32)
