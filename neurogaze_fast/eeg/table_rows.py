"""The rows of a recording in a table, read once, a part at a time."""

from __future__ import annotations

import csv
import math
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.table_layout import TableLayout

PART = 1 << 20
"""Characters of text that are looked at together."""
_NOTHING = ("", "nan", "n/a", "na", "null", "none", "-", "inf", "-inf", "infinity")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2}):(\d{2}(?:[.,]\d+)?)")
_DAY = 86400.0
LATEST = 1e19
"""No time stamp is larger, in nanoseconds either."""


@dataclass(frozen=True, eq=False)
class TableRows:
    """All samples."""

    values: np.ndarray
    """float32 [N, C] as written; NaN where a cell is empty or the sample was made up. Mapped from a
    temporary file, so that memory does not grow with the recording's length."""
    stamps: np.ndarray | None
    """float64 [N]: in the file's own unit, or seconds where they are dates."""
    dated: bool
    """Whether the stamps were dates or clock times, and are seconds."""
    counter: np.ndarray | None
    """float64 [N]."""
    cut_short: bool
    """Whether the last line ends in the middle."""


def read_rows(path: Path, layout: TableLayout) -> TableRows:
    """Read every row.

    Raises:
        UnreadableError: a row has another number of fields than the header, a cell is no number,
            the text is damaged, there is no row, or no room for the temporary file.
    """
    try:
        return _read(path, layout)
    except OSError as cause:
        raise UnreadableError(
            "a table that cannot be read", cause.strerror or str(cause)
        ) from cause


def _read(path: Path, layout: TableLayout) -> TableRows:
    width, count = len(layout.channels), 0
    stamps: list[np.ndarray] = []
    counters: list[np.ndarray] = []
    reader = _Reader(layout)
    with tempfile.TemporaryFile(prefix="neurogaze-table-") as spill:
        for values, times, counter in reader.parts(path):
            with np.errstate(over="ignore"):
                single = values.astype(np.float32)
            single[~np.isfinite(single)] = np.nan
            single.tofile(spill)
            count += len(values)
            stamps.append(times)
            counters.append(counter)
        if not count:
            raise UnreadableError("a table without rows")
        spill.flush()
        kept = np.memmap(spill, np.float32, "r", shape=(count, width))
    return TableRows(
        kept,
        _unwrapped(np.concatenate(stamps), reader.clock) if layout.time is not None else None,
        reader.dated,
        np.concatenate(counters) if layout.counter is not None else None,
        reader.cut_short,
    )


