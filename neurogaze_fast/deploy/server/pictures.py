"""A picture that came over the network to pixels, with every limit checked before it costs.

Only JPEG, PNG, WebP and, where pillow-heif is installed, HEIC, told by their first bytes; the
number of pixels is read from the header before anything is decoded. A progressive JPEG is decoded
once over for each of its scans, each of which takes a few bytes: it may have only so many, for its
size.
"""

from __future__ import annotations

import numpy as np

from neurogaze_fast.deploy.server.http_errors import RequestError, malformed
from neurogaze_fast.picture_kinds import is_heic
from neurogaze_fast.pictures import (
    CorruptImage,
    TooManyPixels,
    UnknownKind,
    decode_shrunk,
    picture_size,
)

MAX_SCANS = 100
"""Scans of a progressive JPEG; encoders write about ten."""
SCANNED = 15
"""Pixels times scans of a JPEG, in multiples of `max_pixels`: about ten scans of the largest."""
SMALL = (32_768, 256 * 256)
"""Bytes and pixels of a picture that takes less time to decode than a thread to wake up."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")
_REASON = 200
"""Letters of a reason that are sent back."""


def decode_picture(data: bytes, max_pixels: int, at_most: int) -> tuple[np.ndarray, int]:
    """(uint8 [H, W, 3] RGB, factor by which it is shrunk to `at_most` pixels) of a picture's bytes.

    See :func:`neurogaze_fast.pictures.decode_shrunk`.

    Raises:
        RequestError: 415 of no kind that is taken, 413 more than `max_pixels`, 400 damaged.
    """
    if not data:
        raise malformed("the body is empty; send the bytes of one picture")
    webp = data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    if not (data.startswith(_MAGIC) or webp or is_heic(data)):
        raise RequestError(415, "the body is no JPEG, PNG or WebP; send the bytes of one picture")
    scans = data.count(b"\xff\xda") if data[0] == 0xFF else 1
    if scans > MAX_SCANS:
        raise malformed(f"a JPEG of more than {MAX_SCANS} scans")
    if scans > SCANNED:
        width, height = picture_size(data, _FORMATS) or (0, 0)
        if width * height <= max_pixels < scans * width * height / SCANNED:
            raise malformed(f"a JPEG of {scans} scans; send it with fewer, or as a baseline one")
    try:
        return decode_shrunk(data, at_most, max_pixels=max_pixels, formats=_FORMATS)
    except TooManyPixels as cause:
        raise RequestError(413, str(cause)) from cause
    except CorruptImage as cause:
        if isinstance(cause, UnknownKind) and is_heic(data):
            raise RequestError(
                415, "the body is a HEIC picture, which is not taken here: convert it to JPEG"
            ) from cause
        raise malformed(f"the picture cannot be decoded: {str(cause)[:_REASON]}") from cause


def is_small(data: bytes) -> bool:
    """Whether a picture takes so little time to decode, under a millisecond, that it needs no
    thread of its own."""
    if len(data) > SMALL[0] or is_heic(data) or data.count(b"\xff\xda") > SCANNED:
        return False
    width, height = picture_size(data, _FORMATS) or (0, 0)
    return width * height <= SMALL[1]
