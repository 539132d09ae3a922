"""Scores by group: people of one age, one camera, whatever a column of a manifest says.

docs/groups.md says what such a table can and cannot show. The test asks whether groups are
answered differently given what they show: labels of groups are exchanged among images of the same
emotion, so that a group with more fear in it does not look worse for that alone. Its p-values are
corrected for the number of groups by the largest deviation of each exchange (Westfall & Young,
1993).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.calibration import calibration_scores, probabilities
from neurogaze_fast.evaluation.intervals import bootstrap_intervals, summary_of, wilson
from neurogaze_fast.evaluation.metrics import SUMMARY, confusion

if TYPE_CHECKING:
    from rich.table import Table

SMALLEST = 30
"""Images below which a group is shown but neither tested nor part of the largest gap."""
MOST = 50
"""Groups of a column; more of them are no groups (names of files, numbers)."""
EXCHANGES = 5000
NOT_STATED = "(not stated)"
_SEED = 20250911


def group_scores(logits: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Scores, calibration and error rates by group, their largest gap, and a test.

    Args:
        logits: float [N, 8]; labels: int [N]; groups: str [N], empty where not stated.

    Returns:
        ``{"groups": {name: {"n", "small", accuracy, macro_f1, balanced_accuracy, "intervals",
        "present", "ece", "overconfidence", "error_rate": {emotion: {"rate", "interval", "n"}},
        "deviation", "p_corrected"}}, "largest_gap": {"between": [a, b], "accuracy", "interval"} or
        None, "p": of no difference between any of the groups, or None}``. Fractions. macro_f1 is
        over the emotions that occur in the group; ``deviation`` is its accuracy less what its
        emotions let expect if groups made no difference.

    Raises:
        DataError: fewer than two groups, or more than :data:`MOST`.
    """
    names, of = np.unique(np.where(groups == "", NOT_STATED, groups), return_inverse=True)
    if not 2 <= len(names) <= MOST:
        shown = ", ".join(map(str, names[:5]))
        raise DataError(
            f"The scored images have {len(names)} different values in this column ({shown}); groups"
            f" can be compared where there are 2 to {MOST}. Name another column with --groups."
        )
    right = logits.argmax(1) == labels
    counts = np.bincount(of)
    tested = np.flatnonzero(counts >= SMALLEST)
    deviation, corrected, p = _exchange_test(right, labels, of, len(names), tested)
    found = {}
    for number, name in enumerate(names.tolist()):
        mine = of == number
        found[name] = {
            **_scores(logits[mine], labels[mine]),
            "small": bool(counts[number] < SMALLEST),
            "deviation": float(deviation[number]),
            "p_corrected": corrected[number],
        }
    return {"groups": found, "largest_gap": _largest_gap(right, of, names, tested), "p": p}


def _scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    matrix = confusion(logits, labels)
    values = summary_of(matrix, present_only=True).tolist()
    bounds = bootstrap_intervals(matrix, present_only=True)
    intervals = dict(zip(SUMMARY, bounds.tolist(), strict=True))
    hits, n = int(np.diagonal(matrix).sum()), len(labels)
    intervals["accuracy"] = list(wilson(hits, n))  # keeps a width in a small group without errors
    rates = {}
    for row in np.flatnonzero(matrix.sum(1)):
        of_emotion = int(matrix[row].sum())
        wrong = of_emotion - int(matrix[row, row])
        rates[EMOTIONS[row]] = {
            "rate": wrong / of_emotion,
            "interval": list(wilson(wrong, of_emotion)),
            "n": of_emotion,
        }
    confidence = probabilities(logits).max(1).mean()
    return {
        "n": n,
        **dict(zip(SUMMARY, values, strict=True)),
        "intervals": intervals,
        "present": list(rates),
        "ece": calibration_scores(logits, labels)["ece"],
        "overconfidence": float(confidence - hits / n),
        "error_rate": rates,
    }


