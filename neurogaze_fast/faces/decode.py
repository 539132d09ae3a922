"""Encoded image to grey pixels through Pillow: the definition every other decoder is held to."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded: none is a face, some are bombs."""
FORMATS = ("JPEG", "PNG")
_TAIL = 4096
"""Bytes from the end in which an image's end mark is looked for; phones write some after it."""
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error),
    *(ArithmeticError, AttributeError, MemoryError, RuntimeError),
)
"""What Pillow raises on damaged headers, metadata and pixels."""
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Pillow's Image.Transpose for each EXIF orientation but the upright one."""


class CorruptImage(ValueError):
    """An image that cannot be decoded; the message is the reason in a few words."""


def decode_grey(data: bytes | np.ndarray, side: int | None) -> np.ndarray:
    """uint8 [side, side] of a JPEG or PNG file's bytes.

    Upright (the EXIF orientation is applied); colour becomes luma (a JPEG's own, else 0.299 R +
    0.587 G + 0.114 B), transparency is ignored, 16 bits become 8. Another size than `side` x `side`
    is resized, without keeping its proportions, by an antialiased triangle filter (Pillow's
    bilinear); with ``side=None`` the image's own size is kept, uint8 [H, W].

    Raises:
        CorruptImage: empty, no JPEG or PNG, too large, cut short, or damaged.
    """
    from PIL import Image

    if not len(data):
        raise CorruptImage("the file is empty")
    try:
        with Image.open(io.BytesIO(memoryview(data)), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise CorruptImage(
                    f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} million"
                )
            image.draft("L", image.size)  # a JPEG's luma as stored, without computing colours
            image.load()
            grey = to_grey(upright(image))
    except CorruptImage:
        raise
    except Image.UnidentifiedImageError as cause:
        raise CorruptImage("no JPEG or PNG image") from cause
    except Image.DecompressionBombError as cause:
        raise CorruptImage(f"more than {MAX_PIXELS // 10**6} million pixels") from cause
    except DAMAGE as cause:
        raise CorruptImage(str(cause) or type(cause).__name__) from cause
    if side is not None and grey.size != (side, side):
        grey = grey.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(grey)


def upright(image: Image.Image) -> Image.Image:
    """An image that was loaded, turned as its EXIF orientation says."""
    # ImageOps.exif_transpose would write all of the EXIF anew, and fails where a tag is odd.
    try:
        turn = image.getexif().get(0x0112)
    except DAMAGE:  # good pixels may come with damaged EXIF
        turn = None
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def image_size(data: bytes | np.ndarray) -> tuple[int, int] | None:
    """(width, height) by the header of a JPEG or PNG, as stored; None where it has none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(memoryview(data)), formats=FORMATS) as image:
            return image.size
    except (*DAMAGE, Image.DecompressionBombError):
        return None


def to_grey(image: Image.Image) -> Image.Image:
    """Mode L. Pillow's own conversion would clip 16-bit pixels at 255 rather than scale them."""
    from PIL import Image

    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        return Image.fromarray(((levels * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))
    return image.convert("L")


def encode_grey(image: np.ndarray, kind: str) -> bytes:
    """A PNG or JPEG (of quality 95) of uint8 [H, W]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, kind, quality=95)
    return file.getvalue()


def plausible(data: np.ndarray) -> bool:
    """Whether encoded bytes (uint8 [n]) look like a whole JPEG or PNG of a permitted size.

    Microseconds, from the first and last bytes. Other decoders take more formats than
    :func:`decode_grey`, any size, or half a file: what fails here is shown to that function first,
    so that which images are used does not depend on the decoder.
    """
    head, tail = data[:24].tobytes(), data[-_TAIL:].tobytes()
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        size = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        return b"IEND" in tail and 0 < size[0] * size[1] <= MAX_PIXELS
    return head.startswith(b"\xff\xd8\xff") and b"\xff\xd9" in tail and _jpeg_fits(data)


def _jpeg_fits(data: np.ndarray) -> bool:
    """Whether a JPEG's frame header is found, with a permitted size."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = int(data[at + 1])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[i : i + 2].tobytes()) for i in (at + 5, at + 7))
            return 0 < height * width <= MAX_PIXELS
        at += 2 + int.from_bytes(data[at + 2 : at + 4].tobytes())
    return False
