"""What a file that cannot be read as a picture is, in words that say what to do about it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BEGINNINGS = (
    (b"\xff\x0a", "a JPEG XL picture, which is not read: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture, which is not read: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture, which is not read: convert it to JPEG or PNG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture, which is not read: convert it to JPEG or PNG"),
    (b"8BPS", "a Photoshop file: save it as JPEG or PNG"),
    (b"%PDF", "a PDF document: save its pictures as JPEG or PNG"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"\x89PNG", "a damaged PNG: its headers cannot be read"),
    (b"GIF8", "a damaged GIF: its headers cannot be read"),
    (b"BM", "a damaged BMP: its headers cannot be read"),
)
_TIFF = (b"II*\0", b"MM\0*")
_SAMPLES, _BITS, _FORMAT, _PHOTOMETRIC = 277, 258, 339, 262
"""TIFF's tags."""
_FORMATS = {1: "", 2: "signed ", 3: "floating-point "}
_SHOWN = 40
_STRAY = 64
"""Bytes before a JPEG's beginning that are looked at."""


def is_heic(data: bytes | np.ndarray) -> bool:
    """Whether a file's bytes begin as a HEIC picture's do."""
    return bytes(data[4:8]) == b"ftyp" and bytes(data[8:12]) in _HEIC


def describe_kind(data: bytes | np.ndarray) -> str:
    """What bytes that are no readable picture are, and what to do, as the end of "it is ...".

    Args:
        data: The whole file; only its beginning is looked at (all of it where that is zeros).
    """
    head = bytes(data[:1024])
    for beginning, words in _BEGINNINGS:
        if head.startswith(beginning):
            return words
    if head.startswith(b"\xff\xd8\xff"):
        return _describe_jpeg(bytes(data))
    if head[128:132] == b"DICM":
        return "a DICOM picture, which is not read: export it, by its window, as PNG of 8 bits"
    if head.startswith(_TIFF):
        return _describe_tiff(bytes(data))
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"avif", b"avis"):
            return "an AVIF picture, damaged or beyond this Pillow: convert it to JPEG or PNG"
        return "a video or sound in an MP4 file"
    if head.startswith(b"RIFF"):
        kind = {b"WEBP": "a damaged WebP", b"AVI ": "an AVI video"}
        return kind.get(head[8:12], "a RIFF file without a picture")
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file: run `git lfs pull` in its repository"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<svg|<\?xml.*<svg", text, re.DOTALL):
        return "an SVG drawing, which has no pixels: export it as PNG"
    if re.match(rb"<!doctype html|<html|<head|<body|<script", text):
        return "an HTML page (often a log-in or error page): download the picture again"
    if not any(data):
        return f"nothing but {len(data)} zero bytes: copy or download it again"
    stray = head.find(b"\xff\xd8\xff", 0, _STRAY)
    if stray > 0:
        return f"a JPEG with {stray} stray bytes before its beginning: remove them"
    if re.fullmatch(rb"[\t\r\n\x20-\x7e]+", head):
        return f"a text that begins {head[:_SHOWN].decode()!r}: download the picture again"
    return "of no known kind (JPEG, PNG, WebP, BMP, TIFF, GIF and AVIF are read)"


def _describe_jpeg(data: bytes) -> str:
    """What is unusual in the frame header of a JPEG, where one is found."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits = data[at + 4]
            if bits != 8:
                return f"a JPEG of {bits} bits, which is not read: save it as PNG of 8 bits"
            break
        at += 2 + length
    return "a damaged JPEG: its headers cannot be read"


def _describe_tiff(data: bytes) -> str:
    """What the pixels of a TIFF are, where its header says it."""
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    try:
        file.seek(tags.next)
        tags.load(file)
        bits, form = tags[_BITS], tags.get(_FORMAT, (1,))
        kind = f"{max(bits)}-bit {_FORMATS.get(max(form), 'undefined ')}pixels"
        kind += f" (channels: {tags.get(_SAMPLES, 1)}, photometric kind: {tags[_PHOTOMETRIC]})"
    except Exception:  # whatever a damaged header brings about
        return "a TIFF (or a camera's raw file) without a picture that can be read: convert it"
    return f"a TIFF of {kind}, which are not read: save it as PNG or as a plain TIFF of 8 bits"
