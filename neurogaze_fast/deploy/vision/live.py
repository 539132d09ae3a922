"""Identities and answers over time where every frame is searched: a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.faces_in_picture import cut_out
from neurogaze_fast.deploy.vision.smoothing import Smoother
from neurogaze_fast.deploy.vision.tracker import LOOK_PIXELS, Tracker, look_of
from neurogaze_fast.deploy.vision.upright import square_of


class LiveFollower:
    """Follows faces from frame to frame."""

    def __init__(self, smooth_s: float) -> None:
        self._tracker, self._smoother = Tracker(), Smoother(smooth_s)

    def follow(self, time_s: float, image: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        """The same faces with identities and answers over time; those without a detector as given.

        Args:
            time_s: never earlier than before; image: uint8 [H, W, 3] that they were found in.
        """
        if any(face.score is None for face in faces):
            return list(faces)
        boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
        squares = np.array([square_of(box, 0.0) for box in boxes]).reshape(-1, 4)
        looks = look_of(cut_out(image, squares, LOOK_PIXELS))
        followed = []
        for face, identity in zip(faces, self._tracker.update(time_s, boxes, looks), strict=True):
            over_time = self._smoother.add(time_s, identity, face)
            followed.append(replace(face, identity=identity, smoothed=over_time))
        return followed
