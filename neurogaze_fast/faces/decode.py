"""What goes to other decoders than Pillow as it is, and images that are encoded anew.

Pixels are defined by :mod:`neurogaze_fast.pictures`; every other decoder is held to that.
"""

from __future__ import annotations

import io

import numpy as np

from neurogaze_fast.pictures import MAX_PIXELS

_TAIL = 4096
"""Bytes from the end in which an image's end mark is looked for; phones write some after it."""
_NOTES = 4096
"""Bytes of notes and profiles a PNG may have before its pixels; more is unusual."""
_PNG_TURNED = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type")
"""Where a PNG's orientation may be."""
_JPEG_TURNED = b"tiff:Orientation"
"""Where a JPEG's may be beside EXIF, which all decoders know."""


def encode_grey(image: np.ndarray, kind: str) -> bytes:
    """A PNG or JPEG (of quality 95) of uint8 [H, W]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, kind, quality=95)
    return file.getvalue()


def plausible(data: np.ndarray) -> bool:
    """Whether encoded bytes (uint8 [n]) look like a whole, usual JPEG or PNG of a permitted size.

    Microseconds, from the first and last bytes. Other decoders differ where an image is unusual:
    they clip 16 bits, overlook a PNG's orientation, blend transparency in, or take half a file.
    What fails here goes through :func:`neurogaze_fast.pictures.decode_grey` first, so that neither
    pixels nor which images are used depend on the decoder.
    """
    head, tail = data[:_NOTES].tobytes(), data[-_TAIL:].tobytes()
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        depth, colour = head[24:26].ljust(2, b"\0")
        return (
            b"IEND" in tail
            and 0 < width * height <= MAX_PIXELS
            and (depth, colour) in ((8, 0), (8, 2))
            and b"IDAT" in head
            and not any(mark in head or mark in tail for mark in _PNG_TURNED)
        )
    return head.startswith(b"\xff\xd8\xff") and b"\xff\xd9" in tail and _jpeg_fits(data)


def _jpeg_fits(data: np.ndarray) -> bool:
    """Whether a JPEG's frame header is found: a permitted size, 8 bits, one or three channels."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = int(data[at + 1])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[i : i + 2].tobytes()) for i in (at + 5, at + 7))
            return (
                0 < height * width <= MAX_PIXELS
                and data[at + 4] == 8
                and data[at + 9] in (1, 3)
                and _JPEG_TURNED not in data[:at].tobytes()
            )
        at += 2 + int.from_bytes(data[at + 2 : at + 4].tobytes())
    return False
