"""Pictures to faces: found, cut out, and given probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.face import Face, faces_of
from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.deploy.vision.crop import MARGIN, MAX_FACES, MIN_FACE
from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder, Found, Located, cut_out
from neurogaze_fast.deploy.vision.quality import Qualities, joined, measure

if TYPE_CHECKING:
    from neurogaze_fast.deploy.engines.base import Engine
    from neurogaze_fast.deploy.vision.detect import Detector
    from neurogaze_fast.deploy.vision.follow import Frame


class Analyser:
    """A detector (or none) and an engine, and what lies between them."""

    def __init__(
        self,
        engine: Engine,
        detector: Detector | None,
        *,
        margin: float = MARGIN,
        min_face: int = MIN_FACE,
        max_faces: int = MAX_FACES,
        upright: bool = True,
        uncertain_below: float | None = None,
    ) -> None:
        """See :class:`FaceFinder`; `uncertain_below`: see :func:`faces_of`."""
        self.engine = engine
        self.finder = FaceFinder(
            detector, margin=margin, min_face=min_face, max_faces=max_faces, upright=upright
        )
        self._uncertain_below = uncertain_below
        self.left_out = {"small": 0, "many": 0}
        """Faces found so far and not used: smaller than `min_face`, beyond `max_faces`."""

    def faces(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each image, uint8 [H, W, 3] RGB, surest first.

        All of them go to the engine together.
        """
        return self.answers(self.find(image) for image in images)

    def find(self, image: np.ndarray) -> Found:
        """Find the faces of one image and cut them out; may run in several threads."""
        return self.finder.find(image, self.engine.input_size)

    def answers(self, found: Iterable[Found]) -> list[list[Face]]:
        """The faces of pictures that were searched by :meth:`find`."""
        pictures = list(found)
        for each in pictures:
            self._leave_out(each)
        faces = self._run(
            [each.faces for each in pictures],
            [each.boxes for each in pictures],
            [each.qualities for each in pictures if each.qualities is not None],
        )
        return [[next(faces) for _ in each.boxes] for each in pictures]

    def of_frames(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """The faces of frames that were followed, with their identities."""
        size = self.engine.input_size
        places = [frame.at or whole(frame.image) for frame in frames]
        boxes = [at.boxes for at in places]
        for at in places:
            self._leave_out(at)
        if self.finder.detector is None:  # each frame is one face
            crops = [prepare_face(frame.image, size)[None] for frame in frames]
            faces = self._run(crops, boxes, [])
        else:
            crops = [
                cut_out(frame.image, at.squares, size)
                for frame, at in zip(frames, places, strict=True)
            ]
            points = [at.points for at in places]
            # All at once: a measurement costs more by its calls than by its faces.
            good = [measure(*map(np.concatenate, (crops, boxes, points)))] if frames else []
            faces = self._run(crops, boxes, good)
        answers = []
        for frame, at in zip(frames, places, strict=True):
            # Without a detector nobody is followed.
            identities: list[int | None] = [*frame.identities] or [None] * len(at.boxes)
            answers.append([replace(next(faces), identity=i) for i in identities])
        return answers

    def _leave_out(self, found: Found | Located) -> None:
        self.left_out["small"] += found.small
        self.left_out["many"] += found.many

    def _run(
        self,
        crops: Sequence[np.ndarray],
        boxes: Sequence[np.ndarray],
        qualities: Sequence[Qualities],
    ) -> Iterator[Face]:
        """Faces in order; `qualities` are there for all of them or for none."""
        size = self.engine.input_size
        outputs = self.engine.run(np.concatenate([np.zeros((0, size, size, 3), np.uint8), *crops]))
        faces = faces_of(
            *outputs,
            np.concatenate([np.zeros((0, 5), np.float32), *boxes]),
            joined(qualities) if qualities else None,
            uncertain_below=self._uncertain_below,
        )
        return iter(faces)


def whole(image: np.ndarray) -> Located:
    """A picture that is one face, cut out already."""
    height, width = image.shape[:2]
    side = max(height, width)
    return Located(
        np.array([[0, 0, width, height, np.nan]], np.float32),
        np.full((1, 5, 2), np.nan, np.float32),
        np.array([[width / 2, height / 2, side, 0.0]]),
    )
