"""AffectNet's official csv files with their images (see affectnet.py)."""

from __future__ import annotations

import csv
import io
import math
import os
import posixpath
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path, PurePath

from neurogaze_fast.delimited import DelimitedTextError, delimiter_of, read_head
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.affectnet_labels import code_emotion, whole_number
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.file_finder import FileFinder, Inode, one_files
from neurogaze_fast.faces.listed import (
    LeftOut,
    ListedFace,
    affect_value,
    listed_splits,
)
from neurogaze_fast.faces.repeats import Listing, kept_rows

Box = tuple[int, int, int, int]
"""Left, top, width, height."""

CSV_SPLITS = {"train": "training.csv", "valid": "validation.csv"}
IMAGE_FOLDERS = (".", "Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
COLUMNS = (
    "subdirectory_filepath",
    *("face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
"""Header of the official files in lower case; some copies of validation.csv lack it."""
_PATH, _BOX = COLUMNS[0], COLUMNS[1:5]
_USED = tuple(name for name in COLUMNS if name != "facial_landmarks")
_PROBED = 100
_LARGEST = 1 << 31
"""No picture has as many rows or columns of pixels."""


def has_csv(folder: Path) -> bool:
    """Whether `folder` itself holds training.csv or validation.csv as AffectNet has them.

    Also of one that a spreadsheet saved: reading refuses it, and its images are not taken for a set
    whose folders are classes.
    """
    for name in CSV_SPLITS.values():
        path = folder / name
        if not path.is_file():
            continue
        try:
            text, _ = read_head(path)
        except DelimitedTextError:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                text = file.readline()
        first = next(iter(re.split(r"[\r\n]", text, maxsplit=1)))
        try:
            mark = delimiter_of(first, COLUMNS)
            return _order(next(csv.reader([first], delimiter=mark), [])) is not None
        except csv.Error:
            return False
    return False


def _order(first: list[str]) -> tuple[dict[str, int], bool] | None:
    """(column -> position, whether `first` is a header); None where it is not AffectNet's."""
    names = [name.strip().lower() for name in first]
    header = _PATH in names and "expression" in names
    if not header:
        usual = len(names) == len(COLUMNS) and names[COLUMNS.index("expression")].isdigit()
        if not usual or "/" not in names[0].replace("\\", "/"):
            return None
        names = list(COLUMNS)
    return {name: names.index(name) for name in _USED if name in names}, header


@dataclass(frozen=True)
class _Row:
    where: str
    split: str
    number: int
    named: str
    """The file as the csv calls it."""
    file: str | None
    """Where it is, below the csv's folder; None: nowhere."""
    inode: Inode
    code: int
    emotion: str | None
    reason: str
    """Why a row without an emotion is left out."""
    box: Box | None
    affect: tuple[float, float]


def read_csv_form(
    folder: Path, data: Path, side: int | None, on_conflict: str | None = None
) -> FaceSet:
    """Read the csv files in `folder`, found in `data` (see affectnet.py)."""
    left_out = LeftOut()
    rows: list[_Row] = []
    for split, name in CSV_SPLITS.items():
        if (folder / name).is_file():
            rows += _read(folder / name, split)
    faces = _face_keys(folder, rows)
    listings = [
        Listing(
            face=face,
            file=row.named,
            where=row.where,
            label=row.emotion or row.reason.removeprefix("labelled "),
            split=row.split,
        )
        for row, face in zip(rows, faces, strict=True)
    ]
    kept: list[ListedFace] = []
    mapping: dict[str, str] = {}
    used = kept_rows(listings, folder, on_conflict, left_out)
    for row in compress(rows, used):
        if row.emotion is None:
            left_out.add(row.split, row.reason)
        elif row.file is None:
            left_out.add(row.split, "image file missing")
        else:
            mapping[str(row.code)] = row.emotion
            kept.append(
                ListedFace(row.file, row.emotion, row.number, row.split, row.affect, row.box)
            )
    if not kept:
        raise DataError(
            f"None of the images that the csv files in {folder} name has one of the eight emotions "
            "and is there. Unpack AffectNet's images beside them."
        )
    splits = listed_splits(folder, kept, side)
    counts = left_out.counts(splits)
    return FaceSet(splits, str(data), "affectnet csv", False, counts, True, mapping)


def _face_keys(folder: Path, rows: list[_Row]) -> list[Hashable]:
    """A key for each row, the same for rows of one face of one file."""
    there = [row for row in rows if row.file is not None]
    files = iter(one_files([f"{folder}/{row.file}" for row in there], [row.inode for row in there]))
    found = [row.named if row.file is None else next(files) for row in rows]
    boxes: dict[Hashable, list[Box | None]] = {}
    keys: list[Hashable] = []
    for row, file in zip(rows, found, strict=True):
        known = boxes.setdefault(file, [])
        face = next((i for i, box in enumerate(known) if _one_face(box, row.box)), len(known))
        if face == len(known):
            known.append(row.box)
        keys.append((file, face))
    return keys


def _one_face(one: Box | None, other: Box | None) -> bool:
    """Whether two boxes in one image mean one face: half of their union is in both."""
    if one is None or other is None or one == other:
        return True
    both = math.prod(
        max(0, min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]))
        for i in (0, 1)
    )
    return 2 * both >= one[2] * one[3] + other[2] * other[3] - both


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(1-based row, column -> text) of every row, without the long field of landmarks."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as cause:
        raise DataError(f"{path} cannot be read ({cause.strerror}).") from cause
    except UnicodeDecodeError as cause:
        raise DataError(f"{path} is not text (byte {cause.start}). Unpack it again.") from cause
    reader = csv.reader(io.StringIO(text, newline=""))
    number = 0
    try:
        first = next(reader, [])
        found = _order(first)
        if found is None:
            raise DataError(
                f"{path} has no header with {_PATH} and expression: its first fields are "
                f"{first[:3]}. Use AffectNet's file unchanged."
            )
        order, header = found
        names = [name.strip().lower() for name in first]
        if header and (twice := [name for name in order if names.count(name) > 1]):
            raise DataError(
                f"{path} has several columns named {', '.join(twice)}. Use AffectNet's file "
                "unchanged."
            )
        width = len(first)
        if not header:
            number = 1
            yield number, {name: first[at].strip() for name, at in order.items()}
        for fields in reader:
            number += 1
            if len(fields) != width:
                if not fields:
                    continue
                raise DataError(
                    f"{path}, row {number}: found {len(fields)} fields, expected {width}. The file "
                    "is damaged; unpack it again."
                )
            yield number, {name: fields[at].strip() for name, at in order.items()}
    except csv.Error as cause:
        raise DataError(f"{path}, line {reader.line_num}: {cause}. Unpack it again.") from cause


def _image_root(path: Path, files: list[str]) -> Path:
    """The folder that the images of a csv lie below."""
    above = [path.parent, path.parent.parent]
    for root in (base / name for base in above for name in IMAGE_FOLDERS):
        if any((root / file.replace("\\", "/")).is_file() for file in files[:_PROBED]):
            return root
    raise DataError(
        f"{path} names images such as {files[0] if files else 'none'}, but none of the first is in "
        f"{path.parent} or in {' or '.join(IMAGE_FOLDERS[1:])} there. Unpack AffectNet's images "
        "there, or remove the csv to do without that split."
    )


def _read(path: Path, split: str) -> Iterator[_Row]:
    table = list(_csv_rows(path))
    root = _image_root(path, [fields[_PATH] for _, fields in table])
    finder = FileFinder(root)
    below = PurePath(os.path.relpath(root, path.parent))
    for number, fields in table:
        where = f"{path}, row {number}"
        code = whole_number(fields["expression"], f"{where}: the expression")
        emotion, reason = code_emotion(code, f"{where}: the expression")
        named = posixpath.normpath(fields[_PATH].replace("\\", "/"))
        file = finder.find(named)
        box = None
        if all(fields.get(name, "") for name in _BOX):
            left, top, width, height = (
                whole_number(fields[name], f"{where}: {name}") for name in _BOX
            )
            if max(map(abs, (left, top, width, height))) > _LARGEST:
                raise DataError(
                    f"{where}: the face's box is {left}, {top}, {width}, {height}, which is no "
                    "place in a picture. Unpack the file again."
                )
            box = (left, top, width, height) if width > 0 and height > 0 else None
        valence, arousal = (
            affect_value(fields.get(name, ""), f"{where}: {name}") for name in COLUMNS[-2:]
        )
        yield _Row(
            where=f"row {number} of {path.name}",
            split=split,
            number=number,
            named=named,
            file=None if file is None else str(below / file),
            inode=(0, 0) if file is None else finder.inode(file),
            code=code,
            emotion=emotion,
            reason=reason,
            box=box,
            affect=(valence, arousal),
        )
