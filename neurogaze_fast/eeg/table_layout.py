"""What the columns of a recording in a table mean: Emotiv, OpenBCI, Muse, or any table with a
header that names sites.

* **EmotivPRO**: a line of metadata ("title:..., sampling rate:eeg_128;..."), then a header
  ("Timestamp,EEG.Counter,EEG.Interpolated,EEG.AF3,...").
* **TestBench and Xavier** (Emotiv): a line of metadata that holds the header
  ("sampling:128 ... labels:COUNTER INTERPOLATED AF3 ..."), then rows.
* **OpenBCI GUI**: lines that begin with "%", then a header ("Sample Index, EXG Channel 0, ...");
  until version 4 no header.
* **Muse**: Mind Monitor ("TimeStamp,...,RAW_TP9,...,Elements"), muselsl
  ("timestamps,TP9,AF7,AF8,TP10,Right AUX").
* **OpenViBE**: the rate in the header ("Time:512Hz,Epoch,Fz,...").
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.delimited import DELIMITERS, delimiter_of, read_head, strip
from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.labels import sites_of

MIN_NAMED = 4
"""Columns that must name sites; else all numbered ones are the channels."""
_TIMES = (
    *("timestamps", "timestamp", "time_stamp", "lsl_ts", "unix_ts", "time", "time (s)", "time(s)"),
    *("time [s]", "time_s", "time in sec", "seconds", "t", "time (ms)", "time(ms)", "time [ms]"),
    *("time_ms", "timestamp (ms)", "timestamp_ms", "datetime", "timestamp (formatted)"),
)
_COUNTERS = ("eeg.counter", "counter", "sample index", "sampleindex", "sample_index", "index")
_NO_SIGNAL = ("elements", "marker", "markers")
"""Columns for what happened; a row that has nothing else is no sample."""
_NUMBERED = re.compile(r"(?:EXG|EEG)?[\s_.]*(?:ch(?:an(?:nel)?)?)?[\s_.]*\d+", re.IGNORECASE)
_BANDS = re.compile(r"delta|theta|alpha|beta|gamma|power", re.IGNORECASE)
_RATE = re.compile(
    r"sampl(?:e|ing)[\s_]*(?:rate|frequency)?\s*(?:\(hz\))?\s*[:=]\s*(?:[\w;]*?eeg_)?"
    r"(\d+(?:[.,]\d+)?)",
    re.IGNORECASE,
)
_RATE_OF_TIME = re.compile(r"time:(\d+(?:\.\d+)?)hz", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[-+]?\d*[.,]?\d+(?:e[-+]?\d+)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class TableLayout:
    """How to read the rows."""

    encoding: str
    skip: int
    """Lines before the first row."""
    delimiter: str
    decimal_comma: bool
    """Whether numbers are written 0,5."""
    spaced: bool
    """Whether fields are separated by ", " and a comma without a space is one inside a number."""
    header: tuple[str, ...]
    channels: tuple[int, ...]
    """Columns of EEG."""
    numbered: bool
    """Whether these name no site."""
    counted: bool
    """Whether the file says how many channels there are; else the first of `channels` are."""
    time: int | None
    """The column of time stamps."""
    counter: int | None
    invented: int | None
    """The column that is above 0 where the program made a sample up for one that was lost."""
    events: tuple[int, ...]
    rate: float | None
    """Hz, where the file says it."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.header[at] for at in self.channels)

    @property
    def per_second(self) -> float | None:
        """How many units of the time stamps a second has, where their column's name says it."""
        name = "" if self.time is None else self.header[self.time].casefold()
        if re.search(r"[\[(_ ]ms\b", name):
            return 1e3
        return 1.0 if re.search(r"[\[(_ ]s\b|\bsec", name) else None


