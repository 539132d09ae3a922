"""The square that is cut out around a face, turned so that the face is upright."""

from __future__ import annotations

import math

import numpy as np

MARGIN = 0.05
"""How much longer than the box the square is that is cut out: as FERPlus's faces are, measured."""
MIN_FACE = 24
"""Pixels of a face's longer side: smaller ones show no expression."""
MAX_FACES = 32
_DIAGONAL = math.sqrt(2)


def square_around(box: np.ndarray, margin: float) -> tuple[int, int, int]:
    """(left, top, side) in pixels of the square that shares a box's centre.

    Args:
        box: left, top, right, bottom; margin: how much longer than the box's longer side the square
            is, 0.2 for 1.2 times.

    Returns:
        `side` is at least 1; the square may reach over the picture's edges.
    """
    left, top, right, bottom = (float(edge) for edge in box[:4])
    side = max(1, round(max(right - left, bottom - top) * (1 + margin)))
    return round((left + right - side) / 2), round((top + bottom - side) / 2), side


def cut_square(image: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """[side, side, ...] of an image, at its own resolution; its edge goes on where it ends.

    Black bars would be a pattern that no training face has.
    """
    height, width = image.shape[:2]
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        return image[top : top + side, left : left + side]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    # A range of rows first: taking single pixels by two index arrays is far slower.
    band = image[rows[0] : rows[-1] + 1]
    return band[rows - rows[0]][:, columns]


def cut_turned(image: np.ndarray, square: np.ndarray) -> np.ndarray:
    """uint8 [side, side, 3] of uint8 [H, W, 3]: a square that may be turned.

    Args:
        square: centre x, centre y, side in pixels, and by how many degrees it is turned clockwise;
            what lies in it is turned back.
    """
    x, y, side, angle = map(float, square)
    length = max(1, round(side))
    if angle == 0:
        return cut_square(image, round(x - length / 2), round(y - length / 2), length)
    from PIL import Image

    # A larger one first, which holds the turned one whatever the angle.
    outer = math.ceil(_DIAGONAL * length) + 2
    left, top = round(x - outer / 2), round(y - outer / 2)
    patch = Image.fromarray(np.ascontiguousarray(cut_square(image, left, top, outer)))
    # Output (u, v) lies at (a u + b v + c, d u + e v + f): turned about the square's own centre.
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    half, centre_x, centre_y = length / 2, x - left, y - top
    matrix = (
        *(cos, -sin, centre_x - cos * half + sin * half),
        *(sin, cos, centre_y - sin * half - cos * half),
    )
    kind, how = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return np.asarray(patch.transform((length, length), kind, matrix, how))
