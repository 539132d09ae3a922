"""Pictures to faces: found, cut out, and given probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.face import Face, faces_of
from neurogaze_fast.deploy.vision.crop import MARGIN, MAX_FACES, MIN_FACE
from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder

if TYPE_CHECKING:
    from neurogaze_fast.deploy.engines.base import Engine
    from neurogaze_fast.deploy.vision.detect import Detector


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
    ) -> None:
        self.engine = engine
        self.finder = FaceFinder(detector, margin=margin, min_face=min_face, max_faces=max_faces)
        self.left_out = {"small": 0, "many": 0}
        """Faces found so far and not used: smaller than `min_face`, beyond `max_faces`."""

    def faces(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each image, uint8 [H, W, 3] RGB, surest first.

        All of them go to the engine together.
        """
        size = self.engine.input_size
        found = [self.finder.find(image, size) for image in images]
        batch = np.concatenate([np.zeros((0, size, size, 3), np.uint8), *(f.faces for f in found)])
        self.left_out["small"] += sum(f.small for f in found)
        self.left_out["many"] += sum(f.many for f in found)
        boxes = np.concatenate([np.zeros((0, 5), np.float32), *(f.boxes for f in found)])
        answers = iter(faces_of(*self.engine.run(batch), boxes))
        return [[next(answers) for _ in f.boxes] for f in found]
