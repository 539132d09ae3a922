"""Time in EDF+ and BDF+: annotations, and where in time the records lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Records without a gap between them."""

    start: float
    """Seconds from the file's first sample."""
    first: int
    """Its first record."""
    count: int
    """Records."""


@dataclass(frozen=True)
class Note:
    """One annotation; without text it is the time stamp of its record."""

    start: float
    """Seconds from the start that the header gives."""
    duration: float
    """Seconds; 0 where it has none."""
    text: str


def notes_of(data: bytes) -> list[Note]:
    """The annotations in one record's text, in their order; damaged ones are skipped."""
    notes = []
    for entry in data.split(b"\x00"):
        when, *texts = entry.split(b"\x14")
        match = re.fullmatch(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?", when)
        if not match:
            continue
        names = [text.decode("utf-8", errors="replace") for text in texts]
        # Every annotation ends with the separator, so the last part is always empty.
        start, duration = float(match[1]), float(match[2] or 0)
        notes += [Note(start, duration, name) for name in names[:-1] or [""]]
    return notes


def pieces_of(stamps: Sequence[float | None], record_seconds: float, slack: float) -> list[Piece]:
    """The pieces of records that follow one another without a gap.

    Args:
        stamps: the time stamp of every record, seconds; at least one record.
        record_seconds: how long each lasts.
        slack: seconds by which a stamp may be off without a gap.

    Raises:
        ValueError: a stamp is missing, or time runs backwards; names the record.
    """
    pieces: list[Piece] = []
    zero = first_time = stamps[0]
    first = 0
    for number, stamp in enumerate(stamps):
        if stamp is None or first_time is None or zero is None:
            raise ValueError(f"record {number + 1} has none")
        expected = first_time + (number - first) * record_seconds
        if stamp < expected - slack:
            raise ValueError(f"record {number + 1} lies before the end of the one before it")
        if stamp > expected + slack:
            pieces.append(Piece(first_time - zero, first, number - first))
            first, first_time = number, stamp
    if first_time is None or zero is None:
        raise ValueError("there is no record")
    return [*pieces, Piece(first_time - zero, first, len(stamps) - first)]
