"""Reads fer2013.csv: an emotion, 48 x 48 grey values and a usage per row.

What a valid file is, and every error, is defined here. The native reader (csrc/io/fer_csv.cpp)
takes the rows that are in their regular form and stops before the first that is not; the Python
reader, which also serves where there is no native one, goes on from there. So both ways give the
same bytes and the same errors.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import DataError

try:
    import neurogaze_fast._io as _io
except ImportError as import_error:
    _io = None  # type: ignore[assignment]
    _WHY_NOT = f"{import_error}; install neurogaze_fast again where there is a C++ compiler"

USAGES = ("Training", "PublicTest", "PrivateTest")
NO_EMOTION = -1  # throughout a file without that column: Kaggle's test.csv
NO_USAGE = 255  # throughout a file without that column: Kaggle's train.csv and test.csv

_SIDE, _PIXELS = 48, 48 * 48
_COLUMNS = ("emotion", "pixels", "Usage")
_EMOTION_CODES = {b"%d" % code: code for code in range(7)}
_USAGE_CODES = {name.encode(): code for code, name in enumerate(USAGES)}
_QUOTED = re.compile(rb'[ \t]*"([^"]*+(?:""[^"]*+)*+)"')  # "" inside stands for a quote
_MAX_HEADER_BYTES = 64 * 1024
_BATCH_BYTES = 256 * 1024
_MAX_THREADS = 4  # blocks are read one at a time, about four times as fast as a thread decodes them


@dataclass(frozen=True)
class FerCsv:
    """One fer2013.csv, in file order.

    Attributes:
        pixels: uint8[N, 48, 48].
        emotion: int8[N] in FER2013's order (angry, disgust, fear, happy, sad, surprise, neutral),
            or all :data:`NO_EMOTION`.
        usage: uint8[N], indices of :data:`USAGES`, or all :data:`NO_USAGE`.
    """

    pixels: np.ndarray
    emotion: np.ndarray
    usage: np.ndarray


@dataclass(frozen=True)
class _Layout:
    """How many columns a row has and which of them holds what (-1: none does)."""

    columns: int
    emotion: int
    pixels: int
    usage: int


class _Malformed(Exception):
    """What was found in a line, without the file and the row."""


def native_status() -> tuple[bool, str]:
    """Whether the native reader is used; if it is not, the reason."""
    if os.environ.get("NEUROGAZE_NATIVE") == "0":
        return False, "NEUROGAZE_NATIVE=0 asks for the Python reader"
    return (False, _WHY_NOT) if _io is None else (True, "")


def read_fer_csv(path: Path, *, threads: int | None = None) -> FerCsv:
    """Read fer2013.csv, or Kaggle's icml_face_data.csv, train.csv or test.csv.

    The columns may come in any order and case, quoted or not, with spaces around them and with
    other columns between them. `pixels` must be there. `emotion` and `Usage` may be missing, as in
    train.csv and test.csv, but not beside an unknown column, which could be a misnamed one.

    Args:
        path: The csv file.
        threads: Threads of the native reader; by default one per core, at most 4.

    Raises:
        DataError: The file cannot be read or is malformed; names the row and what was found there.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # before it is opened, for opening a pipe waits for its writer
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise DataError(f"{path} is {kind}. Give the csv file itself, such as fer2013.csv.")
        with path.open("rb") as file:
            layout = _read_header(file, path)
            parts = [_read_native(file, layout, threads)] if native_status()[0] else []
            parts.append(_read_rows(file, path, layout, 1 + sum(len(p.usage) for p in parts)))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check the path and its rights."
        ) from None
    data = _joined(parts)
    if len(data.usage) == 0:
        raise DataError(f"{path} has a header but no rows. Download it again from Kaggle.")
    return data


def _read_native(file: BinaryIO, layout: _Layout, threads: int | None) -> FerCsv:
    """Read up to the first row that is not in its regular form; leaves `file` there."""
    if threads is None:
        threads = min(usable_cores().usable, _MAX_THREADS)
    size = os.fstat(file.fileno()).st_size
    *columns, stop = _io.parse_fer_rows(
        file.fileno(), start=file.tell(), size=size, threads=threads, **vars(layout)
    )
    file.seek(stop)
    return FerCsv(*columns)


