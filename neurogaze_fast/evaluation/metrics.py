"""Scores of one split: accuracy, macro-F1, balanced accuracy and recall, in three named forms.

Data sets differ in which of the eight emotions they hold, and a score that is silent about absent
classes cannot be compared. So every split is scored three times, and each form keeps its name:

* ``8way``: argmax over all eight classes; macro-F1 averages all eight, an absent class counts 0;
* ``present_only``: argmax over the classes that occur in the split, averages over the same classes;
* ``present_only_labels``: argmax over all eight, averages over the classes that occur. Only its
  macro-F1 can differ from ``8way``: the other scores never look at an absent class.

NeuroGaze-Distill prints one "present-only" number whose rise in accuracy only ``present_only``
explains, while its text describes ``present_only_labels``; that is why both are here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.intervals import bootstrap_intervals, images_per_point, wilson

FORMS = ("8way", "present_only", "present_only_labels")
"""The three forms, in the order in which they are shown."""

SUMMARY = ("accuracy", "macro_f1", "balanced_accuracy")
"""The three single numbers of a form, as fractions."""

_ALL = np.arange(len(EMOTIONS))


def split_scores(
    logits: np.ndarray, labels: np.ndarray, duplicate: np.ndarray, *, draws: int = 0
) -> dict[str, Any]:
    """Score one split, with and without the images that also occur in the training set.

    Absent classes: ``8way`` macro-F1 averages all eight classes and gives an absent one 0 (also
    when it was never predicted), so a split without, say, neutral cannot reach 1. Balanced
    accuracy is in every form the mean recall over the classes that occur, because the recall of
    a class without images is undefined; for the same reason ``recall`` leaves absent classes out.
    Among equal logits the first class wins.

    Args:
        logits: [N, 8] float, classes in the order of :data:`neurogaze_fast.emotions.EMOTIONS`.
            Probabilities do as well: only their order matters.
        labels: [N] integer, 0..7.
        duplicate: [N] bool, True for an image that is byte-equal to one of the training set.
        draws: bootstrap draws of the 95 % intervals (intervals.py); 0 leaves intervals out.

    Returns:
        ``{FORM: {"accuracy", "macro_f1", "balanced_accuracy", "recall": {emotion: ...}}, "n",
        "present": [emotion, ...], "n_by_emotion": {emotion: ...}, "without_duplicates": {the same
        keys}}``, fractions as plain floats, ready for JSON. The classes of ``without_duplicates``
        are those which still occur there; it is None when every image is a duplicate. With `draws`
        each form also holds ``"intervals": {score: [low, high]}`` and ``"recall_intervals":
        {emotion: [low, high]}`` (Wilson), and beside ``n`` is ``"images_per_macro_f1_point"``.

    Raises:
        DataError: empty input, shapes or dtypes that do not fit, a label outside 0..7, or a logit
            that is NaN or infinite.
    """
    logits, labels = _checked(logits, labels)
    duplicate = np.asarray(duplicate)
    if duplicate.dtype != np.bool_ or duplicate.shape != labels.shape:
        raise DataError(
            f"duplicate must be bool[{len(labels)}], one flag per image, "
            f"but it is {duplicate.dtype}{list(duplicate.shape)}."
        )
    scores = _scores(logits, labels, draws)
    fresh = ~duplicate
    scores["without_duplicates"] = (
        _scores(logits[fresh], labels[fresh], draws) if fresh.any() else None
    )
    return scores


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count predictions: int64[8, 8], true class in the row, argmax over all 8 in the column.

    Args:
        logits: [N, 8] float.
        labels: [N] integer, 0..7.

    Raises:
        DataError: as :func:`split_scores`.
    """
    logits, labels = _checked(logits, labels)
    return _count(logits.argmax(axis=1), labels)


