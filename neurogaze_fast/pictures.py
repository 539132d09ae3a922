"""From a picture file's bytes to 8-bit pixels: the one decoder of training, predict and serve.

Every picture comes out upright (its EXIF orientation is applied) and 8 bits deep, whatever it was:

* 12 and 16 bits are scaled by the full range of their depth and rounded; 16 bits of which fewer may
  be used, 32-bit integers and floating point must be recognisable (see picture_depth.py);
* palettes, CMYK, YCbCr and Lab become RGB, one bit becomes 0 and 255;
* transparency and colour profiles are ignored; of an animation the first picture is taken.

The kind is told by the content, never by the name.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.picture_depth import CorruptImage, eight_bits
from neurogaze_fast.picture_kinds import describe_kind, is_heic

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decoded: none is a face, some are bombs."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
"""What Pillow may take a file for (a phone's MPO is a JPEG to it; HEIF only where pillow-heif is
installed). Its rarer readers are no loss, and have had most of the bugs."""
SUFFIXES = tuple(".jpg .jpeg .jpe .jfif .png .webp .bmp .tif .tiff .gif .avif .heic .heif".split())
"""Names that are taken for pictures where a folder is searched."""
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error),
    *(ArithmeticError, AttributeError, MemoryError, RuntimeError, zlib.error),
)
"""What Pillow raises on damaged headers, metadata and pixels."""
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Pillow's Image.Transpose for each EXIF orientation but the upright one."""
_ORIENTATION = 274
"""EXIF's tag."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"tRNS", b"eXIf")
_PNG_TURNED_BY = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1")
"""Keywords of the text chunks that may hold the orientation."""
_PNG_TEXT = 512 * 1024
"""Bytes such a chunk may have, and may inflate to."""


class TooManyPixels(CorruptImage):
    """A picture of more pixels than allowed, refused before it was decoded."""


class UnknownKind(CorruptImage):
    """No picture, or of a kind that is not read; the message says what it is instead."""


def decode_rgb(
    data: bytes | np.ndarray,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: Sequence[str] = FORMATS,
) -> np.ndarray:
    """uint8 [H, W, 3] of a picture file's bytes; grey becomes three equal channels.

    Args:
        data: The file's bytes, or the same as uint8 [n].
        max_pixels: More are refused before anything is decoded.
        formats: Those of :data:`FORMATS` that are read.

    Raises:
        UnknownKind: no picture, or none of `formats`. TooManyPixels. CorruptImage: empty, cut
            short, damaged, or of pixel values whose range cannot be told.
    """
    return np.array(_decoded(data, max_pixels, formats, grey=False).convert("RGB"))


def decode_grey(
    data: bytes | np.ndarray,
    side: int | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: Sequence[str] = FORMATS,
) -> np.ndarray:
    """uint8 [side, side] of a picture file's bytes.

    Colour becomes luma (a JPEG's own, else 0.299 R + 0.587 G + 0.114 B). Another size than `side` x
    `side` is resized, without keeping its proportions, by an antialiased triangle filter (Pillow's
    bilinear); with ``side=None`` the picture's own size is kept, uint8 [H, W].

    Raises:
        CorruptImage: as :func:`decode_rgb`.
    """
    from PIL import Image

    grey = _decoded(data, max_pixels, formats, grey=True).convert("L")
    if side is not None and grey.size != (side, side):
        grey = grey.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(grey)


def decode_shrunk(
    data: bytes | np.ndarray,
    at_most: int,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: Sequence[str] = FORMATS,
) -> tuple[np.ndarray, int]:
    """(uint8 [H, W, 3], factor): as :func:`decode_rgb`, but a large picture comes shrunk.

    By a whole factor, the smallest of 1, 2, 4 and 8 that leaves at most `at_most` pixels (by 8
    where none does); each pixel is then the mean of a square. A JPEG is shrunk while it is decoded,
    which takes a fraction of the time and memory.

    Raises:
        CorruptImage: as :func:`decode_rgb`.
    """
    factor, pixels = 1, 1

    def shrink(image: Image.Image) -> None:
        nonlocal factor, pixels
        width, height = image.size
        pixels = width * height
        while factor < 8 and pixels > at_most * factor**2:
            factor *= 2
        image.draft("RGB", (width // factor, height // factor))

    image = _decoded(data, max_pixels, formats, grey=False, before=shrink)
    left = round(factor * (image.width * image.height / pixels) ** 0.5)
    return np.array(image.reduce(left).convert("RGB") if left > 1 else image.convert("RGB")), factor


def picture_size(
    data: bytes | np.ndarray, formats: Sequence[str] = FORMATS
) -> tuple[int, int] | None:
    """(width, height) by a picture's header, as stored; None where it has none."""
    from PIL import Image

    try:
        with _opened(data, formats) as image:
            return image.size
    except (*DAMAGE, Image.DecompressionBombError):
        return None


def _decoded(
    data: bytes | np.ndarray,
    max_pixels: int,
    formats: Sequence[str],
    *,
    grey: bool,
    before: Callable[[Image.Image], None] = lambda image: None,
) -> Image.Image:
    """Mode L or RGB, upright; `before` is called with the picture before its pixels are read."""
    from PIL import Image

    if not len(data):
        raise CorruptImage("the file is empty")
    try:
        with _opened(data, formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise TooManyPixels(
                    f"{width} x {height} pixels, more than {max_pixels / 1e6:g} million"
                )
            if grey:  # a JPEG's luma as stored, without computing colours
                image.draft("L", image.size)
            before(image)
            return _upright(image, eight_bits(image, lambda: _opened(data, formats)))
    except CorruptImage:
        raise
    except Image.UnidentifiedImageError as cause:
        raise UnknownKind(f"no picture that can be read: it is {describe_kind(data)}") from cause
    except Image.DecompressionBombError as cause:
        raise TooManyPixels(f"more than {max_pixels / 1e6:g} million pixels") from cause
    except DAMAGE as cause:
        raise CorruptImage(str(cause) or type(cause).__name__) from cause


def _opened(data: bytes | np.ndarray, formats: Sequence[str]) -> Image.Image:
    from PIL import Image

    data = bytes(data)
    if "HEIF" in formats and is_heic(data):
        return Image.open(io.BytesIO(data), formats=_heif())
    depth = b""
    if data.startswith(_PNG):
        data, depth = _pixels_of_png(data)
    image = Image.open(io.BytesIO(data), formats=_available(tuple(formats)))
    image.info["sBIT"] = depth  # which Pillow passes over
    return image


@cache
def _available(formats: tuple[str, ...]) -> list[str]:
    """Those this Pillow was built with; Image.open fails on a name it does not know."""
    from PIL import Image

    Image.init()
    return [name for name in formats if name in Image.OPEN and name != "HEIF"]


def _heif() -> list[str]:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as cause:
        raise UnknownKind(
            "a HEIC picture: install pillow-heif (`pip install pillow-heif`) to read such files, "
            "or convert it to JPEG"
        ) from cause
    register_heif_opener()
    return ["HEIF"]


def _pixels_of_png(data: bytes) -> tuple[bytes, bytes]:
    """A PNG without the chunks that say nothing about its pixels, and what its sBIT chunk holds.

    Pillow keeps all text and the colour profile and refuses a picture that has much of it. Those
    that may say which way is up stay, unless they inflate to more than such a note needs.

    Raises:
        CorruptImage: a checksum is wrong; Pillow does not compare those of the pixels.
    """
    kept, position, texts, depth = [_PNG], len(_PNG), set(), b""
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4])
        if end > len(data):
            break
        kind, chunk = data[position + 4 : position + 8], data[position:end]
        critical = not kind[0] & 0x20
        if critical and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            name = kind.decode("latin-1")
            raise CorruptImage(f"a damaged PNG: the checksum of an {name!r} chunk is wrong")
        if critical or kind in _PNG_KEPT:
            kept.append(chunk)
        elif kind == b"sBIT":
            depth = chunk[8:-4]
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and len(chunk) <= _PNG_TEXT:
            keyword, _, rest = chunk[8:-4].partition(b"\0")
            if keyword in _PNG_TURNED_BY and keyword not in texts and _inflates_little(kind, rest):
                texts.add(keyword)
                kept.append(chunk)
        position = end
        if kind == b"IEND":
            return b"".join(kept), depth
    return b"".join([*kept, data[position:]]), depth  # cut short: Pillow says how


def _inflates_little(kind: bytes, text: bytes) -> bool:
    """Whether what follows a text chunk's keyword is not compressed, or not to a bomb."""
    if kind == b"zTXt":
        packed = text[1:]
    elif kind == b"iTXt" and text[:1] == b"\1":
        packed = text[2:].split(b"\0", 2)[-1]
    else:
        return True
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(packed, _PNG_TEXT)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail


def _upright(opened: Image.Image, pixels: Image.Image) -> Image.Image:
    """`pixels` turned as the EXIF orientation of the file says that was opened and loaded."""
    from PIL import Image

    # ImageOps.exif_transpose would write all of the EXIF anew, and fails where a tag is odd.
    try:
        turn = opened.getexif().get(_ORIENTATION)
    except DAMAGE:  # good pixels may come with damaged EXIF
        turn = None
    return pixels.transpose(Image.Transpose(_TURNS[turn])) if turn in _TURNS else pixels
