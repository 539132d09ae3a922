"""The units of a GDF's channels by its header: MNE knows microvolts, in GDF 2 millivolts, too, and
takes every other value for volts. (Schlögl, arXiv:cs/0608052.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_FIXED = 256
"""Bytes before the channels' part of the header, which holds one field after the other, each of all
channels."""
_CHANNELS = 252
"""Where the number of channels lies."""
_BEFORE = 16 + 80
"""Bytes of each channel's label and transducer, which lie before its unit."""
_VOLT = 4256
"""ISO/IEEE 11073-10101's code; those of its multiples follow."""
_MULTIPLES = {0: "V", 18: "mV", 19: "uV", 20: "nV"}


def gdf_units(path: Path) -> list[str]:
    """Each channel's unit, "" where the header has none; a code of no voltage is called "code N".

    Raises:
        ValueError: the header ends before its units, or its version is no number.
    """
    with open(path, "rb") as file:
        head = file.read(_FIXED)
        second = float(head[4:8]) >= 1.9
        count = int.from_bytes(head[_CHANNELS : _CHANNELS + (2 if second else 4)], "little")
        file.seek(_BEFORE * count, 1)
        fields = file.read(8 * count)
    if len(fields) < 8 * count:
        raise ValueError("the header ends before its units")
    width = 6 if second else 8  # from GDF 2 on the text is out of use, and a code follows
    texts = [fields[width * i : width * (i + 1)].decode("latin-1") for i in range(count)]
    texts = [text.strip(" \0") for text in texts]
    if not second:
        return texts
    codes = np.frombuffer(fields, "<u2", count, width * count).tolist()
    return [_unit(code) if code else text for code, text in zip(codes, texts, strict=True)]


def _unit(code: int) -> str:
    return _MULTIPLES.get(code - _VOLT, f"code {code}")
