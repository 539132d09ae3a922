"""ckextended.csv: CK+'s peak frames in the form of fer2013.csv (see ckplus.py)."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import compress
from pathlib import Path

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.faceset import SPLITS, FaceSet, FaceSplit
from neurogaze_fast.faces.labels import VOTE_COLUMNS
from neurogaze_fast.faces.listed import RATERS, LeftOut
from neurogaze_fast.faces.naming import split_named
from neurogaze_fast.faces.repeats import Listing, kept_rows

NAME = "ckextended.csv"
CODES = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
    "contempt",
)
"""FER2013's numbers 0..6, and 7."""
_COLUMNS = ["emotion", "pixels", "usage"]
_SIDE = 48


def has_csv(folder: Path) -> bool:
    """Whether `folder` holds ckextended.csv."""
    return (folder / NAME).is_file()


def read_csv(folder: Path, data: Path, on_conflict: str | None = None) -> FaceSet:
    """Read ckextended.csv in `folder`, found in `data`; of equal images one counts.

    Raises:
        DataError: it is damaged, or equal images contradict one another; names the rows.
    """
    path = folder / NAME
    found: list[tuple[int, int, np.ndarray, str]] = []
    images, codes, rows = defaultdict(list), defaultdict(list), defaultdict(list)
    left_out, mapping = LeftOut(), {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, [])]
        if header != _COLUMNS:
            raise DataError(
                f"{path} has the columns {', '.join(header) or 'of an empty file'}, expected "
                "emotion, pixels, Usage. Download it again."
            )
        for row, fields in enumerate(reader, start=1):
            code, image, split = _read_row(fields, f"{path}, row {row}")
            if not image.any():
                left_out.add(split, "all-zero image")
                continue
            found.append((row, code, image, split))
    first: dict[bytes, int] = {}
    listings = [
        Listing(
            face=image.tobytes(),
            file=f"the image of row {first.setdefault(image.tobytes(), row)}",
            where=f"row {row}",
            label=CODES[code],
            split=split,
        )
        for row, code, image, split in found
    ]
    for row, code, image, split in compress(
        found, kept_rows(listings, path, on_conflict, left_out)
    ):
        mapping[str(code)] = CODES[code]
        images[split].append(image)
        codes[split].append(EMOTIONS.index(CODES[code]))
        rows[split].append(row)
    if not images:
        raise DataError(f"{path} has no row with an image. Download it again.")
    splits = {}
    for split in SPLITS:
        if split in images:
            votes = np.zeros((len(rows[split]), len(VOTE_COLUMNS)), np.uint8)
            votes[np.arange(len(votes)), codes[split]] = RATERS
            names = np.array([f"row {row}" for row in rows[split]])
            splits[split] = FaceSplit(
                split, np.stack(images[split]), votes, names, np.array(rows[split])
            )
    counts = left_out.counts(splits)
    layout = "ckextended.csv, its own Usage (people lie on several sides)"
    return FaceSet(splits, str(data), layout, False, counts, False, dict(sorted(mapping.items())))


def _read_row(fields: list[str], where: str) -> tuple[int, np.ndarray, str]:
    """(number of the emotion, uint8 [48, 48], split)."""
    found = f"found {len(fields)} fields"
    if len(fields) == len(_COLUMNS):
        emotion, pixels, usage = (field.strip() for field in fields)
        split, values = split_named(usage), pixels.split()
        found = f"found emotion {emotion[:20]!r}, {len(values)} pixels, Usage {usage[:20]!r}"
        whole = all(value.isascii() and value.isdigit() and len(value) <= 3 for value in values)
        levels = np.array(values if whole else [], np.int64)
        if (
            emotion in map(str, range(len(CODES)))
            and split
            and levels.size == _SIDE**2
            and levels.max() <= 255
        ):
            return int(emotion), levels.astype(np.uint8).reshape(_SIDE, _SIDE), split
    raise DataError(
        f"{where}: {found}; expected an emotion from 0 to 7, {_SIDE**2} grey values from 0 to 255, "
        "and Training, PublicTest or PrivateTest. The line is damaged; download the file again."
    )
