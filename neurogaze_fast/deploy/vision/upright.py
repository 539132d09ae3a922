"""Faces that are tilted: by how much, and the square that shows them upright.

Training's faces are cut out by upright boxes, and the box of a tilted face is another: wider, and
not of the same height. So a tilted face is turned upright by the line through its eyes and looked
for once more in that small patch; what is found there is cut out as any upright face is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.vision.crop import cut_turned

if TYPE_CHECKING:
    from neurogaze_fast.deploy.vision.detect import Detector

LEAST_TILT = 10.0
"""Degrees below which a face is cut out as it is: training's own faces are tilted as much."""
MOST_TILT = 100.0
"""Beyond it the points are not to be believed."""
_PATCH_SIDES, _PATCH_PIXELS = 2.0, 160
"""The patch is so many times as long as the box, and is searched with so many pixels at most."""


def tilt(points: np.ndarray) -> np.ndarray:
    """Degrees [n] by which faces are turned clockwise, by the eyes of points [n, 5, 2] (x, y)."""
    across = points[:, 1] - points[:, 0]
    return np.degrees(np.arctan2(across[:, 1], across[:, 0]))


def square_of(box: np.ndarray, margin: float) -> np.ndarray:
    """float64 [4]: centre, side, and 0 degrees of the square around left, top, right, bottom."""
    left, top, right, bottom = (float(edge) for edge in box[:4])
    side = max(1, round(max(right - left, bottom - top) * (1 + margin)))
    return np.array([(left + right) / 2, (top + bottom) / 2, side, 0.0])


def upright_square(
    image: np.ndarray, box: np.ndarray, points: np.ndarray, margin: float, detector: Detector
) -> np.ndarray:
    """float64 [4]: centre x, y, side and angle of the square that shows a face upright.

    Args:
        image: uint8 [H, W, 3]; box: left, top, right, bottom; points: [5, 2] (x, y), NaN where the
            detector gives none.
        margin: how much longer than the face's box the square is.
        detector: looks again at a tilted face; where it does not find it, the square keeps the
            box's centre and length.
    """
    square = square_of(box, margin)
    angle = float(tilt(points[None])[0])
    if not LEAST_TILT <= abs(angle) <= MOST_TILT:
        return square
    length = max(float(box[2] - box[0]), float(box[3] - box[1]))
    side = max(1, round(_PATCH_SIDES * length))
    patch = cut_turned(image, np.array([square[0], square[1], side, angle]))
    scale = min(1.0, _PATCH_PIXELS / side)
    if scale < 1:
        from PIL import Image

        pixels = max(1, round(side * scale))
        small = Image.fromarray(patch).resize((pixels, pixels), Image.Resampling.BILINEAR)
        patch, scale = np.asarray(small), pixels / side
    again = detector.detect(np.ascontiguousarray(patch))
    found = again[:, :4] / scale - side / 2
    square[3] = angle
    lengths = (found[:, 2:] - found[:, :2]).max(axis=1, initial=0)
    centres = (found[:, :2] + found[:, 2:]) / 2
    apart = np.hypot(centres[:, 0], centres[:, 1])
    # Of the same face: near the middle, and about as long.
    same = (apart < length / 2) & (lengths > 0.6 * length) & (lengths < 1.6 * length)
    if same.any():
        best = np.flatnonzero(same)[apart[same].argmin()]
        (x, y), cos, sin = centres[best], *_turn(angle)
        square[:2] += (x * cos - y * sin, x * sin + y * cos)
        square[2] = max(1, round(float(lengths[best]) * (1 + margin)))
        if again.shape[1] > 5:  # points are surer where a face is nearly upright
            rest = float(tilt(again[best : best + 1, 5:15].reshape(1, 5, 2))[0])
            square[3] += rest if abs(rest) < LEAST_TILT * 2 else 0.0
    return square


def _turn(angle: float) -> tuple[float, float]:
    return math.cos(math.radians(angle)), math.sin(math.radians(angle))