def vote_ceiling(votes: np.ndarray, *, draws: int = 20, seed: int = 0) -> dict[str, float]:
    """Estimate what a perfect model could score, given that the labels are votes of few people.

    The oracle answers each image's most voted emotion; then every image is put to a new vote of
    as many people, drawn from its own distribution, and the winner is the label. The score is the
    mean over `draws` such votes. It is an estimate, and a slightly generous one: the observed
    votes stand in for the true distribution, and they are more decided than it is.

    Args:
        votes: [N, 8] integer vote counts (not fractions), at least one vote per row.
        draws: how often the whole split is voted on again.
        seed: of the draws; the same seed gives the same numbers.

    Returns:
        ``{"accuracy", "macro_f1", "balanced_accuracy"}``: fractions, in the form ``8way``.

    Raises:
        DataError: votes that are empty, negative, not integer or not [N, 8]; a row without votes.
    """
    votes = np.asarray(votes)
    if votes.ndim != 2 or votes.shape[1] != len(EMOTIONS) or len(votes) == 0 or draws < 1:
        raise DataError(
            f"votes must be [N, {len(EMOTIONS)}] with N >= 1 and draws >= 1, but they are "
            f"{list(votes.shape)} and {draws}."
        )
    if votes.dtype.kind not in "iu" or votes.min() < 0 or votes.sum(axis=1).min() < 1:
        raise DataError(
            "votes must be whole counts, none negative, with at least one vote in every row: "
            "fractions no longer tell how many people voted."
        )
    voters = votes.sum(axis=1, dtype=np.int64)
    oracle = votes.argmax(axis=1)
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(draws):
        labels = rng.multinomial(voters, votes / voters[:, None]).argmax(axis=1)
        form = _form(oracle, labels)
        results.append([form[name] for name in SUMMARY])
    return dict(zip(SUMMARY, np.mean(results, axis=0).tolist(), strict=True))


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, 8] and labels [N] as arrays that can be scored, or a DataError saying why not."""
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] != len(EMOTIONS) or labels.shape != logits.shape[:1]:
        raise DataError(
            f"Scores need logits [N, {len(EMOTIONS)}] and labels [N], but got logits "
            f"{list(logits.shape)} and labels {list(labels.shape)}."
        )
    if len(labels) == 0:
        raise DataError("There is nothing to score: the split holds no labelled image.")
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise DataError(
            "Scores need floating-point logits and integer labels, but got "
            f"{logits.dtype} and {labels.dtype}."
        )
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{np.count_nonzero(~finite)} of {len(labels)} rows of logits hold NaN or infinity "
            f"(the first is row {int(finite.argmin())}): the model's output is broken."
        )
    valid = (labels >= 0) & (labels < len(EMOTIONS))
    if not valid.all():
        row = int(valid.argmin())
        raise DataError(
            f"{np.count_nonzero(~valid)} of {len(labels)} labels lie outside "
            f"0..{len(EMOTIONS) - 1} (the first is {int(labels[row])} in row {row})."
        )
    return logits, labels.astype(np.int64)


def _scores(logits: np.ndarray, labels: np.ndarray, draws: int) -> dict[str, Any]:
    """The three forms and what was counted, of checked input."""
    present = np.unique(labels)
    anything = logits.argmax(axis=1)
    restricted = present[logits[:, present].argmax(axis=1)]
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    scores: dict[str, Any] = {
        "8way": _form(anything, labels, draws=draws),
        "present_only": _form(restricted, labels, present_only=True, draws=draws),
        "present_only_labels": _form(anything, labels, present_only=True, draws=draws),
        "n": len(labels),
        "present": [EMOTIONS[index] for index in present],
        "n_by_emotion": {EMOTIONS[index]: int(counts[index]) for index in present},
    }
    if draws:
        scores["images_per_macro_f1_point"] = images_per_point(_count(anything, labels))
    return scores


def _form(
    predicted: np.ndarray, labels: np.ndarray, *, present_only: bool = False, draws: int = 0
) -> dict[str, Any]:
    """One form: macro-F1 over all classes or those that occur, recalls over those that occur."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    # zero_division also silences the warning about classes that were never met or predicted.
    _, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=_ALL, average=None, zero_division=0
    )
    occurs = np.flatnonzero(support)
    form: dict[str, Any] = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1[occurs if present_only else _ALL].mean()),
        "balanced_accuracy": float(recall[occurs].mean()),
        "recall": {EMOTIONS[index]: float(recall[index]) for index in occurs},
    }
    if draws:
        matrix = _count(predicted, labels)
        bounds = bootstrap_intervals(matrix, present_only=present_only, draws=draws)
        form["intervals"] = dict(zip(SUMMARY, bounds.tolist(), strict=True))
        form["recall_intervals"] = {
            EMOTIONS[index]: list(wilson(int(matrix[index, index]), int(support[index])))
            for index in occurs
        }
    return form


def _count(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    cells = np.bincount(labels * len(_ALL) + predicted, minlength=len(_ALL) ** 2)
    return cells.reshape(len(_ALL), len(_ALL))
