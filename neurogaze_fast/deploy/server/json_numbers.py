"""The JSON of an infer request, without an object for each of its numbers.

Python's parser makes an object of every number and bracket, and holds the interpreter until it is
through: 8 MB of ``[],[],`` would stop a whole server for seconds. So the lists of whole numbers
that stand as ``"data"`` are cut out first and read by NumPy, which lets other threads run. What is
left, some hundred bytes of a sound request, goes to Python's parser, and may only have `MAX_REST`
bytes.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurogaze_fast.deploy.server.http_errors import malformed

MAX_REST = 65_536
"""Bytes of JSON at most besides the whole numbers of ``"data"``."""
NO_JSON = "the JSON part cannot be parsed"
_SPACE, _DIGITS = b" \t\r\n", b"0123456789"
_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_OTHER = bytes(byte not in _SPACE + _DIGITS + b"[,]" for byte in range(256))
"""To 0 what a list of whole numbers is made of, to 1 the rest."""
_DIGITS_ALIKE = bytes.maketrans(_DIGITS, b"0" * 10)
_NEVER_SIDE_BY_SIDE = (b"[,", b",,", b",]", b"[]", b"]0", b"0[")
"""In a list of numbers with its spaces taken out and every digit a 0."""
_MARK = secrets.token_hex(16)
"""Begins the text that stands for a list that was cut out: no caller can guess it."""


class Numbers(bytes):
    """A list of whole numbers, maybe nested, as JSON writes it; not checked yet."""

    def read(self, shape: Sequence[int]) -> np.ndarray:
        """uint8 of `shape`, from a flat list in row-major order or one nested like the shape.

        Raises:
            RequestError: 400 no JSON, of another shape, or numbers beyond 255.
        """
        # Three bytes before the first number, so that each has three before its last digit.
        digit = np.frombuffer(b"   " + self, np.uint8) - ord("0")
        is_digit = digit < 10
        last = is_digit[3:].copy()
        last[:-1] &= ~is_digit[4:]
        brackets = self.translate(None, _DIGITS + _SPACE)
        nested = brackets.startswith(b"[[")
        count, needed = int(np.count_nonzero(last)), math.prod(shape)
        if count != needed and not nested:
            raise malformed(f"data has {count} values; its shape needs {needed}")
        # The numbers are counted first: a shape may promise more than could ever be sent.
        if count != needed or brackets != (_nest(shape) if nested else _flat(count)):
            raise malformed("nested data does not have its tensor's shape")
        alike = self.translate(_DIGITS_ALIKE, _SPACE)
        if count and any(pair in alike for pair in _NEVER_SIDE_BY_SIDE):
            raise malformed(NO_JSON)
        ones, tens, hundreds, more = (digit[3 - k : len(digit) - k][last] for k in range(4))
        two = tens < 10
        three = two & (hundreds < 10)
        values = ones + np.uint16(10) * (tens * two) + np.uint16(100) * (hundreds * three)
        if (three & (more < 10)).any() or (values > 255).any():
            raise malformed("data must be numbers from 0 to 255")
        if (np.where(three, hundreds, tens)[two] == 0).any():
            raise malformed(NO_JSON)  # 007
        return values.astype(np.uint8).reshape(shape)


def parse_json(text: bytes) -> Any:
    """The value of `text`; each list of whole numbers that is a ``"data"`` becomes `Numbers`.

    Raises:
        RequestError: 400 no JSON, or more of it than a request of ours can have.
    """
    rest = bytearray()
    lists: dict[str, Numbers] = {}
    other, at = text.translate(_OTHER), 0
    for key in _DATA.finditer(text):
        end = other.find(1, key.end())
        end = text.rfind(b"]", key.end(), len(text) if end < 0 else end) + 1
        if len(rest) + key.end() - at > MAX_REST:
            break
        if end:  # else something other than numbers is in it
            mark = f"{_MARK}{len(lists)}"
            lists[mark] = Numbers(text[key.end() : end])
            rest += text[at : key.end()] + f'"{mark}"'.encode()
            at = end
    if len(rest) + len(text) - at > MAX_REST:
        raise malformed(f"{NO_JSON}: more than {MAX_REST} bytes of it are no whole numbers of data")
    rest += text[at:]

    def restore(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {k: lists.get(v, v) if isinstance(v, str) else v for k, v in pairs}

    try:
        return json.loads(rest, parse_constant=_no_constant, object_pairs_hook=restore)
    except (ValueError, RecursionError) as cause:  # bad UTF-8 is a ValueError too
        raise malformed(NO_JSON) from cause


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _flat(count: int) -> bytes:
    return b"[" + b"," * (count - 1) + b"]"


def _nest(shape: Sequence[int]) -> bytes:
    """The brackets and commas of numbers that are nested like this."""
    text = b""
    for width in reversed(shape):
        text = b"[" + b",".join([text] * width) + b"]"
    return text