def _read_header(file: BinaryIO, path: Path) -> _Layout:
    """Read the first line; leaves `file` at the first row."""
    line = file.readline(_MAX_HEADER_BYTES)
    if not line:
        raise DataError(f"{path} is empty. Download it again from Kaggle.")
    try:
        if len(line) == _MAX_HEADER_BYTES:
            raise _Malformed(f"the header does not end within {len(line)} bytes")
        _refuse_nul(line)
        return _layout(_split(line.removeprefix(b"\xef\xbb\xbf")))
    except _Malformed as found:
        raise DataError(
            f"{path}, line 1: {found}. Give fer2013.csv as UTF-8 text whose first line names the "
            "columns emotion, pixels and Usage, in any order."
        ) from None


def _layout(header: list[bytes]) -> _Layout:
    found = ", ".join(map(_shown, header[:12])) + (", ..." if len(header) > 12 else "")
    names = [field.lower().decode("latin-1") for field in header]
    for name in _COLUMNS:
        if names.count(name.lower()) > 1:
            raise _Malformed(f"the header names column {name} twice (found {found})")
    missing = [name for name in _COLUMNS if name.lower() not in names]
    has_unknown = len(names) > len(_COLUMNS) - len(missing)
    if "pixels" in missing or (missing and has_unknown):
        raise _Malformed(f"the header has no column {' and no '.join(missing)} (found {found})")
    column = {name: index for index, name in enumerate(names)}
    return _Layout(len(names), *(column.get(name, -1) for name in ("emotion", "pixels", "usage")))


def _read_rows(file: BinaryIO, path: Path, layout: _Layout, first_row: int) -> FerCsv:
    """Read every row from where `file` stands to its end; the first of them is `first_row`."""
    parts, blank_row = [], None
    while lines := file.readlines(_BATCH_BYTES):
        rows, problem = [], None
        for row, line in enumerate(lines, first_row):
            if not line.strip(b" \t\r\n"):
                blank_row = blank_row or row
                continue
            if blank_row:
                problem = _row_error(path, blank_row, "it is blank, but more rows follow")
                break
            try:
                rows.append(_split_row(line, layout))
            except _Malformed as found:
                problem = _row_error(path, row, found)
                break
        # An earlier row of the batch may have malformed pixels: that one is named, not this one.
        pixels = _decode_pixels([text for text, _, _ in rows], path, first_row)
        if problem:
            raise problem
        emotion, usage = np.array([codes for _, *codes in rows], np.int64).reshape(-1, 2).T
        parts.append(FerCsv(pixels, emotion.astype(np.int8), usage.astype(np.uint8)))
        first_row += len(lines)
    return _joined(parts)


def _split_row(line: bytes, layout: _Layout) -> tuple[bytes, int, int]:
    """The pixels' text, the emotion and the usage of one line."""
    _refuse_nul(line)
    fields = _split(line)
    if len(fields) != layout.columns:
        raise _Malformed(f"it has {len(fields)} columns, but the header has {layout.columns}")
    emotion, usage = NO_EMOTION, NO_USAGE
    if layout.emotion >= 0:
        emotion = _code(fields[layout.emotion], "emotion", _EMOTION_CODES, "0 to 6")
    if layout.usage >= 0:
        usage = _code(fields[layout.usage], "Usage", _USAGE_CODES, ", ".join(USAGES))
    return fields[layout.pixels], emotion, usage


def _refuse_nul(line: bytes) -> None:
    if b"\0" in line:
        raise _Malformed(f"it contains a NUL byte (byte {line.index(0) + 1} of the line)")


def _code(field: bytes, name: str, codes: dict[bytes, int], expected: str) -> int:
    if field in codes:
        return codes[field]
    raise _Malformed(f"{name} is {_shown(field) if field else 'empty'}, expected {expected}")


