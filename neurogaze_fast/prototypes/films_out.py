"""Would the bank be the same had the teacher never seen its films?

The usual bank holds out people and no films, so its directions may stand for films instead of
feelings. A second teacher, trained without half of the films, makes a bank of the validation
people watching just these. Two teachers' embedding spaces are unlike, so the second is turned onto
the first by the rotation (orthogonal Procrustes) that best matches the windows both were trained
on; no window of a bank takes part in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurogaze_fast.prototypes.bank import PrototypeBank

ANCHORS = 4096
"""Training windows the rotation is fitted to, evenly spaced, our choice."""


def compare_banks(
    usual: PrototypeBank, films_out: PrototypeBank, anchors: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """How alike two banks are, cell by cell, over the cells that both have by themselves.

    Args:
        usual, films_out: of one grid and width.
        anchors: embeddings [n, D] of the same windows by the usual teacher and by the other one.

    Returns:
        {"cells": how many both have, "cosine": mean over them, "other_cells": mean cosine of each
        to the other bank's other cells, "centred_cosine" and "centred_other_cells": the same with
        the banks' mean direction over these cells taken out}; None where fewer than two cells (or,
        centred, fewer than three) are shared. Where "cosine" is no larger than "other_cells", the
        bank says nothing of films that its teacher did not see.
    """
    shared = ~usual.filled & ~films_out.filled
    count = int(shared.sum())
    found: dict[str, Any] = {"cells": count}
    first = usual.prototypes[shared].astype(np.float64)
    second = films_out.prototypes[shared].astype(np.float64) @ rotation(anchors[1], anchors[0])
    for prefix, least, centre in (("", 2, False), ("centred_", 3, True)):
        names = f"{prefix}cosine", f"{prefix}other_cells"
        if count < least:
            found |= dict.fromkeys(names)
            continue
        one, other = (_unit(p - p.mean(0)) if centre else _unit(p) for p in (first, second))
        cosine = one @ other.T
        same = np.eye(count, dtype=bool)
        found |= dict(
            zip(names, (float(cosine[same].mean()), float(cosine[~same].mean())), strict=True)
        )
    return found


def rotation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float64 [D, D]: the orthogonal R with source @ R nearest to target, both [n, D].

    Rows are brought to unit length first, as in a bank.
    """
    left, _, right = np.linalg.svd(_unit(source).T @ _unit(target))
    return left @ right


def films_out_line(found: dict[str, Any]) -> str:
    """What is printed of :func:`compare_banks`."""
    if found["cosine"] is None:
        return (
            f"With films held out only {found['cells']} cell(s) can be compared: too few clips to "
            "say whether the bank depends on its films"
        )
    centred = found["centred_cosine"]
    more = (
        f"; about their mean {centred:+.2f} and {found['centred_other_cells']:+.2f}"
        if centred is not None
        else ""
    )
    return (
        f"Bank of films its teacher never saw against the usual one: mean cosine "
        f"{found['cosine']:+.2f} over {found['cells']} cells, {found['other_cells']:+.2f} to the "
        f"other cells{more}"
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