def read_layout(path: Path) -> TableLayout:
    """Read the beginning of a table.

    Raises:
        UnreadableError: it has no header, or no channel of EEG.
        DelimitedTextError: it is no text.
    """
    text, encoding = read_head(path)
    lines = re.split(r"\r\n|\n|\r", text)
    top = next((n for n, line in enumerate(lines) if not _is_preamble(line)), len(lines) - 1)
    before, first = "\n".join(lines[:top]), lines[top]
    skip = top if _is_row(first) else top + 1
    example = next((line for line in lines[skip:] if _is_row(line)), "")
    # Where the decimal mark is a comma, OpenBCI's fields are told apart by the space alone.
    spaced = before.lstrip("\ufeff ").startswith("%") and bool(re.search(r"\d, -?\d+,\d", example))
    if skip > top:
        mark = delimiter_of(first, {*_TIMES, *_COUNTERS})
        header = _fields(first, mark)
    else:
        header = _told_header(before, example, spaced)
        fitting = (mark for mark in DELIMITERS if len(_fields(example, mark)) == len(header))
        mark = next(fitting, delimiter_of(example))
    if sum(bool(name) for name in header) < 2:
        raise UnreadableError(
            "a table without a header: its first line names no columns", strip(first)[:60]
        )
    cells = [cell for cell in _fields(example, mark) if _NUMBER.fullmatch(cell)]
    comma = mark != "," and any("," in cell for cell in cells)
    folded = [name.casefold() for name in header]
    channels, numbered = _channels(header)
    said = _RATE.search(before) or _RATE_OF_TIME.match(header[0])
    return TableLayout(
        encoding=encoding,
        skip=skip,
        delimiter=";" if spaced else mark,
        decimal_comma=comma and not any("." in cell for cell in cells),
        spaced=spaced,
        header=tuple(header),
        channels=channels,
        numbered=numbered,
        counted=skip > top or "number of channels" in before.casefold(),
        time=_time(folded),
        counter=_first(folded, _COUNTERS),
        invented=_first(folded, ("eeg.interpolated", "interpolated")),
        events=tuple(n for n, name in enumerate(folded) if name in _NO_SIGNAL),
        rate=float(said[1].replace(",", ".")) if said else None,
    )


def _is_preamble(line: str) -> bool:
    text = strip(line)
    return (
        not text
        or text.startswith(("%", "#"))
        or bool(re.match(r"sep=|title\s*:", text, re.IGNORECASE))
        or bool(re.search(r"\bsampling(?: rate)?:", text, re.IGNORECASE))
    )


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        row = line.split(delimiter)
    fields = [strip(field) for field in row]
    while fields and not fields[-1]:  # some programs end every line with a delimiter
        fields.pop()
    return fields


def _is_row(line: str) -> bool:
    """Whether a line holds numbers rather than names."""
    for mark in DELIMITERS:
        fields = _fields(line, mark)
        numbers = sum(bool(_NUMBER.fullmatch(field)) for field in fields)
        if len(fields) > 1 and numbers > len(fields) // 2:
            return True
    return False


def _told_header(before: str, row: str, spaced: bool) -> list[str]:
    """The columns of rows without a header, as the lines before them tell; empty: they do not."""
    if named := re.search(r"labels:\s*([^,;:]*[^,;:\s])(?:\s+\w+:|\s*[,;]|\s*$)", before):
        return named[1].split()
    told = dict(re.findall(r"%\s*(First|Second|Last) Column = (.*\w)", before))
    if "First" not in told:
        return []
    columns = len(row.split(", ") if spaced else _fields(row, delimiter_of(row)))
    start = [told[name] for name in ("First", "Second") if name in told]
    number = re.search(r"Number of channels\s*=\s*(\d+)", before, re.IGNORECASE)
    end = [told["Last"]] if "Last" in told else []
    count = int(number[1]) if number else columns - len(start) - len(end)
    header = start + [f"EXG Channel {n}" for n in range(count)]
    header += [f"Other {n}" for n in range(columns - len(header) - len(end))]
    return header + end


def _channels(header: Sequence[str]) -> tuple[tuple[int, ...], bool]:
    """(the columns of EEG, whether they have numbers for names).

    Raises:
        UnreadableError: there are none.
    """
    roles = {*_TIMES, *_COUNTERS, *_NO_SIGNAL}
    labels = ["" if name.casefold() in roles else name for name in header]
    named = tuple(n for n, site in enumerate(sites_of(labels)) if site)
    if len(named) >= MIN_NAMED:
        return named, False
    numbered = [n for n, name in enumerate(labels) if name and _NUMBERED.fullmatch(name)]
    if len(numbered) >= MIN_NAMED:
        return tuple(numbered), True
    if named:
        return named, False
    found = ", ".join(name for name in header if name)[:120]
    if sum(bool(_BANDS.search(name)) for name in header) >= MIN_NAMED:
        raise UnreadableError(
            "a table of band powers without the raw signal: record or export the raw EEG "
            "(RAW_TP9, ... in Mind Monitor; EEG.AF3, ... in EmotivPRO)",
            f"columns: {found}",
        )
    raise UnreadableError(
        "a table without EEG: no column is a site such as Fp1, AF3, Cz or EEG.O1, nor a number "
        "such as EXG Channel 0",
        f"columns: {found}",
    )


def _time(folded: list[str]) -> int | None:
    found = _first(folded, _TIMES)
    return 0 if found is None and _RATE_OF_TIME.match(folded[0]) else found


def _first(folded: list[str], names: Sequence[str]) -> int | None:
    return next((folded.index(name) for name in names if name in folded), None)
