"""A table of image files: one csv, with the headers people use.

    image_path | path | img | image | file | filepath | ...   below the csv's folder, or absolute
    label_name | class_name | label_str | emotion | ...       an emotion's name
    label_id | label | cls | class | target | y               a number, or a name
    split | usage | subset      subject | person | id_subject      valence      arousal

Headers in any case; encoding, line ends and delimiter as spreadsheets write them (delimited.py).
Labels count by name. Numbers mean another emotion in every data set, so where there are only
numbers, `class_map.json` beside the csv says what they mean. Where names and numbers disagree, the
file is refused; where one image has two labels, it is refused unless told what to keep.
"""

from __future__ import annotations

import posixpath
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.delimited import DelimitedTable, read_delimited, read_header
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.file_finder import FileFinder, one_files
from neurogaze_fast.faces.listed import (
    LeftOut,
    ListedFace,
    affect_value,
    drawn_split,
    listed_splits,
)
from neurogaze_fast.faces.manifest_labels import read_labels
from neurogaze_fast.faces.naming import split_named
from neurogaze_fast.faces.repeats import Listing, kept_rows

HEADERS = {
    "path": (
        *("image_path", "path", "img", "file", "filepath", "filename"),
        *("image", "image_file", "image_name", "file_name"),
    ),
    "name": ("label_name", "class_name", "label_str", "emotion", "expression"),
    "id": ("label_id", "label", "cls", "class", "target", "y"),
    "split": ("split", "usage", "subset"),
    "subject": ("subject", "person", "id_subject"),
    "valence": ("valence",),
    "arousal": ("arousal",),
}
_KNOWN = frozenset(alias for aliases in HEADERS.values() for alias in aliases)
MISSING_SHARE = 0.01
"""Files of a table that may be missing; more of them mean another folder than the table's."""
_NO_LABEL = "no label"


@dataclass(frozen=True)
class _Row:
    number: int
    file: str
    label: str
    """The label as found, or empty."""
    emotion: str | None
    """None: the row is left out."""
    split: str
    subject: str
    valence_arousal: tuple[float, float]


def is_manifest(data: Path) -> bool:
    """Whether `data` is, or is a folder with only one csv that is, a table of image files."""
    data = Path(data)
    files = [data] if data.is_file() else _csv_files(data)
    if len(files) != 1 or files[0].suffix.lower() not in (".csv", ".tsv"):
        return False
    try:
        columns = _columns(read_header(files[0], _KNOWN))
    except DataError:
        return False
    return "path" in columns and bool(columns.keys() & {"name", "id"})


def read_face_manifest(
    data: Path, side: int | None = None, *, on_conflict: str | None = None
) -> FaceSet:
    """Read the csv `data`, or the only csv in the folder `data`.

    Without a split column the splits are drawn: by the subject column where there is one, else
    image by image. Rows labelled none, uncertain, unknown, NF or non-face, and rows without a
    label, are left out and counted; so are missing files, if they are few.

    Args:
        side: Images are brought to side x side pixels; by default to the larger side of the size
            that most of the first images have.
        on_conflict: What to do where rows give one image different labels or splits: ``drop`` all
            of its rows, keep the ``first``, or refuse the file (None). Dropped rows are counted.

    Raises:
        DataError: no csv, or several; columns or labels that cannot be told; numbers without
            names; contradictions; more than 1 % of the files missing. Names the file and rows.
    """
    path = _the_csv(Path(data))
    rows, mapping, official = _read_rows(path)
    left_out = LeftOut()
    kept: list[ListedFace] = []
    root = path.parent
    found, faces = _found(rows, root)
    listings = [
        Listing(
            face=face,
            file=row.file,
            where=f"row {row.number}",
            label=row.emotion or row.label,
            split=row.split,
            drawn=not official and not row.subject,
        )
        for row, face in zip(rows, faces, strict=True)
    ]
    used = kept_rows(listings, path, on_conflict, left_out)
    missing: list[_Row] = []
    for row, file, wanted in zip(rows, found, used, strict=True):
        if not wanted:
            continue
        if file is None:
            missing.append(row)
            left_out.add(row.split, "image file missing")
        elif row.emotion is None:
            reason = f"labelled {row.label}" if row.label else _NO_LABEL
            left_out.add(row.split, reason)
        else:
            kept.append(ListedFace(file, row.emotion, row.number, row.split, row.valence_arousal))
    if len(missing) > MISSING_SHARE * len(rows):
        named = ", ".join(f"{row.file} (row {row.number})" for row in missing[:3])
        raise DataError(
            f"{path} names {len(missing)} of {len(rows)} image files that are not there: {named}. "
            f"Relative paths start at {root}: move the csv to where its paths start, or correct "
            "them."
        )
    if not kept:
        raise DataError(
            f"{path} has no row with an image and one of the emotions {', '.join(EMOTIONS)}."
        )
    splits = listed_splits(root, kept, side)
    by = "the csv"
    if not official:
        by = "subject" if any(row.subject for row in rows) else "image"
    counts = left_out.counts(splits)
    layout = f"csv manifest, splits {'of' if official else 'drawn by'} {by}"
    return FaceSet(splits, str(data), layout, False, counts, official, mapping)


