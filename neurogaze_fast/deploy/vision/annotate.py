"""Answers drawn into a picture: boxes with labels, and a small valence/arousal plane."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.video import CopyError

if TYPE_CHECKING:
    from PIL import Image, ImageFont

COLOURS = {
    "neutral": (190, 190, 190),
    "happiness": (255, 202, 58),
    "surprise": (255, 140, 60),
    "sadness": (86, 150, 255),
    "anger": (235, 64, 64),
    "disgust": (110, 190, 80),
    "fear": (170, 110, 230),
    "contempt": (60, 190, 190),
}
LEAST_SIDE = 240
"""Smaller pictures are enlarged (whole pixels) until their shorter side has this many."""
_DARK, _LIGHT = (20, 22, 26), (235, 235, 235)
_SUPERSAMPLING = 3
"""The plane is drawn this much larger: Pillow draws no smooth circles."""


def annotate(
    image: np.ndarray, faces: Sequence[Face], *, whole: bool = False, note: str = ""
) -> np.ndarray:
    """A copy of uint8 [H, W, 3] with its faces drawn in; small pictures come out larger.

    Args:
        faces: In the order they were found; numbered where there are several, by their identity
            where they have one. An answer over time is shown rather than one frame's; a question
            mark follows one that is uncertain.
        whole: The picture is one face: nothing is drawn on it but beside it, to the right.
        note: A line for the upper left corner (a camera's latency).
    """
    larger = max(1, math.ceil(LEAST_SIDE / min(image.shape[:2])))
    # Of a sliver the longer side would become huge.
    larger = min(larger, max(1, 4 * LEAST_SIDE // max(image.shape[:2])))
    canvas = image.repeat(larger, axis=0).repeat(larger, axis=1) if larger > 1 else image.copy()
    height, width = canvas.shape[:2]
    unit = max(12.0, min(width, height) / 26)
    if whole:
        canvas = _beside(canvas, faces, unit)
    else:
        # Only what is drawn goes through Pillow: for a whole frame, there and back, it takes longer
        # than for all that is drawn on it.
        boxes = [tuple(larger * edge for edge in face.box or ()) for face in faces]
        for number, (face, box) in enumerate(zip(faces, boxes, strict=True), 1):
            shown = face.identity or (number if len(faces) > 1 else 0)
            _box(canvas, face, box, shown, unit)
        if faces:
            side = int(max(70, 0.2 * min(width, height)))
            corner = _free_corner((width, height), side, boxes)
            _paste(canvas, np.asarray(_plane(faces, side)), corner)
    if note:
        _paste(canvas, _plate(note, _size(0.8 * unit), _DARK), (0, 0))
    return canvas


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, at about this many pixels; opened once for each size."""
    return _opened_font(_size(size))


def _size(size: float) -> float:
    """In half pixels, so that few of them are ever opened."""
    return round(2 * size) / 2


@functools.cache
def _opened_font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def answer_of(face: Face) -> tuple[str, float, float, float]:
    """(label, its probability, valence, arousal) that is shown: over time, where that is known."""
    said = face.smoothed or face
    return said.label, said.confidence, said.valence, said.arousal


def label_of(face: Face) -> str:
    """`happiness 91 %`, with a question mark where it is uncertain."""
    label, confidence, _, _ = answer_of(face)
    return f"{label}{'?' if face.uncertain else ''} {100 * confidence:.0f} %"


def _ink(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever reads better on `colour`."""
    red, green, blue = colour
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else _LIGHT


@functools.lru_cache(128)
def _plate(text: str, size: float, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 [h, w, 3], not to be written to: text on a filled rectangle.

    A label is the same in many frames, and its letters take most of the time of drawing.
    """
    from PIL import Image, ImageDraw

    width, height = _extent(text, size)
    plate = Image.new("RGB", (int(width) + 1, int(height) + 1), colour)
    at = (height / 5, height / 2)
    ImageDraw.Draw(plate).text(at, text, _ink(colour), font(size), anchor="lm")
    return np.asarray(plate)


@functools.lru_cache(128)
def _extent(text: str, size: float) -> tuple[float, float]:
    """(width, height) of a plate: its height does not depend on the letters."""
    letters = font(size)
    low, high = letters.getbbox("Ag")[1::2]
    height = 1.4 * (high - low)
    return letters.getlength(text) + 2 * height / 5, height


def _box(canvas: np.ndarray, face: Face, box: tuple[float, ...], number: int, unit: float) -> None:
    colour = COLOURS[answer_of(face)[0]]
    _frame(canvas, box, colour, max(2, round(unit / 8)))
    text = (f"{number}  " if number else "") + label_of(face)
    # As wide as the face at most, within what can be read.
    size = _size(unit)
    width, height = _extent(text, size)
    room = max(box[2] - box[0], 9 * unit if number == 0 else 5 * unit)
    if width > room:
        size = _size(max(11.0, unit * room / width))
        width, height = _extent(text, size)
    left = min(max(0.0, box[0]), max(0.0, canvas.shape[1] - width))
    above = box[1] - height
    top = above if above >= 0 else min(max(0.0, box[1]), canvas.shape[0] - height)
    # At whole pixels, so that the letters of a face that moves do not flicker.
    _paste(canvas, _plate(text, size, colour), (int(left), int(top)))


def _frame(
    canvas: np.ndarray, box: tuple[float, ...], colour: tuple[int, int, int], line: int
) -> None:
    """The outline of a rectangle, `line` pixels inwards; what lies outside is left out."""
    left, top, right, bottom = map(int, box)
    right, bottom = right + 1, bottom + 1
    for x, y, until_x, until_y in (
        (left, top, right, top + line),
        (left, bottom - line, right, bottom),
        (left, top, left + line, bottom),
        (right - line, top, right, bottom),
    ):
        canvas[max(0, y) : max(0, until_y), max(0, x) : max(0, until_x)] = colour


def _paste(canvas: np.ndarray, patch: np.ndarray, corner: tuple[int, int]) -> None:
    """Put uint8 [h, w, 3] where its upper left corner is (x, y), as far as there is room."""
    (x, y), (height, width) = corner, canvas.shape[:2]
    part = patch[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
    x, y = max(0, x), max(0, y)
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part


def _free_corner(
    size: tuple[int, int], side: int, boxes: Sequence[tuple[float, ...]]
) -> tuple[int, int]:
    """Where a square of `side` hides least of the boxes; the lower right corner if it can."""
    gap = max(2, side // 12)
    right, bottom = max(0, size[0] - side - gap), max(0, size[1] - side - gap)

    def hidden(corner: tuple[int, int]) -> float:
        x, y = corner
        return sum(
            max(0.0, min(x + side, box[2]) - max(x, box[0]))
            * max(0.0, min(y + side, box[3]) - max(y, box[1]))
            for box in boxes
        )

    return min(((right, bottom), (gap, bottom), (right, gap), (gap, gap)), key=hidden)


@functools.lru_cache(8)
def plane_base(big: int) -> Image.Image:
    """The empty plane, `big` pixels long; to be copied."""
    from PIL import Image, ImageDraw

    plane = Image.new("RGB", (big, big), _DARK)
    draw = ImageDraw.Draw(plane)
    middle, radius, line = big / 2, 0.36 * big, max(1, big // 110)
    grey = (120, 124, 130)
    edges = (middle - radius, middle - radius, middle + radius, middle + radius)
    draw.ellipse(edges, outline=grey, width=line)
    draw.line((middle - radius, middle, middle + radius, middle), grey, line)
    draw.line((middle, middle - radius, middle, middle + radius), grey, line)
    letters = font(0.11 * big)
    draw.text((big - 0.02 * big, middle), "V", _LIGHT, letters, anchor="rm")
    draw.text((middle, 0.01 * big), "A", _LIGHT, letters, anchor="mt")
    return plane


def _plane(faces: Sequence[Face], side: int) -> Image.Image:
    """A square of `side` pixels: valence to the right, arousal upwards, a point for each face."""
    from PIL import ImageDraw

    big = side * _SUPERSAMPLING
    plane = plane_base(big).copy()
    draw = ImageDraw.Draw(plane)
    middle, radius, line = big / 2, 0.36 * big, max(1, big // 110)
    dot = 0.05 * big
    for number, face in reversed(list(enumerate(faces, 1))):
        label, _, valence, arousal = answer_of(face)
        x, y = middle + radius * valence, middle - radius * arousal
        colour = COLOURS[label]
        draw.ellipse((x - dot, y - dot, x + dot, y + dot), colour, _LIGHT, line)
        if len(faces) > 1:
            shown = str(face.identity or number)
            draw.text((x, y), shown, _ink(colour), font(1.5 * dot), anchor="mm")
    return plane.reduce(_SUPERSAMPLING)


def _beside(image: np.ndarray, faces: Sequence[Face], unit: float) -> np.ndarray:
    """The picture with a panel at its right: label, plane and the eight probabilities."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(image)
    panel = round(13 * unit)
    whole = Image.new("RGB", (canvas.width + panel, max(canvas.height, round(20 * unit))), _DARK)
    whole.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(whole)
    for face in faces[:1]:
        x, y = canvas.width + 0.6 * unit, 0.5 * unit
        title = _plate(label_of(face), _size(1.1 * unit), COLOURS[face.label])
        whole.paste(Image.fromarray(title), (round(x), round(y)))
        small, wide = font(0.75 * unit), 5.2 * unit
        y += 2.3 * unit
        for name, probability in face.probabilities.items():
            draw.text((x, y + 0.45 * unit), name, _LIGHT, small, anchor="lm")
            bar = (
                x + 5.6 * unit,
                y,
                x + 5.6 * unit + max(1.0, wide * probability),
                y + 0.9 * unit,
            )
            draw.rectangle(bar, fill=COLOURS[name])
            y += 1.15 * unit
        side = round(min(panel - unit, whole.height - y - 0.4 * unit))
        if side >= 30:
            whole.paste(_plane([face], side), (canvas.width + (panel - side) // 2, round(y)))
    return np.array(whole)


def save_picture(path: Path, image: np.ndarray) -> None:
    """Write uint8 [H, W, 3]; the file's ending says how.

    Raises:
        CopyError: it cannot be written there, or is larger than its format can be.
    """
    from PIL import Image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=92)
    except (OSError, ValueError) as cause:
        why = getattr(cause, "strerror", None) or cause
        raise CopyError(f"its annotated copy cannot be written ({why})") from cause
