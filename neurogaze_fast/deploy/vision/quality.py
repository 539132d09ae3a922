"""How well a face can be judged: its size, sharpness, and pose by its five points.

Angles are estimates: a nose stands out from the face by about half the distance of the eyes, so it
moves between them as the head turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NOSE = 0.55
"""How far a nose stands out, in distances between the eyes."""
_NOSE_AT = 0.58
"""Where a nose's tip lies between eyes (0) and mouth (1), seen from the front."""
_EYES_TO_MOUTH = 1.05
"""In distances between the eyes."""
GOOD_PIXELS, GOOD_SHARPNESS, BAD_YAW, GOOD_SCORE = 48.0, 0.01, 75.0, 0.7
"""Where a part of the quality is 1 (yaw: 0)."""


@dataclass(frozen=True)
class Quality:
    """Of one face."""

    pixels: float
    """Its box's longer side."""
    sharpness: float
    """Mean square of the second differences of its grey levels, over their variance: 0.01 and more
    is sharp, 0.002 a blur, at the model's own size."""
    yaw: float
    """Degrees; positive: turned to the picture's right. NaN without points, like the two below."""
    pitch: float
    """Degrees; positive: looking down."""
    roll: float
    """Degrees; positive: tilted clockwise."""
    value: float
    """0 to 1: the product of size, sharpness, yaw and the detector's score (which falls where
    something hides the face), each 1 from where it no longer matters."""


@dataclass(frozen=True)
class Qualities:
    """Of many faces; arrays [n], as :class:`Quality` describes them."""

    pixels: np.ndarray
    sharpness: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    value: np.ndarray

    @property
    def each(self) -> tuple[np.ndarray, ...]:
        """What there is of each face."""
        return self.pixels, self.sharpness, self.yaw, self.pitch, self.roll, self.value

    def __getitem__(self, at: int) -> Quality:
        return Quality(*(float(values[at]) for values in self.each))

    def __len__(self) -> int:
        return len(self.value)

    def first(self) -> Qualities:
        """Of the first face alone."""
        return Qualities(*(values[:1] for values in self.each))


def joined(parts: Sequence[Qualities]) -> Qualities:
    """Of all faces of several pictures, one after another."""
    return Qualities(*map(np.concatenate, zip(*(part.each for part in parts), strict=True)))


def measure(faces: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> Qualities:
    """Qualities of faces.

    Args:
        faces: uint8 [n, S, S, 3] as the model sees them; boxes: [n, 5] in the picture, with scores;
            points: [n, 5, 2] (x, y), NaN where there are none.
    """
    pixels = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, initial=0).astype(np.float64)
    sharpness = _sharpness(faces)
    yaw, pitch, roll = _pose(points.astype(np.float64))
    parts = (
        pixels / GOOD_PIXELS,
        sharpness / GOOD_SHARPNESS,
        1 - np.nan_to_num(np.abs(yaw)) / BAD_YAW,
        np.nan_to_num(boxes[:, 4], nan=1.0) / GOOD_SCORE,
    )
    value = np.prod([np.clip(part, 0, 1) for part in parts], axis=0)
    return Qualities(pixels, sharpness, yaw, pitch, roll, value)


def _sharpness(faces: np.ndarray) -> np.ndarray:
    if not len(faces):
        return np.zeros(0)
    grey = faces.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    edges = (4 * inner - around).reshape(len(faces), -1)
    # A flat picture has neither edges nor contrast; one level of noise is not to count as sharp.
    return (edges**2).mean(axis=1) / (grey.reshape(len(faces), -1).var(axis=1) + 25) / 20


def _pose(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Degrees of yaw, pitch and roll."""
    eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    across = points[:, 1] - points[:, 0]
    apart = np.maximum(np.linalg.norm(across, axis=1), 1e-6)
    roll = np.arctan2(across[:, 1], across[:, 0])
    right = across / apart[:, None]
    down = np.stack((-right[:, 1], right[:, 0]), axis=1)
    nose, chin = points[:, 2] - eyes, mouth - eyes
    length = np.maximum((chin * down).sum(axis=1), 1e-6)
    share = (nose * down).sum(axis=1) / length
    aside = (nose * right).sum(axis=1) - share * (chin * right).sum(axis=1)
    yaw = np.arctan(aside / apart / _NOSE)
    pitch = np.arctan((share - _NOSE_AT) * _EYES_TO_MOUTH / _NOSE)
    return np.degrees(yaw), np.degrees(pitch), np.degrees(roll)
