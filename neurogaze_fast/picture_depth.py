"""From pixels as Pillow opens them to 8 bits of grey or of red, green and blue, rounded.

Pillow keeps the upper byte of 16-bit colour, takes signed bytes for unsigned ones, and mixes up the
rarer ways in which a TIFF lays its pixels out. What can be read otherwise is read right here; what
cannot is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _SAMPLES, _PLANES = 258, 262, 339, 277, 284
_EXTRA, _COLOUR_MAP, _INKS, _COEFFICIENTS, _SUBSAMPLING, _REFERENCE = 338, 320, 332, 529, 530, 532
"""TIFF's tags."""
_FULL_RANGE, _COEFFICIENTS_601 = (0, 255, 128, 255, 128, 255), (0.299, 0.587, 0.114)
_JPEGS_YCBCR: dict[int, tuple[tuple[float, ...], tuple[float, ...]]] = {
    _SUBSAMPLING: ((1, 1), (2, 2)),
    _REFERENCE: (_FULL_RANGE, _FULL_RANGE),
    _COEFFICIENTS: (_COEFFICIENTS_601, _COEFFICIENTS_601),
}
"""What Pillow takes YCbCr for that is not compressed, and what a file means that does not say."""
_WHITE_IS_ZERO, _PALETTE, _YCBCR = 0, 3, 6
_SIGNED = 2
_APART = 2
"""Planar configuration in which every channel lies in a plane of its own."""
_ASSOCIATED = 1
"""Extra channel by which the others have been multiplied."""
_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""libtiff gives numbers in the machine's order; Pillow knows it of unsigned ones only."""
_DIMMEST = 1 / 16
"""A deep picture whose brightest pixel is below this share of its range is not believed: it is
rather of another range (12 bits in 16, 0 to 2 in floating point) than as good as black."""
_SLACK = 1e-3
"""How far floating-point pixels may lie outside 0..1: resampling and rounding overshoot."""


class CorruptImage(ValueError):
    """A picture that cannot be decoded; the message is the reason in a few words."""


def eight_bits(image: Any, again: Callable[[], Any]) -> Image.Image:
    """Mode L or RGB of a picture that was opened and not loaded yet.

    Args:
        again: Opens it once more.

    Raises:
        CorruptImage: its pixels are of a kind, or of a range, that cannot be told.
    """
    if image.format == "TIFF":
        _check_layout(image)
    stored = _raw_mode(image)
    if stored in _NATIVE and image.tile[0].codec_name == "libtiff":
        _read_as(image, _NATIVE[stored])
    channels, deep, order = stored.partition(";16")
    if deep and image.mode in ("RGB", "RGBA", "CMYK"):
        image = _deep_colour(image, again, channels, order)
    image.load()
    mode = image.mode
    signed = image.format == "TIFF" and _tag(image, _SAMPLE_FORMAT) == _SIGNED
    if mode == "F" or mode.startswith("I") or signed:
        return _scaled(image, signed)
    if mode in ("L", "RGB"):
        return image
    image.info.pop("transparency", None)  # else converting would act upon it
    if mode in ("La", "RGBa"):  # alpha already multiplied into the pixels
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    return image.convert("L" if mode in ("1", "LA", "La") else "RGB")


def _raw_mode(image: Any) -> str:
    """How Pillow will unpack the pixels, or nothing where their decoder does it."""
    if not image.tile:
        return ""
    found = image.tile[0].args
    if isinstance(found, tuple):
        found = found[0] if found else ""
    return found if isinstance(found, str) else ""


def _read_as(image: Any, raw_mode: str) -> Any:
    """`image`, whose pixels will be unpacked in another way."""

    def changed(found: Any) -> Any:
        return (raw_mode, *found[1:]) if isinstance(found, tuple) else raw_mode

    image.tile = [tile._replace(args=changed(tile.args)) for tile in image.tile]
    return image


def _deep_colour(image: Any, again: Callable[[], Any], channels: str, order: str) -> Image.Image:
    """8 bits, rounded, of 16 bits in each of several channels.

    Pillow has no mode for them; but read in the other order of bytes, it keeps the other byte.
    """
    from PIL import Image

    if channels == "LA":  # both bytes of grey and of alpha fit into four channels
        pixels = np.asarray(_read_as(image, "RGBA"))
        return Image.fromarray(_rounded(pixels[..., 0], pixels[..., 1]))
    plain = channels.replace("a", "A")  # not divided by alpha yet
    with again() as other:
        first, second = (
            np.asarray(_read_as(opened, f"{plain};16{end}"))
            for opened, end in ((image, "B"), (other, "L"))
        )
    big = order.startswith("B") or (order.startswith("N") and sys.byteorder == "big")
    pixels = _rounded(first, second) if big else _rounded(second, first)
    mode = channels if channels == "RGBa" else image.mode
    return Image.frombytes(mode, image.size, pixels.tobytes())


