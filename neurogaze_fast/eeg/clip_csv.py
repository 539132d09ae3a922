"""The csv that says which clips a recording holds and how they were rated.

A row is a clip (columns in any order; those in brackets may be absent)::

    file,subject,clip,start_s,end_s,valence,arousal[,scale][,baseline_start_s,baseline_end_s]
    rec1.bdf,7,film-a,30,95.5,6,3,"1,9",0,30

Empty start_s and end_s: from the first sample, to the last. Empty valence and arousal: unlabelled
support. `scale` is the lowest and the highest rating there can be (empty: the option's).
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.errors import DataError

COLUMNS = ("file", "subject", "clip", "start_s", "end_s", "valence", "arousal")


@dataclass(frozen=True)
class ClipRow:
    """One row of the csv, read but not yet looked up."""

    line: int
    file: str
    subject: str
    clip: str
    span: tuple[float | None, float | None]
    """Seconds from the recording's first sample."""
    baseline: tuple[float, float] | None
    ratings: tuple[str, str]
    """As written: valence, arousal."""
    scale: tuple[float, float]


def read_clip_rows(path: Path, scale: tuple[float, float]) -> list[ClipRow]:
    """The csv, strictly.

    Raises:
        DataError: as the csv or a column is missing; a row is cut short, lacks subject or clip, or
            has a time or scale that is no number (names the line).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as cause:
        raise DataError(
            f"{path} cannot be read ({cause.strerror}). It is a csv with {', '.join(COLUMNS)}."
        ) from cause
    except UnicodeDecodeError as cause:
        raise DataError(f"{path} is not text (byte {cause.start}). Save it as UTF-8.") from cause
    reader = csv.reader(text.splitlines())
    rows = []
    try:
        header = [name.strip().casefold() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise DataError(
                f"{path} lacks the column(s) {', '.join(missing)}; found "
                f"{', '.join(header) or 'an empty file'}. It needs {', '.join(COLUMNS)}."
            )
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: found {len(fields)} fields, expected "
                    f'{len(header)}. A field with a comma stands in quotation marks: "1,9".'
                )
            cells = dict(zip(header, (field.strip() for field in fields), strict=True))
            rows.append(_clip_row(cells, f"{path}, line {reader.line_num}", reader.line_num, scale))
    except csv.Error as cause:
        raise DataError(f"{path}, line {reader.line_num}: {cause}. Correct the line.") from cause
    if not rows:
        raise DataError(f"{path} has no rows. Give one per clip: {', '.join(COLUMNS)}.")
    return rows


def _clip_row(cells: dict[str, str], where: str, line: int, scale: tuple[float, float]) -> ClipRow:
    def seconds(name: str) -> float | None:
        text = cells.get(name, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise DataError(f"{where}: {name} is {text!r}, expected seconds from the first sample.")
        return value

    for name in ("subject", "clip"):
        if not cells[name]:
            raise DataError(
                f"{where}: {name} is empty. Every clip needs one: splits are by subject."
            )
    rest = seconds("baseline_start_s"), seconds("baseline_end_s")
    if (rest[0] is None) != (rest[1] is None):
        raise DataError(f"{where}: give both of baseline_start_s and baseline_end_s, or neither.")
    return ClipRow(
        line=line,
        file=cells["file"],
        subject=cells["subject"],
        clip=cells["clip"],
        span=(seconds("start_s"), seconds("end_s")),
        baseline=None if rest[0] is None or rest[1] is None else (rest[0], rest[1]),
        ratings=(cells["valence"], cells["arousal"]),
        scale=_scale(cells.get("scale", ""), where) or scale,
    )


def _scale(text: str, where: str) -> tuple[float, float] | None:
    if not text:
        return None
    parts = re.split(r"\s*(?:,|;|:|\.\.|\s)\s*", text)
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(f'{where}: scale is {text!r}, expected lowest and highest, such as "1,9".')
    return low, high
