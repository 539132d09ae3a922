"""A picture that came over the network to pixels, with every limit checked before it costs.

Only JPEG and PNG, told by their first bytes; the number of pixels is read from the header before
anything is decoded; progressive JPEGs of a great many scans, which take seconds for a few
kilobytes, are refused.
"""

from __future__ import annotations

import io
import struct

import numpy as np

from neurogaze_fast.deploy.http_errors import RequestError, malformed

MAX_SCANS = 100
"""Scans of a progressive JPEG; encoders write about ten."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error),
    *(ArithmeticError, AttributeError, MemoryError),
)
"""What Pillow raises on damaged headers, metadata and pixels."""


def decode_picture(data: bytes, max_pixels: int) -> np.ndarray:
    """uint8 [H, W, 3] RGB of a JPEG's or PNG's bytes, upright by its EXIF orientation.

    Transparency is ignored, grey becomes three equal channels, 16 bits become 8.

    Raises:
        RequestError: 415 no JPEG or PNG, 413 more than `max_pixels`, 400 damaged.
    """
    from PIL import Image, ImageOps

    if not data:
        raise malformed("the body is empty; send the bytes of one picture")
    if not data.startswith(_MAGIC):
        raise RequestError(415, "the body is no JPEG or PNG; send the bytes of one picture")
    if data[0] == 0xFF and data.count(b"\xff\xda") > MAX_SCANS:
        raise malformed(f"a JPEG of more than {MAX_SCANS} scans")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise RequestError(
                    413, f"{width} x {height} pixels; at most {max_pixels} are taken in all"
                )
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # Pillow's own conversion would clip at 255
                levels = np.asarray(upright).astype(np.int64)
                grey = ((levels * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.array(upright.convert("RGB"))
    except Image.DecompressionBombError as cause:
        raise RequestError(413, f"more than {max_pixels} pixels") from cause
    except _DAMAGE as cause:
        raise malformed("the picture is damaged and cannot be decoded") from cause
