"""The answer for one face, which Predictor, predict and serve share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neurogaze_fast.emotions import EMOTIONS

if TYPE_CHECKING:
    import numpy as np

    from neurogaze_fast.deploy.vision.quality import Qualities, Quality

ANSWER_COLUMNS = ("label", *EMOTIONS, "valence", "arousal")
BOX_COLUMNS = ("left", "top", "right", "bottom", "score")
QUALITY_COLUMNS = (
    "pixels",
    "sharpness",
    "yaw",
    "pitch",
    "roll",
    "quality",
    "certainty",
    "uncertain",
)
SMOOTHED_COLUMNS = (
    *("smoothed_label", "smoothed_confidence", "smoothed_valence", "smoothed_arousal"),
)


@dataclass(frozen=True)
class Smoothed:
    """What somebody expresses over time: one frame's answer and those before it."""

    label: str
    confidence: float
    """The probability of `label`."""
    valence: float
    arousal: float


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
    quality: Quality | None = None
    """How well the face can be judged; None where no detector was asked."""
    certainty: float | None = None
    """How often such an answer is right, by the model's confidence and the face's quality
    (vision/certainty.py); None where no detector was asked."""
    uncertain: bool = False
    """`certainty` is below the threshold that was asked for."""
    identity: int | None = None
    """Of a video: who it is among those seen, from 1; not a recognition of persons."""
    smoothed: Smoothed | None = None
    """Of a video: the answer over time."""

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
        """The server's form; box, score and how sure it is are there where a detector was asked."""
        answer: dict[str, Any] = {
            "label": self.label,
            "probabilities": self.probabilities,
            "valence": self.valence,
            "arousal": self.arousal,
        }
        if self.box is not None and self.score is not None:
            answer |= {"box": [round(edge, 1) for edge in self.box], "score": self.score}
        if self.quality is not None and self.certainty is not None:
            answer |= {
                "quality": round(self.quality.value, 3),
                "certainty": round(self.certainty, 3),
                "uncertain": self.uncertain,
            }
        return answer

    def row(self) -> dict[str, Any]:
        """The flat, rounded form of predict's table: BOX_COLUMNS, ANSWER_COLUMNS, QUALITY_COLUMNS
        and SMOOTHED_COLUMNS, None where something is not known."""
        edges = (None,) * 4 if self.box is None else (round(edge, 1) for edge in self.box)
        score = None if self.score is None else round(self.score, 4)
        return {
            **dict(zip(BOX_COLUMNS, (*edges, score), strict=True)),
            "label": self.label,
            **{name: round(p, 6) for name, p in self.probabilities.items()},
            "valence": round(self.valence, 4),
            "arousal": round(self.arousal, 4),
            **dict(zip(QUALITY_COLUMNS, self._quality_row(), strict=True)),
            **dict(zip(SMOOTHED_COLUMNS, self._smoothed_row(), strict=True)),
        }

    def _quality_row(self) -> tuple[Any, ...]:
        at, sure = self.quality, self.certainty
        if at is None or sure is None:
            return (None,) * len(QUALITY_COLUMNS)
        angles = (None if math.isnan(a) else round(a, 1) for a in (at.yaw, at.pitch, at.roll))
        size, blur = round(at.pixels, 1), round(at.sharpness, 4)
        return size, blur, *angles, round(at.value, 3), round(sure, 3), int(self.uncertain)

    def _smoothed_row(self) -> tuple[Any, ...]:
        if self.smoothed is None:
            return (None,) * len(SMOOTHED_COLUMNS)
        numbers = (self.smoothed.confidence, self.smoothed.valence, self.smoothed.arousal)
        return self.smoothed.label, *(round(number, 4) for number in numbers)


def faces_of(
    probabilities: np.ndarray,
    valence_arousal: np.ndarray,
    boxes: np.ndarray | None = None,
    qualities: Qualities | None = None,
    *,
    uncertain_below: float | None = None,
) -> list[Face]:
    """Faces of an engine's outputs, float32 [N, 8] and [N, 2], and their boxes [N, 5].

    With `qualities` each says how sure it is, and whether that is below `uncertain_below` (by
    default certainty.UNCERTAIN_BELOW).
    """
    where = [None] * len(probabilities) if boxes is None else boxes
    faces = [
        Face.from_outputs(*row) for row in zip(probabilities, valence_arousal, where, strict=True)
    ]
    if qualities is None:
        return faces
    from neurogaze_fast.deploy.vision.certainty import UNCERTAIN_BELOW, certainty

    least = UNCERTAIN_BELOW if uncertain_below is None else uncertain_below
    sure = certainty(probabilities.max(axis=1, initial=0), qualities)
    return [
        replace(face, quality=qualities[at], certainty=float(p), uncertain=bool(p < least))
        for at, (face, p) in enumerate(zip(faces, sure, strict=True))
    ]
