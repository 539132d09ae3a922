"""AffectNet's official csv files with their images (see affectnet.py)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.affectnet_labels import code_emotion, whole_number
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.file_finder import FileFinder
from neurogaze_fast.faces.listed import (
    LeftOut,
    ListedFace,
    affect_value,
    listed_splits,
)

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


def has_csv(folder: Path) -> bool:
    """Whether `folder` itself holds training.csv or validation.csv as AffectNet has them."""
    for name in CSV_SPLITS.values():
        path = folder / name
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                return _order(next(csv.reader([file.readline()]), [])) is not None
        except (OSError, csv.Error):
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


def read_csv_form(folder: Path, data: Path, side: int | None) -> FaceSet:
    """Read the csv files in `folder`, found in `data` (see affectnet.py)."""
    left_out = LeftOut()
    mapping: dict[str, str] = {}
    faces: list[ListedFace] = []
    for split, name in CSV_SPLITS.items():
        path = folder / name
        if path.is_file():
            rows = list(_csv_rows(path))
            root = _image_root(path, [fields[_PATH] for _, fields in rows])
            faces += _csv_faces(path, split, rows, root, left_out, mapping)
    if not faces:
        raise DataError(
            f"None of the images that the csv files in {folder} name has one of the eight emotions "
            "and is there. Unpack AffectNet's images beside them."
        )
    splits = listed_splits(folder, faces, side)
    counts = left_out.counts(splits)
    return FaceSet(splits, str(data), "affectnet csv", False, counts, True, mapping)


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


def _csv_faces(
    path: Path,
    split: str,
    rows: list[tuple[int, dict[str, str]]],
    root: Path,
    left_out: LeftOut,
    mapping: dict[str, str],
) -> Iterator[ListedFace]:
    finder = FileFinder(root)
    below = PurePath(os.path.relpath(root, path.parent))
    for number, fields in rows:
        where = f"{path}, row {number}"
        code = whole_number(fields["expression"], f"{where}: the expression")
        emotion, reason = code_emotion(code, f"{where}: the expression")
        if emotion is None:
            left_out.add(split, reason)
            continue
        file = finder.find(fields[_PATH].replace("\\", "/"))
        if file is None:
            left_out.add(split, "image file missing")
            continue
        mapping[str(code)] = emotion
        box = None
        if all(fields.get(name, "") for name in _BOX):
            left, top, width, height = (
                whole_number(fields[name], f"{where}: {name}") for name in _BOX
            )
            box = (left, top, width, height)
        valence, arousal = (
            affect_value(fields.get(name, ""), f"{where}: {name}") for name in COLUMNS[-2:]
        )
        yield ListedFace(str(below / file), emotion, number, split, (valence, arousal), box)
