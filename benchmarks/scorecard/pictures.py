"""Pictures of many kinds, and damage to them."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np

BOMBS = ((9_000, 9_000), (13_000, 13_000), (14_000, 14_000))
"""Sides of PNGs that say they hold 81, 169 and 196 million pixels."""


def whole() -> dict[str, bytes]:
    """Small sound pictures by kind."""
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64] / 64
    colour = np.stack([128 + 90 * np.sin(3 * x + k * y) for k in (1, 2, 3)], -1)
    colour = (colour + rng.normal(0, 6, colour.shape)).clip(0, 255).astype(np.uint8)
    face = Image.fromarray(colour)
    grey = face.convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    made: dict[str, tuple[Any, str, dict[str, Any]]] = {
        "grey PNG": (grey, "PNG", {}),
        "colour PNG": (face, "PNG", {}),
        "PNG with alpha": (face.convert("RGBA"), "PNG", {}),
        "palette PNG": (face.convert("P"), "PNG", {}),
        "16-bit PNG": (deep, "PNG", {}),
        "grey JPEG": (grey, "JPEG", {}),
        "JPEG": (face, "JPEG", {"quality": 90}),
        "progressive JPEG": (face, "JPEG", {"progressive": True}),
        "CMYK JPEG": (face.convert("CMYK"), "JPEG", {}),
        "turned JPEG": (face, "JPEG", {"exif": turned}),
        "WebP": (face, "WEBP", {}),
        "animated GIF": (face.convert("P"), "GIF", {"save_all": True, "append_images": [grey]}),
        "TIFF": (face, "TIFF", {}),
        "BMP": (face, "BMP", {}),
    }
    return {name: encoded(image, kind, **options) for name, (image, kind, options) in made.items()}


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    """The bytes of a Pillow image's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def damaged(pictures: dict[str, bytes], chance: random.Random) -> tuple[str, bytes]:
    """(what was done, bytes) of one of them, or of a bomb."""
    name = chance.choice([*pictures, "bomb"] if chance.random() < 0.1 else [*pictures])
    if name == "bomb":
        from tests.deploy.server.test_pictures import bomb

        return "bomb", bomb(*chance.choice(BOMBS))
    data = bytearray(pictures[name])
    done = chance.choice(("flips", "cut", "cut and closed", "splice", "magic", "repeat", "nothing"))
    at = chance.randrange(1, len(data))
    other = pictures[chance.choice([*pictures])]
    match done:
        case "flips":
            for _ in range(chance.randint(1, 12)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case "cut":
            del data[at:]
        case "cut and closed":  # half a JPEG with an end mark
            data[at:] = b"\xff\xd9"
        case "splice":
            data[at:] = other[chance.randrange(len(other)) :]
        case "magic":
            data[:4] = other[:4]
        case "repeat":
            data[at:at] = data[max(0, at - chance.randint(1, 2000)) : at] * chance.randint(1, 20)
    return f"{name}, {done}", bytes(data) if chance.random() > 0.002 else b""
