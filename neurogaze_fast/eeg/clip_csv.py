"""The csv that says which clips a recording holds and how they were rated.

A row is a clip (columns in any order; those in brackets may be absent)::

    file,subject,clip,start_s,end_s,valence,arousal[,scale][,baseline_start_s,baseline_end_s][,film][,bads]
    rec1.bdf,7,film-a,30,95.5,6,3,"1,9",0,30

Empty start_s and end_s: from the first sample, to the last. Empty valence and arousal: unlabelled
support. Everybody's clip of one name counts as the same film, so that films can be held out; where
names are made for each person, the column `film` says which film a clip was. `scale` is the
lowest and the highest rating there can be (empty: the option's). `bads` names channels that are bad
in this clip, as "T7 O2"; they are interpolated.

Delimiters, encodings and line ends may be all those of :mod:`~neurogaze_fast.delimited`. ``0,5`` is
a number where columns are not separated by commas. A path may have the separators of Windows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.delimited import read_delimited
from neurogaze_fast.errors import DataError

COLUMNS = ("file", "subject", "clip", "start_s", "end_s", "valence", "arousal")
OPTIONAL = ("scale", "baseline_start_s", "baseline_end_s", "film", "bads")
NUMBERS = {"start_s", "end_s", "valence", "arousal", "baseline_start_s", "baseline_end_s"}


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
    film: str | None = None
    """What was watched, where the csv says it."""
    bads: tuple[str, ...] = ()
    """Labels of channels that are bad in this clip, beside those the file marks."""


def read_clip_rows(path: Path, scale: tuple[float, float]) -> list[ClipRow]:
    """The csv, strictly.

    Raises:
        DataError: the csv or a column is missing; a row is cut short, lacks subject or clip, or has
            a time or scale that is no number (the message names the line).
    """
    table = read_delimited(path, (*COLUMNS, *OPTIONAL))
    places = {name: table.column(name) for name in (*COLUMNS, *OPTIONAL)}
    missing = [name for name in COLUMNS if places[name] is None]
    if missing:
        raise DataError(
            f"{path} lacks the column(s) {', '.join(missing)}; found {', '.join(table.header)}. It "
            f"needs {', '.join(COLUMNS)}."
        )
    if not table.rows:
        raise DataError(f"{path} has no rows. Give one per clip: {', '.join(COLUMNS)}.")
    rows = []
    for row in table.rows:
        cells = {name: row.fields[at] for name, at in places.items() if at is not None}
        if table.decimal_comma:
            cells |= {name: cells[name].replace(",", ".") for name in NUMBERS & cells.keys()}
        rows.append(_clip_row(cells, f"{path}, line {row.line}", row.line, scale))
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
        film=cells.get("film") or None,
        bads=tuple(re.split(r"[\s,;]+", cells["bads"])) if cells.get("bads") else (),
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
