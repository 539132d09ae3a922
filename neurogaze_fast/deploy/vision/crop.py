"""The square that is cut out around a face."""

from __future__ import annotations

import numpy as np

MARGIN = 0.05
"""How much longer than the box the square is that is cut out: as FERPlus's faces are, measured."""
MIN_FACE = 24
"""Pixels of a face's longer side: smaller ones show no expression."""
MAX_FACES = 32


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
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    # A range of rows first: taking single pixels by two index arrays is far slower.
    band = image[rows[0] : rows[-1] + 1]
    return band[rows - rows[0]][:, columns]