def manifest_column(data: Path, name: str) -> dict[int, str]:
    """Row -> what stands in the column `name` of the manifest `data`; the first row is 1.

    Raises:
        DataError: there is no such column, or two; names those there are.
    """
    path = _the_csv(Path(data))
    table = read_delimited(path, _KNOWN)
    at = table.column(name)
    if at is None:
        raise DataError(
            f"{path} has no column {name!r}: its columns are {', '.join(table.header)[:200]}."
        )
    return {row.number: row.fields[at] for row in table.rows}


def _csv_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in (".csv", ".tsv") and not entry.name.startswith(".")
    )


def _the_csv(data: Path) -> Path:
    if data.is_file():
        return data
    files = _csv_files(data)
    if len(files) == 1:
        return files[0]
    what = f"holds {', '.join(file.name for file in files[:8])}" if files else "holds no csv file"
    if not data.is_dir():
        what = "does not exist"
    raise DataError(f"{data} {what}. Point --data at the csv file that lists the images.")


def _columns(table: DelimitedTable) -> dict[str, int]:
    """Column -> position of those that are there."""
    found = {column: table.column(*aliases) for column, aliases in HEADERS.items()}
    return {column: at for column, at in found.items() if at is not None}


def _read_rows(path: Path) -> tuple[list[_Row], dict[str, str], bool]:
    """(rows, label as found -> emotion, whether the splits are the table's own)."""
    found = read_delimited(path, _KNOWN)
    columns = _columns(found)
    if "path" not in columns or not columns.keys() & {"name", "id"}:
        lacking = "path" if "path" not in columns else "id"
        wanted = HEADERS["path"] if lacking == "path" else HEADERS["name"] + HEADERS["id"]
        raise DataError(
            f"{path} has no column for the {'images' if lacking == 'path' else 'labels'}: its "
            f"columns are {', '.join(found.header)[:200]!r}. Call the column one of "
            f"{', '.join(wanted)}."
        )
    table = [
        (row.number, {name: row.fields[at] for name, at in columns.items()}) for row in found.rows
    ]
    if not table:
        raise DataError(f"{path} has a header but no row.")
    labels = read_labels(path, table)
    official = any(fields.get("split") for _, fields in table)
    rows = []
    for (number, fields), (label, emotion) in zip(table, labels, strict=True):
        where = f"{path}, row {number}"
        file = _below(fields["path"], path.parent, where)
        subject = fields.get("subject", "")
        split = split_named(fields["split"]) if official else drawn_split(subject or file)
        if split is None:
            raise DataError(
                f"{where}: the split is {fields['split']!r}, expected train, valid or test (also "
                "training, val, validation, testing, PublicTest, PrivateTest)."
            )
        pair = [
            affect_value(
                fields.get(name, "").replace(",", "." if found.decimal_comma else ","),
                f"{where}: {name}",
            )
            for name in ("valence", "arousal")
        ]
        rows.append(_Row(number, file, label, emotion, split, subject, (pair[0], pair[1])))
    mapping = {label: emotion for label, emotion in sorted(set(labels), key=str) if emotion}
    return rows, mapping, official


def _below(file: str, root: Path, where: str) -> str:
    """A path with forward slashes, relative to the csv's folder where it lies below it.

    Raises:
        DataError: none, or a relative one that leads out of that folder.
    """
    if not file:
        raise DataError(f"{where}: there is no image path. Fill it in, or delete the row.")
    path = posixpath.normpath(file.replace("\\", "/"))
    if path == ".." or path.startswith("../") or "\0" in path:
        raise DataError(
            f"{where}: {file!r} leads out of the csv's folder. Put the csv above its images, or "
            "give absolute paths."
        )
    absolute = Path(path)
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else path


def _found(rows: Sequence[_Row], root: Path) -> tuple[list[str | None], list[Hashable]]:
    """(path of each row's file or None where it is not there, a key of its own for each file)."""
    finder = FileFinder(root)
    found = [finder.find(row.file) for row in rows]
    there = [file for file in found if file is not None]
    keys = iter(one_files([str(root / file) for file in there], list(map(finder.inode, there))))
    return found, [
        row.file if file is None else next(keys) for row, file in zip(rows, found, strict=True)
    ]
