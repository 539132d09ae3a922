"""From a picture to faces of the model's size: found, chosen and cut out. predict and serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.crop import MARGIN, MAX_FACES, MIN_FACE, cut_square, square_around
from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.errors import ConfigError

if TYPE_CHECKING:
    from neurogaze_fast.deploy.detect import Detector


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
        self.left_out = {"small": 0, "many": 0}
        """Faces found and not used so far: smaller than `min_face`, beyond the most of one."""

    def find(
        self, image: np.ndarray, size: int, limit: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float32 [n, 5] (a missing score is NaN) and faces uint8 [n, size, size, 3].

        Surest first, n <= `limit` and `max_faces`.

        Args:
            image: uint8 [H, W, 3] RGB.
        """
        height, width = image.shape[:2]
        if self.detector is None:
            return (
                np.array([[0, 0, width, height, np.nan]], np.float32),
                prepare_face(image, size)[None],
            )
        boxes = self._chosen(self.detector.detect(image), max(height, width), limit)
        faces = np.zeros((len(boxes), size, size, 3), np.uint8)
        for face, box in zip(faces, boxes, strict=True):
            face[:] = prepare_face(cut_square(image, *square_around(box, self._margin)), size)
        return boxes, faces

    def _chosen(self, boxes: np.ndarray, longest: int, limit: int | None) -> np.ndarray:
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, initial=0)
        # A box far larger than the picture is a mistake that would cost its area in memory.
        boxes, sides = boxes[sides <= 2 * longest], sides[sides <= 2 * longest]
        self.left_out["small"] += int((sides < self._min_face).sum())
        boxes = boxes[sides >= self._min_face]
        most = self._max_faces if limit is None else min(limit, self._max_faces)
        self.left_out["many"] += max(0, len(boxes) - most)
        return boxes[:most]


def open_faces() -> FaceFinder | None:
    """The server's finder, or None where no detector is installed."""
    try:
        from neurogaze_fast.deploy.detect import CenterFace

        # One thread: two pictures are searched at a time, and the engine wants the other cores.
        return FaceFinder(CenterFace(threads=1))
    except (ImportError, ConfigError):
        return None
