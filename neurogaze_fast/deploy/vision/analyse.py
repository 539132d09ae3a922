"""Pictures to faces: found, cut out, and given probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.vision.crop import MARGIN, MAX_FACES, MIN_FACE
from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder
from neurogaze_fast.emotions import EMOTIONS

if TYPE_CHECKING:
    from neurogaze_fast.deploy.predictor import Predictor
    from neurogaze_fast.deploy.vision.detect import Detector


@dataclass(frozen=True)
class Face:
    """One face of a picture and what it expresses."""

    box: tuple[float, float, float, float]
    """left, top, right, bottom in pixels; the whole picture where none was looked for."""
    score: float | None
    """The detector's, None where none was asked."""
    probabilities: np.ndarray
    """float32 [8], in the order of the emotions."""
    valence: float
    arousal: float

    @property
    def label(self) -> str:
        """The likeliest emotion."""
        return EMOTIONS[int(self.probabilities.argmax())]

    @property
    def share(self) -> float:
        """The probability of :attr:`label`."""
        return float(self.probabilities.max())


class Analyser:
    """A detector (or none) and a predictor, and what lies between them."""

    def __init__(
        self,
        predictor: Predictor,
        detector: Detector | None,
        *,
        margin: float = MARGIN,
        min_face: int = MIN_FACE,
        max_faces: int = MAX_FACES,
    ) -> None:
        self.predictor = predictor
        self.finder = FaceFinder(detector, margin=margin, min_face=min_face, max_faces=max_faces)
        self.left_out = {"small": 0, "many": 0}
        """Faces found so far and not used: smaller than `min_face`, beyond `max_faces`."""

    def faces(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each image, uint8 [H, W, 3] RGB, surest first.

        All of them go through the predictor together.
        """
        size = self.predictor.engine.input_size
        found = [self.finder.find(image, size) for image in images]
        batch = np.concatenate([np.zeros((0, size, size, 3), np.uint8), *(f.faces for f in found)])
        self.left_out["small"] += sum(f.small for f in found)
        self.left_out["many"] += sum(f.many for f in found)
        answers = iter(zip(*self.predictor.probabilities(batch), strict=True))
        return [[self._face(box, *next(answers)) for box in f.boxes] for f in found]

    @staticmethod
    def _face(box: np.ndarray, probabilities: np.ndarray, va: np.ndarray) -> Face:
        left, top, right, bottom, score = map(float, box)
        return Face(
            (left, top, right, bottom),
            None if np.isnan(score) else score,
            probabilities,
            float(va[0]),
            float(va[1]),
        )
