"""A picture that came over the network to pixels, with every limit checked before it costs.

Only JPEG and PNG, told by their first bytes; the number of pixels is read from the header before
anything is decoded. A progressive JPEG is decoded once over for each of its scans, each of which
takes a few bytes: it may have only so many, for its size.
"""

from __future__ import annotations

import io

import numpy as np

from neurogaze_fast.deploy.server.http_errors import RequestError, malformed
from neurogaze_fast.deploy.vision.inputs import DAMAGE, upright_rgb

MAX_SCANS = 100
"""Scans of a progressive JPEG; encoders write about ten."""
SCANNED = 15
"""Pixels times scans of a JPEG, in multiples of `max_pixels`: about ten scans of the largest."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def decode_picture(data: bytes, max_pixels: int) -> np.ndarray:
    """uint8 [H, W, 3] RGB of a JPEG's or PNG's bytes, upright by its EXIF orientation.

    Transparency is ignored, grey becomes three equal channels, 16 bits become 8.

    Raises:
        RequestError: 415 no JPEG or PNG, 413 more than `max_pixels`, 400 damaged.
    """
    from PIL import Image

    if not data:
        raise malformed("the body is empty; send the bytes of one picture")
    if not data.startswith(_MAGIC):
        raise RequestError(415, "the body is no JPEG or PNG; send the bytes of one picture")
    scans = data.count(b"\xff\xda") if data[0] == 0xFF else 1
    if scans > MAX_SCANS:
        raise malformed(f"a JPEG of more than {MAX_SCANS} scans")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise RequestError(
                    413, f"{width} x {height} pixels; at most {max_pixels} are taken in all"
                )
            if scans * width * height > SCANNED * max_pixels:
                raise malformed(
                    f"a JPEG of {scans} scans; send it with fewer, or as a baseline one"
                )
            image.load()
            return upright_rgb(image)
    except Image.DecompressionBombError as cause:
        raise RequestError(413, f"more than {max_pixels} pixels") from cause
    except DAMAGE as cause:
        raise malformed("the picture is damaged and cannot be decoded") from cause
