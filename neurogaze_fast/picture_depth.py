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
_MOST, _SIGNED_MOST = 281, 341
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
rather of another range (8 bits in 12, 0 to 2 in floating point) than as good as black."""
_IN_16_BITS = (2**16 - 1, 2**15 - 1)
"""White of 16 bits, unsigned and signed: what less deep pixels are often stored in."""
_UNSURE = 2**14 - 1
"""A picture in 16 bits that is no brighter may be a dark one, or one of 12 to 14 bits as X-ray,
thermal and machine-vision cameras store them: its header must say which."""
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
        return Image.fromarray(_narrowed(image, channels, pixels[..., 0], pixels[..., 1]))
    plain = channels.replace("a", "A")  # not divided by alpha yet
    with again() as other:
        first, second = (
            np.asarray(_read_as(opened, f"{plain};16{end}"))
            for opened, end in ((image, "B"), (other, "L"))
        )
    big = order.startswith("B") or (order.startswith("N") and sys.byteorder == "big")
    pixels = _narrowed(image, channels, *((first, second) if big else (second, first)))
    mode = channels if channels == "RGBa" else image.mode
    return Image.frombytes(mode, image.size, pixels.tobytes())


def _narrowed(image: Any, channels: str, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """8 bits, rounded, of 16 in each channel by their bytes, by the depth that they really have."""
    if channels in ("CMYK", "RGBa"):  # little ink is a light picture, little colour may be alpha's
        return _rounded(high, low)
    values = high.astype(np.uint16) << 8 | low
    white = _white(image, values if high.ndim == 2 else values[..., :3], 2**16 - 1)
    return _rounded(high, low) if white == 2**16 - 1 else _eighths(values, white)


def _eighths(values: np.ndarray, white: int) -> np.ndarray:
    """uint8 of whole numbers from 0 to `white`, rounded; what is above is white."""
    return ((values.clip(0, white).astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def _white(image: Any, values: np.ndarray, full: int) -> int:
    """The value that white has in pixels stored in 16 bits, of which it may use fewer.

    Args:
        values: The colours' whole numbers, from 0 to `full`.
        full: White of all the bits.

    Raises:
        CorruptImage: neither the header nor the pixels say whether it is dark or less deep.
    """
    high, bits = int(values.max(initial=0)), _stated_bits(image)
    if image.format == "PNG" and bits and _moved_up(values, high, bits):
        return full
    if bits and high < 2**bits:
        return min(full, 2**bits - 1)
    if high > _UNSURE or not (values % 256).any() or not (values % 257).any():
        return full  # bright, or 8 bits spread over the 16
    depth = max(high.bit_length(), 8)
    raise CorruptImage(
        f"its pixels go from {int(values.min())} to {high} where 16 bits have 0 to {full}, and its "
        f"header does not say whether it is a dark picture or one of {depth} bits: scale it, save "
        "it with 8 bits, or state its depth (a PNG's sBIT, or 2^bits - 1 as a TIFF's "
        "MaxSampleValue)"
    )


def _moved_up(values: np.ndarray, high: int, bits: int) -> bool:
    """Whether fewer bits have zeros or their own first bits below them in the 16, as PNG wants it.

    Many cameras leave them where they are. A depth that is neither was not this picture's.
    """
    if not (values % 2 ** (16 - bits)).any():
        return True
    white = 2**bits - 1
    if not white < high <= _UNSURE:  # brighter ones are believed anyhow
        return False
    wide = values.astype(np.int32)
    nearest = (wide * white + 2**15) // (2**16 - 1) * (2**16 - 1) // white
    return bool((abs(nearest - wide) <= 1).all())


def _stated_bits(image: Any) -> int:
    """How many of its 16 bits a picture's header says are used, or 0."""
    if image.format == "PNG":
        found = image.info.get("sBIT", b"")
        bits = max(found if len(found) in (1, 3) else found[:-1], default=0)  # without alpha's
        return bits if bits <= 16 else 0
    most = 0
    if image.format == "TIFF":
        most = int(_tag(image, _MOST) or _tag(image, _SIGNED_MOST) or 0)
    bits = (most + 1).bit_length() - 1
    # Anything else is the brightest pixel's value, which says nothing of white's.
    return bits if most == 2**bits - 1 and 8 <= bits <= 16 else 0


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
    in_16_bits = full in _IN_16_BITS
    dim = 0 < high < _DIMMEST * (full or 0) and full != 1 and not in_16_bits
    if full is None or low < -slack * full or dim:
        wanted = "0 to 1 or 0 to 255" if image.mode == "F" else f"0 to {full or 65535:.0f}"
        raise CorruptImage(
            f"its pixels go from {low:.6g} to {high:.6g}, which is not the range of a picture of "
            f"its kind ({wanted}): scale it"
        )
    if image.mode == "F":
        grey = np.rint(values.clip(0, full) * (255 / full)).astype(np.uint8)
    else:  # rounded, in integers
        grey = _eighths(values, _white(image, values, int(full)) if in_16_bits else int(full))
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
