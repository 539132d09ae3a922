"""Tables of delimited text, as spreadsheets and programs of every system write them.

* **Encoding**: UTF-8 with or without a byte order mark; UTF-16 and UTF-32 with one; UTF-16 without
  one where the header shows it. Anything else is refused: guessing it would change names.
* **Lines** end with LF, CRLF or CR, and with nothing else: U+2028, a vertical tab and the like are
  characters of a field.
* **Delimiter**: comma, semicolon, tab or bar. A first line such as ``sep=;`` names it, and is no
  row; otherwise it is the one by which the header holds most of the names the caller knows.
* **Fields** may stand in quotation marks, and lose the white space and invisible marks around them.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
_HEADER_BYTES = 1 << 16
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(?P<mark>\\t|[^"])"?[,;|\t ]*', re.IGNORECASE)
_INVISIBLE = "".join(map(chr, (0xFEFF, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060)))
_AROUND = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_MARKS = (  # UTF-32's mark begins with UTF-16's, so it is looked for first
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class DelimitedTextError(DataError):
    """A table of delimited text cannot be read: names the file and, where there is one, the row."""


@dataclass(frozen=True)
class DelimitedRow:
    """One row that is not empty."""

    number: int
    """1 for the first row below the header; empty rows count."""
    line: int
    """The line of the file that it ends on; the first is 1."""
    fields: tuple[str, ...]
    """One per column of the header, stripped."""


@dataclass(frozen=True)
class DelimitedTable:
    """A table with a header."""

    path: Path
    delimiter: str
    header: tuple[str, ...]
    """As written, but stripped."""
    rows: tuple[DelimitedRow, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The header in lower case, to look names up in."""
        return tuple(name.casefold() for name in self.header)

    def column(self, *names: str) -> int | None:
        """Where the column is that has the first of these names to occur; None: there is none.

        Raises:
            DelimitedTextError: two columns have that name.
        """
        columns = self.columns
        for name in names:
            found = [at for at, other in enumerate(columns) if other == name.casefold()]
            if len(found) > 1:
                raise DelimitedTextError(
                    f"{self.path} has {len(found)} columns named {name}. Rename or delete the ones "
                    "that are not meant."
                )
            if found:
                return found[0]
        return None

    @property
    def decimal_comma(self) -> bool:
        """Whether ``0,5`` is a number here.

        It is where the delimiter is not a comma and no field of the table is written ``0.5``.
        """
        if self.delimiter == ",":
            return False
        point = re.compile(r"[-+]?\d*\.\d+")
        return not any(point.fullmatch(field) for row in self.rows for field in row.fields)


def read_delimited(path: Path, known: Collection[str] = ()) -> DelimitedTable:
    """Read a whole table.

    A row may have more fields than the header where those are empty, and fewer where the columns it
    lacks have no name.

    Args:
        path: The file.
        known: Names of columns (in lower case) that tell the delimiter.

    Raises:
        DelimitedTextError: the file cannot be read, is not text, is empty, has a mistake in its
            quotation marks, or a row has another number of fields than the header.
    """
    path = Path(path)
    text = _decode(_read(path), path)
    delimiter, lines = _split(text, known)
    records = _records(lines, delimiter, path)
    header = next((fields for _, fields in records if any(fields)), None)
    if header is None:
        raise DelimitedTextError(f"{path} is empty. Give it a header and rows.")
    rows = []
    for number, (line, fields) in enumerate(records, start=1):
        if any(fields):
            rows.append(DelimitedRow(number, line, _fit(fields, header, f"{path}, line {line}")))
    return DelimitedTable(path, delimiter, tuple(header), tuple(rows))


def read_header(path: Path, known: Collection[str] = ()) -> DelimitedTable:
    """As :func:`read_delimited`, with the header alone: `rows` is empty, however long the file is.

    Raises:
        DelimitedTextError: as read_delimited.
    """
    path = Path(path)
    text = _decode(_read(path, _HEADER_BYTES), path, whole=False)
    delimiter, lines = _split(text, known)
    records = _records(lines, delimiter, path)
    header = next((fields for _, fields in records if any(fields)), None)
    if header is None:
        raise DelimitedTextError(f"{path} is empty. Give it a header and rows.")
    return DelimitedTable(path, delimiter, tuple(header), ())


def read_head(path: Path) -> tuple[str, str]:
    """(the first 64 KB as text, the name of the encoding to open the file with).

    Raises:
        DelimitedTextError: the file cannot be read, or is not text.
    """
    path = Path(path)
    data = _read(path, _HEADER_BYTES)
    return _decode(data, path, whole=False), _encoding(data)[1]


def delimiter_of(line: str, known: Collection[str] = ()) -> str:
    """The delimiter by which a header holds most of the `known` names, or else most fields."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        except (csv.Error, StopIteration):
            return 0, 0
        return sum(strip(field).casefold() in known for field in fields), len(fields)

    return max(DELIMITERS, key=score)


def strip(text: str) -> str:
    """`text` without white space and invisible marks (such as a byte order mark) at its ends."""
    return _AROUND.sub("", text)


def _read(path: Path, count: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as cause:
        raise DelimitedTextError(f"{path} cannot be read ({cause.strerror}).") from cause


def _decode(data: bytes, path: Path, *, whole: bool = True) -> str:
    """The text; with `whole` False a character cut off at the end is left away."""
    mark, encoding = _encoding(data)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data[len(mark) :], whole)
    except UnicodeDecodeError as cause:
        line = len(re.split(rb"\r\n|\n|\r", data[: len(mark) + cause.start]))
        raise DelimitedTextError(
            f"{path} is not text in UTF-8 or UTF-16 (line {line}, byte "
            f"{len(mark) + cause.start}). Save it as UTF-8; in Excel the format is called "
            '"CSV UTF-8".'
        ) from cause
    if "\0" in text:
        raise DelimitedTextError(f"{path} is not text: it holds NUL bytes. Save it as UTF-8.")
    return text


def _encoding(data: bytes) -> tuple[bytes, str]:
    """(the byte order mark, the encoding)."""
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    if not mark and data[:2].count(0) == 1:  # the header's first letter, two bytes wide
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    return mark, encoding


def _split(text: str, known: Collection[str]) -> tuple[str, list[str]]:
    """(the delimiter, the lines); the line that names the delimiter is left empty."""
    lines = re.split(r"\r\n|\n|\r", text)
    if not lines[-1]:
        del lines[-1:]
    first = next((at for at, line in enumerate(lines) if strip(line)), None)
    if first is None:
        return ",", []
    named = _SEPARATOR_LINE.fullmatch(lines[first])
    if named:
        lines[first] = ""
        return named["mark"].replace("\\t", "\t"), lines
    return delimiter_of(lines[first], known), lines


def _records(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, stripped fields) of every record, empty ones too."""
    reader = csv.reader(
        (line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    first = 1  # line of the record being read: what a missing quotation mark spoils lies below it
    try:
        for fields in reader:
            yield reader.line_num, [strip(field) for field in fields]
            first = reader.line_num + 1
    except csv.Error as cause:
        raise DelimitedTextError(
            f"{path}, line {first}: {cause}. Mend the quotation marks of that line."
        ) from cause


def _fit(fields: list[str], header: list[str], where: str) -> tuple[str, ...]:
    width = len(header)
    named = max(at for at, name in enumerate(header, start=1) if name)
    if any(fields[width:]) or len(fields) < named:
        raise DelimitedTextError(
            f"{where}: found {len(fields)} fields, expected {width}. A field that holds the "
            'delimiter stands in quotation marks: "1,9".'
        )
    return tuple((fields + [""] * width)[:width])
