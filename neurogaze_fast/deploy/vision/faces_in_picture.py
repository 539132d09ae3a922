"""From a picture to faces of the model's size: found, chosen and cut out. predict and serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.deploy.vision.crop import MARGIN, MAX_FACES, MIN_FACE, cut_turned
from neurogaze_fast.deploy.vision.quality import Qualities, measure
from neurogaze_fast.deploy.vision.upright import square_of, upright_square
from neurogaze_fast.errors import ConfigError

if TYPE_CHECKING:
    from neurogaze_fast.deploy.vision.detect import Detector


@dataclass(frozen=True)
class Located:
    """Where the faces of one picture are, surest first, and how many more were left out."""

    boxes: np.ndarray
    """float32 [n, 5]: left, top, right, bottom and score, NaN where no detector was asked."""
    points: np.ndarray
    """float32 [n, 5, 2]: eyes, nose, mouth's corners (x, y); NaN where the detector gives none."""
    squares: np.ndarray
    """float64 [n, 4]: centre x, y, side and degrees turned clockwise of what is cut out."""
    small: int = 0
    """Left out: smaller than `min_face`."""
    many: int = 0
    """Left out: beyond the most of one picture."""

    @property
    def each(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What there is of each face."""
        return self.boxes, self.points, self.squares


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
    qualities: Qualities | None = field(default=None, compare=False)
    """How well each can be judged; None where no detector was asked."""


class FaceFinder:
    """Finds the faces of a picture and brings them to the engine's size."""

    def __init__(
        self,
        detector: Detector | None,
        *,
        margin: float = MARGIN,
        min_face: int = MIN_FACE,
        max_faces: int = MAX_FACES,
        upright: bool = True,
    ) -> None:
        """Without a detector every picture is taken for one face, cut out already.

        `upright`: tilted faces are turned before they are cut out.
        """
        self.detector = detector
        self._margin, self._min_face, self._max_faces = margin, min_face, max_faces
        self._upright = upright

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
        at = self.locate(image, limit)
        faces = cut_out(image, at.squares, size)
        qualities = measure(faces, at.boxes, at.points)
        return Found(at.boxes, faces, at.small, at.many, qualities)

    def locate(self, image: np.ndarray, limit: int | None = None) -> Located:
        """Where the faces are; a detector must be there."""
        detector = self.detector
        if detector is None:
            raise ConfigError("Faces are looked for, but no detector was given.")
        height, width = image.shape[:2]
        found = detector.detect(image)
        sides = (found[:, 2:4] - found[:, :2]).max(axis=1, initial=0)
        # A box far larger than the picture is a mistake, and its whole square would be cut out. By
        # the shorter side, that square's area stays within a few times the picture's.
        found, sides = (kept[sides <= 2 * min(height, width)] for kept in (found, sides))
        large = found[sides >= self._min_face]
        chosen = large[: self._max_faces if limit is None else min(limit, self._max_faces)]
        boxes = chosen[:, :5]
        if found.shape[1] > 5:
            points = chosen[:, 5:15].reshape(-1, 5, 2)
        else:
            points = np.full((len(chosen), 5, 2), np.nan, np.float32)
        squares = np.zeros((len(chosen), 4))
        for square, box, five in zip(squares, boxes, points, strict=True):
            if self._upright and np.isfinite(five).all():
                square[:] = upright_square(image, box, five, self._margin, detector)
            else:
                square[:] = square_of(box, self._margin)
        left_out = len(found) - len(large), len(large) - len(chosen)
        return Located(boxes, points, squares, *left_out)


def cut_out(image: np.ndarray, squares: np.ndarray, size: int) -> np.ndarray:
    """uint8 [n, size, size, 3] of squares [n, 4] (see :class:`Located`)."""
    faces = np.zeros((len(squares), size, size, 3), np.uint8)
    for face, square in zip(faces, squares, strict=True):
        face[:] = prepare_face(cut_turned(image, square), size)
    return faces


def open_faces() -> FaceFinder | None:
    """The server's finder, or None where no detector is installed."""
    try:
        from neurogaze_fast.deploy.vision.detect import CenterFace

        # Two pictures are searched at a time, each by one thread: the engine wants the other cores.
        return FaceFinder(CenterFace(threads=2, streams=2))
    except (ImportError, ConfigError):
        return None