def _rounded(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """uint8 of 16 bits by their bytes: (256 high + low) / 257, to the nearest."""
    difference = low.astype(np.int16) - high
    return high + (difference > 128) - (difference < -128).astype(np.uint8)


def _check_layout(image: Any) -> None:
    """Raises:
    CorruptImage: the pixels of a TIFF lie as Pillow does not expect.
    """
    kind, mode = _tag(image, _PHOTOMETRIC), image.mode
    packed = bool(image.tile) and image.tile[0].codec_name == "libtiff"
    what = ""
    if image.tag_v2.get(_PLANES) == _APART:
        bits = _tag(image, _BITS) or 1
        extra = image.tag_v2.get(_EXTRA) or ()
        if (image.tag_v2.get(_SAMPLES) or 1) == 1:
            plain = packed or (bits == 8 and kind != _WHITE_IS_ZERO)
        else:
            plain = mode in ("RGB", "RGBA", "CMYK", "LA") or (packed and kind == _YCBCR)
            plain = plain and bits == 8 and (packed or _ASSOCIATED not in extra)
        if not plain:
            what = f"{bits}-bit channels in planes of their own (planar configuration 2)"
    if kind == _YCBCR and mode == "YCbCr":
        for tag, (wanted, absent) in _JPEGS_YCBCR.items():
            found = [float(value) for value in image.tag_v2.get(tag, absent)]
            if len(found) != len(wanted) or not np.allclose(found, wanted, atol=1e-3):
                what = "YCbCr pixels that are not compressed and not of JPEG's kind"
    if mode == "CMYK" and (_tag(image, _INKS) or 1) != 1:
        what = "inks other than cyan, magenta, yellow and black"
    if kind == _PALETTE and 0 < max(image.tag_v2[_COLOUR_MAP]) < 256:
        what = "a palette of 8 bits where TIFF's has 16"
    if what:
        raise CorruptImage(f"a TIFF with {what}, which is not read: save it as PNG or plain TIFF")


def _scaled(image: Any, signed: bool) -> Image.Image:
    """Mode L of a loaded image's pixels that are deeper than 8 bits, or signed."""
    from PIL import Image

    values = np.asarray(image)
    if signed and values.dtype == np.uint8:
        values = values.view(np.int8)
    if not np.isfinite(values).all():
        raise CorruptImage("it has floating-point pixels that are not finite")
    low, high = float(values.min()), float(values.max())
    slack = _SLACK if image.mode == "F" else 0.0
    full = _full_scale(image, high, slack, signed)
    if full is None or low < -slack * full or 0 < high < _DIMMEST * full * (full > 1):
        wanted = "0 to 1 or 0 to 255" if image.mode == "F" else f"0 to {full or 65535:.0f}"
        raise CorruptImage(
            f"its pixels go from {low:.6g} to {high:.6g}, which is not the range of a picture of "
            f"its kind ({wanted}): scale it"
        )
    if image.mode == "F":
        grey = np.rint(values.clip(0, full) * (255 / full)).astype(np.uint8)
    else:  # rounded, in integers
        whole = int(full)
        grey = ((values.astype(np.uint32) * 255 + whole // 2) // whole).astype(np.uint8)
    # Pillow inverts such files of 8 bits only.
    inverted = image.format == "TIFF" and _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO
    return Image.fromarray(255 - grey if inverted else grey)


def _full_scale(image: Any, high: float, slack: float, signed: bool) -> float | None:
    """The value that white has, or None where it cannot be told.

    By the header up to 16 bits. For 32 bits by the largest value: floating point is on [0, 1] or on
    [0, 255], integers on [0, 255] or [0, 65535].
    """
    bits = (_tag(image, _BITS) or 16) if image.format == "TIFF" else 16
    if bits <= 16 and image.mode != "F":
        return float(2 ** (bits - signed) - 1)
    ranges = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    return next((full for full in ranges if high <= full * (1 + slack)), None)


def _tag(image: Any, number: int) -> int | None:
    """A TIFF's tag; the first channel's where there is one for each."""
    value = image.tag_v2.get(number)
    return value[0] if isinstance(value, tuple) and value else value
