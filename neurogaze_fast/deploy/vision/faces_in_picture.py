"""From a picture to faces of the model's size: found, chosen and cut out. predict and serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.deploy.vision.crop import MARGIN, MAX_FACES, MIN_FACE, cut_square, square_around
from neurogaze_fast.errors import ConfigError

if TYPE_CHECKING:
    from neurogaze_fast.deploy.vision.detect import Detector


@dataclass(frozen=True)
class Found:
    """The faces of one picture, and how many more were left out."""

    boxes: np.ndarray
    """float32 [n, 5]: left, top, right, bottom and score, NaN where no detector was asked."""
    faces: np.ndarray
    """uint8 [n, size, size, 3]."""
    small: int
    """Left out: smaller than `min_face`."""
    many: int
    """Left out: beyond the most of one picture."""


class FaceFinder:
    """Finds the faces of a picture and brings them to the engine's size."""

    def __init__(
        self,
        detector: Detector | None,
        *,
        margin: float = MARGIN,
        min_face: int = MIN_FACE,
        max_faces: int = MAX_FACES,
    ) -> None:
        """Without a detector every picture is taken for one face, cut out already."""
        self.detector = detector
        self._margin, self._min_face, self._max_faces = margin, min_face, max_faces

    def find(self, image: np.ndarray, size: int, limit: int | None = None) -> Found:
        """The faces, surest first, at most `limit` and `max_faces`; may run in several threads.

        Args:
            image: uint8 [H, W, 3] RGB.
            size: Sides of the faces, in pixels.
        """
        height, width = image.shape[:2]
        if self.detector is None:
            box = np.array([[0, 0, width, height, np.nan]], np.float32)
            return Found(box, prepare_face(image, size)[None], 0, 0)
        boxes = self.detector.detect(image)
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, initial=0)
        # A box far larger than the picture is a mistake, and its whole square would be cut out. By
        # the shorter side, that square's area stays within a few times the picture's.
        boxes, sides = (kept[sides <= 2 * min(height, width)] for kept in (boxes, sides))
        large = boxes[sides >= self._min_face]
        chosen = large[: self._max_faces if limit is None else min(limit, self._max_faces)]
        faces = np.zeros((len(chosen), size, size, 3), np.uint8)
        for face, box in zip(faces, chosen, strict=True):
            face[:] = prepare_face(cut_square(image, *square_around(box, self._margin)), size)
        return Found(chosen, faces, len(boxes) - len(large), len(large) - len(chosen))


def open_faces() -> FaceFinder | None:
    """The server's finder, or None where no detector is installed."""
    try:
        from neurogaze_fast.deploy.vision.detect import CenterFace

        # One thread: two pictures are searched at a time, and the engine wants the other cores.
        return FaceFinder(CenterFace(threads=1))
    except (ImportError, ConfigError):
        return None
