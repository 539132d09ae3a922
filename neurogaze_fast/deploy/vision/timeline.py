"""A video in one picture: each person's emotions over time, and its path on the V/A plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.vision.annotate import COLOURS, plane_base
from neurogaze_fast.deploy.vision.persons import Person, Persons
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

PERSONS = 8
"""Persons that are drawn: those seen longest."""
_WIDTH, _LEFT, _BAND, _GAP, _TOP, _PLANE = 1000, 150, 150, 34, 46, 150
_DARK, _LIGHT, _GREY, _EMPTY = (20, 22, 26), (235, 235, 235), (150, 154, 160), (38, 41, 47)
_PLACES = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)


def draw_timeline(persons: Persons, title: str) -> np.ndarray:
    """uint8 [H, W, 3]: a row for each of the persons seen longest.

    A row has the shares of the eight emotions, bottom to top in the legend's order, where the
    person was seen; beside it the path of valence and arousal, from pale to bright.
    """
    from PIL import Image, ImageDraw

    from neurogaze_fast.deploy.vision.annotate import font

    shown = persons.longest(PERSONS)
    width = _LEFT + _WIDTH + 2 * _GAP + _PLANE
    height = _TOP + len(shown) * (_BAND + _GAP) + _GAP + 20
    canvas = Image.new("RGB", (width, height), _DARK)
    draw = ImageDraw.Draw(canvas)
    more = len(persons.all) + persons.left_out - len(shown)
    said = f"{title}{f', and {more} more seen for a shorter time' if more else ''}"
    draw.text((16, _TOP / 2), said, _LIGHT, font(17), anchor="lm")
    end_s = max(persons.end_s, persons.bin_s)
    used = min(len(shown[0].counts), int(end_s / persons.bin_s) + 1) if shown else 0
    for row, person in enumerate(shown):
        top = _TOP + row * (_BAND + _GAP)
        _person(draw, person, top)
        canvas.paste(_areas(person, used), (_LEFT, top))
        canvas.paste(_path(person, used), (_LEFT + _WIDTH + _GAP, top))
        _times(draw, top + _BAND, used * persons.bin_s)
    x = float(_LEFT)
    for name in EMOTIONS:
        middle = height - _GAP / 2 - 6
        draw.rectangle((x, middle - 6, x + 12, middle + 6), fill=COLOURS[name])
        draw.text((x + 18, middle), name, _LIGHT, font(14), anchor="lm")
        x += 40 + draw.textlength(name, font(14))
    return np.asarray(canvas)


def _person(draw: ImageDraw.ImageDraw, person: Person, top: int) -> None:
    from neurogaze_fast.deploy.vision.annotate import font

    told = person.summary()
    lines = [
        f"person {person.identity}", f"mostly {told['label']}",
        f"{clock(person.first_s)} to {clock(person.last_s)}", f"{person.faces} faces",
        f"V {told['valence']:+.2f}  A {told['arousal']:+.2f}",
    ]  # fmt: skip
    for number, line in enumerate(lines):
        at = (16, top + 16 + 25 * number)
        draw.text(at, line, _LIGHT if number == 0 else _GREY, font(17 if number == 0 else 14),
                  anchor="lm")  # fmt: skip


def _areas(person: Person, used: int) -> Image.Image:
    """The band of a person: a column for each bin, stacked by share."""
    from PIL import Image

    shares = person.over_time()[:used]
    band = np.full((_BAND, used, 3), _EMPTY, np.uint8)
    levels = (np.arange(_BAND)[::-1] + 0.5) / _BAND
    for at, share in enumerate(shares):
        if np.isfinite(share).all():
            which = np.searchsorted(np.cumsum(share), levels).clip(0, len(EMOTIONS) - 1)
            band[:, at] = np.array([COLOURS[name] for name in EMOTIONS], np.uint8)[which]
    return Image.fromarray(band).resize((_WIDTH, _BAND), Image.Resampling.NEAREST)


def _path(person: Person, used: int) -> Image.Image:
    """The V/A plane with the bins' means, joined where they follow one another."""
    from PIL import Image, ImageDraw

    large = 3 * _PLANE
    plane = plane_base(large).copy()
    draw = ImageDraw.Draw(plane)
    places = person.over_time()[:used] @ _PLACES
    middle, radius = large / 2, 0.36 * large
    dots = [None if np.isnan(p).any() else (middle + radius * p[0], middle - radius * p[1])
            for p in places]  # fmt: skip
    seen = [at for at, dot in enumerate(dots) if dot is not None]
    for at in seen:
        age = (at - seen[0]) / max(1, seen[-1] - seen[0])
        colour = tuple(round(70 + age * (c - 70)) for c in (255, 202, 58))
        here, before = dots[at], dots[at - 1] if at else None
        if here is not None and before is not None:
            draw.line((*before, *here), colour, 5)
    for at, colour in ((seen[0], (110, 110, 110)), (seen[-1], (255, 202, 58))) if seen else ():
        if (dot := dots[at]) is not None:
            x, y = dot
            draw.ellipse((x - 10, y - 10, x + 10, y + 10), colour, _LIGHT, 2)
    return plane.resize((_PLANE, _PLANE), Image.Resampling.LANCZOS)


def _times(draw: ImageDraw.ImageDraw, y: float, end_s: float) -> None:
    from neurogaze_fast.deploy.vision.annotate import font

    step = next((s for s in _STEPS if end_s / s <= 12), _STEPS[-1])
    for number in range(int(end_s / step) + 1):
        x = _LEFT + _WIDTH * number * step / end_s
        draw.line((x, y, x, y + 5), _GREY, 1)
        draw.text((x, y + 7), clock(number * step), _GREY, font(12), anchor="mt")


def clock(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