class _Reader:
    def __init__(self, layout: TableLayout) -> None:
        self._layout = layout
        self._widths: set[int] = set()
        self._last = max(*layout.channels, layout.time or 0, layout.counter or 0)
        # Columns behind these are counted, and not split: there may be a hundred.
        self._wanted = 1 + max(self._last, *layout.events, layout.invented or 0)
        self.dated = self.clock = self.cut_short = False

    def parts(self, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(values [n, C], stamps [n], counter [n]) of some rows at a time."""
        layout = self._layout
        line = 0
        try:
            with open(path, encoding=layout.encoding, newline=None) as file:
                for _ in range(layout.skip):
                    file.readline()
                    line += 1
                while lines := file.readlines(PART):
                    if found := self._part(lines, line + 1):
                        yield found
                    line += len(lines)
        except csv.Error as cause:
            raise UnreadableError("a table whose quotation marks do not fit", str(cause)) from cause
        except UnicodeDecodeError as cause:
            where = f"after line {line}"
            raise UnreadableError("a table that is not text throughout", where) from cause

    def _part(
        self, lines: list[str], first: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        if self._layout.spaced:
            lines = [line.replace(", ", ";").replace(",", ".") for line in lines]
        elif self._layout.decimal_comma:
            lines = [line.replace(",", ".") for line in lines]
        if (whole := self._quickly(lines)) is not None:
            return whole
        rows = []
        for number, width, fields in self._split(lines, first):
            if width not in self._widths and not self._fits(width, fields):
                if number == first + len(lines) - 1 and not lines[-1].endswith("\n"):
                    self.cut_short = True  # the program was stopped while it wrote
                    break
                raise UnreadableError(
                    "a row with another number of fields than the header",
                    f"line {number}: {width}, expected {len(self._layout.header)}",
                )
            rows.append((number, fields))
        layout = self._layout
        events = layout.events
        if events:
            rows = [
                (number, fields)
                for number, fields in rows
                if not all(fields[at].strip().casefold() in _NOTHING for at in layout.channels)
                or not any(at < len(fields) and fields[at].strip() for at in events)
            ]
        if not rows:
            return None
        values = self._numbers(rows, layout.channels)
        if layout.invented is not None and layout.invented < min(len(f) for _, f in rows):
            values[self._numbers(rows, (layout.invented,))[:, 0] > 0] = np.nan
        empty = np.zeros(len(rows))
        counter = empty if layout.counter is None else self._numbers(rows, (layout.counter,))[:, 0]
        return values, self._stamps(rows), counter

    def _quickly(self, lines: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The same of lines that are numbers throughout, by numpy's own parser; None: they are not.

        What is odd in any way is looked at again, field by field.
        """
        layout = self._layout
        if layout.events or self.dated:
            return None
        widths = {line.count(layout.delimiter) + 1 for line in lines}
        if not widths <= (self._widths or {len(layout.header)}):
            return None
        others = [at for at in (layout.time, layout.counter, layout.invented) if at is not None]
        columns = [*layout.channels, *others]
        try:
            table = np.loadtxt(
                lines, delimiter=layout.delimiter, usecols=columns, comments=None, ndmin=2
            )
        except ValueError:
            return None
        count = len(layout.channels)
        values, rest = table[:, :count], dict(zip(others, table[:, count:].T, strict=True))
        if layout.invented is not None:
            values[rest[layout.invented] > 0] = np.nan
        empty = np.zeros(len(table))
        stamps = empty if layout.time is None else rest[layout.time]
        return values, stamps, empty if layout.counter is None else rest[layout.counter]

    def _split(self, lines: list[str], first: int) -> Iterator[tuple[int, int, list[str]]]:
        """(number of the line, how many fields it has, those that are wanted and the rest in one)
        of those that hold anything."""
        mark = self._layout.delimiter
        blank = f" \t\r\n\ufeff{mark}"
        quoted = any('"' in line for line in lines)
        for number, line in enumerate(lines, first):
            if not line.strip(blank) or line.startswith(("%", "#")):
                continue
            if quoted:
                fields = next(csv.reader([line], delimiter=mark))
                yield number, len(fields), fields
            else:
                yield number, line.count(mark) + 1, line.rstrip("\n").split(mark, self._wanted)

    def _fits(self, width: int, fields: list[str]) -> bool:
        """Whether a row of a width not seen so far is in order.

        Too many fields are, where those are empty. Too few are, where it is the first row: then the
        file's last columns are never written. A row that lacks a field among others that have it
        has its values in the wrong columns.
        """
        header, mark = len(self._layout.header), self._layout.delimiter
        if width > header:
            whole = [part for field in fields for part in field.split(mark)]
            return not any(part.strip() for part in whole[header:])
        if not self._widths and self._last < width:
            self._widths = {width, header}
        return width in self._widths or width == header

    def _numbers(self, rows: list[tuple[int, list[str]]], columns: tuple[int, ...]) -> np.ndarray:
        """float64 [n, columns]; NaN where there is nothing."""
        try:
            values = np.array([[float(fields[at]) for at in columns] for _, fields in rows])
        except ValueError:
            values = np.array(
                [[self._number(fields[at], at, line) for at in columns] for line, fields in rows]
            )
        return values

    def _number(self, text: str, column: int, line: int) -> float:
        if text.strip().casefold() in _NOTHING:
            return math.nan
        try:
            return float(text)
        except ValueError:
            raise UnreadableError(
                "a cell that is no number in a column of numbers",
                f"line {line}, column {self._layout.header[column]}: {text.strip()[:40]!r}",
            ) from None

    def _stamps(self, rows: list[tuple[int, list[str]]]) -> np.ndarray:
        column = self._layout.time
        if column is None:
            return np.zeros(len(rows))
        if not self.dated:
            try:
                return self._numbers(rows, (column,))[:, 0]
            except UnreadableError:
                self.dated = True
        return np.array([self._date(fields[column], line) for line, fields in rows])

    def _date(self, text: str, line: int) -> float:
        text = text.strip().strip('"')
        if text.casefold() in _NOTHING:
            return math.nan
        if clock := _CLOCK.fullmatch(text):
            self.clock = True
            hours, minutes, seconds = clock.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise UnreadableError(
                "a time stamp that is neither a number nor a date",
                f"line {line}: {text[:40]!r}",
            ) from None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _unwrapped(stamps: np.ndarray, clock: bool) -> np.ndarray | None:
    """Stamps for every row, and clock times across midnight; None: too few rows have one."""
    known = np.abs(stamps) < LATEST
    if known.mean() < 0.5:
        return None
    if not known.all():
        rows = np.arange(len(stamps))
        stamps = np.interp(rows, rows[known], stamps[known])
    if clock:
        stamps = stamps + _DAY * np.cumsum(np.diff(stamps, prepend=stamps[0]) < -_DAY / 2)
    return stamps
