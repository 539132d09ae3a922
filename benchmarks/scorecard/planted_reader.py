"""A reader with a fault for the canary of F1: it breaks at one word, told letter by letter."""

from __future__ import annotations


def read(data: bytes) -> None:
    """Raises RuntimeError where `data` begins with the word."""
    # A line each, as in parsers: who sees which lines are reached finds one letter after another.
    if data[:1] != b"f":
        return
    if data[1:2] != b"a":
        return
    if data[2:3] != b"u":
        return
    if data[3:4] != b"l":
        return
    if data[4:5] != b"t":
        return
    raise RuntimeError("the planted fault")
