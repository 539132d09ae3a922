"""The two forms of FERPlus's votes: Microsoft's fer2013new.csv, and label.csv in each folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.faceset import SPLITS
from neurogaze_fast.faces.fer_csv import USAGES
from neurogaze_fast.faces.labels import MAX_VOTES, VOTE_COLUMNS

SPLIT_OF_USAGE = dict(zip(USAGES, SPLITS, strict=True))
VOTES_FILE, LABEL_FILE = "fer2013new.csv", "label.csv"


@dataclass(frozen=True)
class VoteTable:
    """fer2013new.csv, or one folder's label.csv: a row per image, in file order."""

    path: Path
    usage: list[str]
    names: list[str]
    votes: np.ndarray


def read_votes(path: Path) -> VoteTable:
    """Read fer2013new.csv strictly.

    Raises:
        DataError: missing file or column, a short row, a vote that is no count, or no votes at all.
    """
    with _open_text(path, "Microsoft's FERPlus repository has fer2013new.csv") as file:
        lines = _lines(file, path)
        header = [name.strip() for name in next(lines, [])]
        wanted = ("Usage", "Image name", *VOTE_COLUMNS)
        missing = [name for name in wanted if name not in header]
        if missing:
            raise DataError(
                f"{path} lacks the column(s) {', '.join(missing)}; found "
                f"{', '.join(header) or 'an empty file'}. Use Microsoft's fer2013new.csv unchanged."
            )
        order = [header.index(name) for name in wanted]
        rows = [
            (_pick(fields, order, len(header), path, row), row)
            for row, fields in enumerate(lines, start=1)
            if fields
        ]
    usage = [fields[0].strip() for fields, _ in rows]
    for name, (_, row) in zip(usage, rows, strict=True):
        if name not in SPLIT_OF_USAGE:
            raise DataError(
                f"{path}, row {row}: Usage is {name!r}, expected one of {', '.join(USAGES)}."
            )
    votes = _vote_array([(fields[2:], row) for fields, row in rows], path)
    return VoteTable(path, usage, [fields[1].strip() for fields, _ in rows], votes)


def read_label_csv(path: Path) -> VoteTable:
    """Read one folder's label.csv strictly: no header; name, a quoted box, ten votes.

    Raises:
        DataError: missing file, a short row, a vote that is no count, or no votes at all.
    """
    with _open_text(path, "Microsoft's FERPlus repository has one in each folder") as file:
        width = 2 + len(VOTE_COLUMNS)
        rows = [
            (_pick(fields, range(width), width, path, row), row)
            for row, fields in enumerate(_lines(file, path), start=1)
            if fields
        ]
    votes = _vote_array([(fields[2:], row) for fields, row in rows], path)
    return VoteTable(path, [], [fields[0].strip() for fields, _ in rows], votes)


def _lines(file: io.StringIO, path: Path) -> Iterator[list[str]]:
    reader = csv.reader(file)
    try:
        yield from reader
    except csv.Error as cause:  # a stray quotation mark swallows what follows it
        raise DataError(
            f"{path}, line {reader.line_num}: {cause}. The line is damaged; download the file "
            "again."
        ) from cause


def _pick(
    fields: list[str], order: range | list[int], width: int, path: Path, row: int
) -> list[str]:
    if len(fields) != width:
        raise DataError(
            f"{path}, row {row}: found {len(fields)} fields, expected {width}. The line is cut "
            "short or damaged; download the file again."
        )
    return [fields[i] for i in order]


def _vote_array(rows: list[tuple[list[str], int]], path: Path) -> np.ndarray:
    votes = np.zeros((len(rows), len(VOTE_COLUMNS)), np.uint8)
    for position, (fields, row) in enumerate(rows):
        for column, text in enumerate(fields):
            count = text.strip()
            digits = count.isascii() and count.isdigit() and len(count) <= 3
            if not (digits and int(count) <= MAX_VOTES):
                raise DataError(
                    f"{path}, row {row}: {VOTE_COLUMNS[column]} has {text[:20]!r} votes, expected "
                    "a count from 0 to 255. Download the file again."
                )
            votes[position, column] = int(text)
        if not votes[position].any():
            raise DataError(
                f"{path}, row {row}: all ten vote counts are zero, so the image has no label. "
                "Remove the row from every file of the set, or download the file again."
            )
    return votes


def _open_text(path: Path, hint: str) -> io.StringIO:
    try:
        # Decoded here, so that a damaged byte is reported as such and not halfway through.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as cause:
        raise DataError(f"{path} cannot be read ({cause.strerror}). {hint}.") from cause
    except UnicodeDecodeError as cause:
        raise DataError(f"{path} is not text (byte {cause.start}). {hint}.") from cause
    return io.StringIO(text, newline="")