def _exchange_test(
    right: np.ndarray, labels: np.ndarray, of: np.ndarray, count: int, tested: np.ndarray
) -> tuple[np.ndarray, list[float | None], float | None]:
    """(deviation of each group's accuracy [G], corrected p of each, p of any).

    A group's right answers, less those its emotions let expect, over their standard deviation when
    groups are exchanged among the images of one emotion (hypergeometric).
    """
    sizes = np.bincount(of, minlength=count).astype(np.float64)
    expected, variance = np.zeros(count), np.zeros(count)
    strata = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for rows in strata:
        n = len(rows)
        share, inside = right[rows].mean(), np.bincount(of[rows], minlength=count)
        expected += inside * share
        if n > 1:
            variance += inside * share * (1 - share) * (n - inside) / (n - 1)
    spread = np.sqrt(np.maximum(variance, 1e-12))

    def deviations(answers: np.ndarray) -> np.ndarray:
        """[G] of answers [N] whose groups are `of`."""
        return np.bincount(of, weights=answers, minlength=count) - expected

    hits = deviations(right)
    observed = np.where(variance > 1e-9, np.abs(hits) / spread, 0.0)
    if len(tested) < 2:
        return hits / sizes, [None] * count, None
    rng = np.random.default_rng(_SEED)
    largest = np.empty(EXCHANGES)
    answers = right.astype(np.float64)
    for number in range(EXCHANGES):
        for rows in strata:
            answers[rows] = answers[rng.permutation(rows)]
        drawn = np.where(variance > 1e-9, np.abs(deviations(answers)) / spread, 0.0)
        largest[number] = drawn[tested].max()
    p = [(1 + int((largest >= value - 1e-9).sum())) / (EXCHANGES + 1) for value in observed]
    corrected = [p[g] if g in tested else None for g in range(count)]
    return hits / sizes, corrected, min(p[g] for g in tested)


def _largest_gap(
    right: np.ndarray, of: np.ndarray, names: np.ndarray, tested: np.ndarray
) -> dict[str, Any] | None:
    """The two groups farthest apart in accuracy; the interval is Newcombe's of two shares.

    Looked for among all pairs, so it is larger than that of two groups chosen beforehand.
    """
    if len(tested) < 2:
        return None
    hits, n = np.bincount(of, weights=right), np.bincount(of)
    shares = hits / n
    best, worst = tested[shares[tested].argmax()], tested[shares[tested].argmin()]
    gap = shares[best] - shares[worst]
    (low_b, high_b), (low_w, high_w) = (wilson(int(hits[g]), int(n[g])) for g in (best, worst))
    below = np.hypot(shares[best] - low_b, high_w - shares[worst])
    above = np.hypot(high_b - shares[best], shares[worst] - low_w)
    return {
        "between": [str(names[best]), str(names[worst])],
        "accuracy": float(gap),
        "interval": [float(gap - below), float(gap + above)],
    }


def group_rows(found: dict[str, Any]) -> list[list[str]]:
    """A row for each group: name, n, three scores with intervals, calibration, deviation, p."""
    rows = []
    for name, group in found["groups"].items():
        cells = []
        for score in SUMMARY:
            low, high = group["intervals"][score]
            cells.append(f"{100 * group[score]:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        p = group["p_corrected"]
        rows.append(
            [
                name + (" (few images)" if group["small"] else ""),
                str(group["n"]),
                *cells,
                f"{100 * group['ece']:.1f}",
                f"{100 * group['overconfidence']:+.1f}",
                f"{100 * group['deviation']:+.1f}",
                "" if p is None else f"{p:.2g}",
            ]
        )
    return rows


GROUP_HEAD = (
    *("group", "n", "accuracy", "macro-F1", "balanced acc.", "ECE", "over-confidence"),
    *("accuracy beyond its emotions", "p, corrected"),
)


def group_table(found: dict[str, Any]) -> Table:
    """The groups for the terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="per cent")
    for place, head in enumerate(GROUP_HEAD):
        table.add_column(head, justify="left" if place == 0 else "right")
    for row in group_rows(found):
        table.add_row(*row)
    return table


def group_remark(column: str, found: dict[str, Any]) -> str:
    """The table in one paragraph, with what it does not show."""
    gap = found["largest_gap"]
    if gap is None:
        return f"By {column}: fewer than two groups have {SMALLEST} images, so nothing is compared."
    best, worst = gap["between"]
    low, high = gap["interval"]
    return (
        f"By {column}: the largest gap in accuracy is {100 * gap['accuracy']:.1f} points "
        f"[{100 * low:.1f}, {100 * high:.1f}], {best} over {worst}; that groups make no difference "
        f"given the emotions they show has p = {found['p']:.2g} (corrected for the number of "
        "groups). A small p does not say why, and a large one not that groups are treated alike: "
        "docs/groups.md."
    )
