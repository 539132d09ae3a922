"""Valence and arousal of a face, read out of its eight probabilities.

The read-out is called ``expected``: sum_c p_c va_c over the emotions' coordinates
(:data:`neurogaze_fast.emotions.VALENCE_AROUSAL`). It needs no further training, and never leaves
the area between the eight emotions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.teacher.scores import scores

COORDINATES = np.array([VALENCE_AROUSAL[emotion] for emotion in EMOTIONS])
"""float64 [8, 2]: (valence, arousal) of the emotions in their order."""


def expected_va(probabilities: np.ndarray) -> np.ndarray:
    """float64 [N, 2]: (valence, arousal) on [-1, 1] for probabilities [N, 8]."""
    return np.asarray(probabilities, np.float64) @ COORDINATES


def va_scores(predicted: np.ndarray, annotated: np.ndarray | None) -> dict[str, Any] | None:
    """CCC and RMSE of valence and arousal over the rows that were annotated.

    Args:
        predicted: [N, 2]; annotated: [N, 2] with NaN where there is no annotation, or None.

    Returns:
        ``{"read_out": "expected", "n", "valence": {"ccc", "rmse"}, "arousal": ...}``, or None
        where nothing was annotated. A CCC is None where annotations and predictions are one
        and the same constant.
    """
    if annotated is None:
        return None
    known = np.isfinite(annotated).all(axis=1)
    if not known.any():
        return None
    found = scores(predicted[known], annotated[known])
    kept = {name: {k: found[name][k] for k in ("ccc", "rmse")} for name in found}
    return {"read_out": "expected", "n": int(known.sum()), **kept}
