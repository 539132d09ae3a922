"""The answer for one face, which Predictor, predict and serve share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurogaze_fast.emotions import EMOTIONS

if TYPE_CHECKING:
    import numpy as np

ANSWER_COLUMNS = ("label", *EMOTIONS, "valence", "arousal")
BOX_COLUMNS = ("left", "top", "right", "bottom", "score")


@dataclass(frozen=True)
class Face:
    """What a model says about one face. An expression is not an emotion (RESPONSIBLE_USE.md)."""

    label: str
    """The most probable of emotions.EMOTIONS."""
    probabilities: dict[str, float]
    """Of each emotion, in their order; they sum to 1."""
    valence: float
    """On [-1, 1]: the probabilities' mean over emotions.VALENCE_AROUSAL."""
    arousal: float
    """Likewise."""
    box: tuple[float, float, float, float] | None = None
    """left, top, right, bottom in pixels of the picture; None for a face that was cut out before,
    of which no picture is known."""
    score: float | None = None
    """The detector's, on [0, 1]; None where none was asked."""

    @classmethod
    def from_outputs(
        cls, probabilities: np.ndarray, valence_arousal: np.ndarray, box: np.ndarray | None = None
    ) -> Face:
        """One row of an engine's outputs, float32 [8] and [2].

        `box`: float32 [5], left, top, right, bottom and score, NaN where no detector was asked.
        """
        edges, score = None, None
        if box is not None:
            left, top, right, bottom, found = map(float, box)
            edges, score = (left, top, right, bottom), None if math.isnan(found) else found
        return cls(
            EMOTIONS[int(probabilities.argmax())],
            dict(zip(EMOTIONS, map(float, probabilities), strict=True)),
            float(valence_arousal[0]),
            float(valence_arousal[1]),
            edges,
            score,
        )

    @property
    def confidence(self) -> float:
        """The probability of :attr:`label`."""
        return self.probabilities[self.label]

    def to_json(self) -> dict[str, Any]:
        """The server's form; box and score are there where a detector was asked."""
        answer: dict[str, Any] = {
            "label": self.label,
            "probabilities": self.probabilities,
            "valence": self.valence,
            "arousal": self.arousal,
        }
        if self.box is not None and self.score is not None:
            answer |= {"box": [round(edge, 1) for edge in self.box], "score": self.score}
        return answer

    def row(self) -> dict[str, Any]:
        """The flat, rounded form of predict's table: BOX_COLUMNS and ANSWER_COLUMNS."""
        edges = (None,) * 4 if self.box is None else (round(edge, 1) for edge in self.box)
        score = None if self.score is None else round(self.score, 4)
        return {
            **dict(zip(BOX_COLUMNS, (*edges, score), strict=True)),
            "label": self.label,
            **{name: round(p, 6) for name, p in self.probabilities.items()},
            "valence": round(self.valence, 4),
            "arousal": round(self.arousal, 4),
        }


def faces_of(
    probabilities: np.ndarray, valence_arousal: np.ndarray, boxes: np.ndarray | None = None
) -> list[Face]:
    """Faces of an engine's outputs, float32 [N, 8] and [N, 2], and their boxes [N, 5]."""
    where = [None] * len(probabilities) if boxes is None else boxes
    return [
        Face.from_outputs(*row) for row in zip(probabilities, valence_arousal, where, strict=True)
    ]