def _split(line: bytes) -> list[bytes]:
    """The line's fields, unquoted and trimmed."""
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if b'"' not in line:
        return [field.strip(b" \t") for field in line.split(b",")]
    fields, begin = [], 0
    while begin <= len(line):
        quoted = _QUOTED.match(line, begin)
        end = line.find(b",", quoted.end() if quoted else begin)
        end = len(line) if end < 0 else end
        field = line[begin:end].strip(b" \t")
        if quoted:
            after = line[quoted.end() : end].strip(b" \t")
            if after:
                raise _Malformed(f"{_shown(after)} follows a closing quote")
            field = quoted[1].replace(b'""', b'"').strip(b" \t")
        elif field.startswith(b'"'):
            raise _Malformed("a quoted field does not end on its line")
        fields.append(field)
        begin = end + 1
    return fields


def _decode_pixels(fields: list[bytes], path: Path, first_row: int) -> np.ndarray:
    values = _decode_regular(fields)
    if values is None:
        rows = []
        for row, field in enumerate(fields, first_row):
            try:
                rows.append(_decode_any(field))
            except _Malformed as found:
                raise _row_error(path, row, found) from None
        values = np.frombuffer(bytearray().join(rows), dtype=np.uint8)
    return values.reshape(len(fields), _SIDE, _SIDE)


def _decode_regular(fields: list[bytes]) -> np.ndarray | None:
    """Decode many fields at once; None unless each has 2304 numbers with one space between them."""
    text = np.frombuffer(b" ".join([b" ", *fields, b""]), dtype=np.uint8)
    digits = text - np.uint8(ord("0"))
    ends = np.flatnonzero(digits > 9)[2:]  # where the space after each number lies
    lengths = np.diff(ends, prepend=1) - 1
    row_ends = np.cumsum([len(field) + 1 for field in fields], dtype=np.int64) + 1
    if (
        len(ends) != _PIXELS * len(fields)
        or not np.array_equal(ends[_PIXELS - 1 :: _PIXELS], row_ends)
        or np.count_nonzero(text == ord(" ")) != len(ends) + 2
        or not ((lengths >= 1) & (lengths <= 3)).all()
    ):
        return None
    # Where a number has no tens or hundreds, what lies there belongs to the number before it.
    tens = np.where(lengths > 1, digits[ends - 2], 0).astype(np.uint16)
    hundreds = np.where(lengths > 2, digits[ends - 3], 0).astype(np.uint16)
    values = 100 * hundreds + 10 * tens + digits[ends - 1]
    return None if (values > 255).any() else values.astype(np.uint8)


def _decode_any(field: bytes) -> bytes:
    """Decode one field with any number of spaces and of leading zeros, or say what is wrong."""
    values = bytearray()
    for position, token in enumerate(filter(None, field.split(b" ")), 1):
        digits = token.lstrip(b"0") or b"0"
        if token.isdigit() and len(digits) <= 3 and int(digits) <= 255:
            values.append(int(digits))
            continue
        negative = token[:1] == b"-" and token[1:].isdigit()
        wrong = "above 255" if token.isdigit() else "below 0" if negative else "not a whole number"
        raise _Malformed(f"pixel {position} of {_PIXELS} is {_shown(token)}, {wrong}")
    if len(values) != _PIXELS:
        raise _Malformed(f"found {len(values)} of {_PIXELS} pixels")
    return bytes(values)


def _joined(parts: list[FerCsv]) -> FerCsv:
    parts = [part for part in parts if len(part.usage)]
    if len(parts) == 1:
        return parts[0]  # the usual case of the native reader: nothing to copy
    pixels = [np.empty((0, _SIDE, _SIDE), np.uint8), *(part.pixels for part in parts)]
    emotion = [np.empty(0, np.int8), *(part.emotion for part in parts)]
    usage = [np.empty(0, np.uint8), *(part.usage for part in parts)]
    return FerCsv(np.concatenate(pixels), np.concatenate(emotion), np.concatenate(usage))


def _row_error(path: Path, row: int, found: object) -> DataError:
    # Line 1 is the header and no blank line may stand between rows, so the line follows.
    advice = "Repair that line, or download the file again from Kaggle."
    return DataError(f"{path}, row {row} (line {row + 1}): {found}. {advice}")


def _shown(text: bytes) -> str:
    """The first bytes of `text`, quoted, with what cannot be printed escaped."""
    return repr(text[:20].decode("utf-8", "backslashreplace")) + ("..." if len(text) > 20 else "")
