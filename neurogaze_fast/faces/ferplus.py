"""FERPlus (Barsoum et al. 2016) as people really have it.

Two layouts are read, the first where both are there:

    DIR/fer2013.csv        Kaggle: emotion,pixels,Usage           joined by ROW with
    DIR/fer2013new.csv     Microsoft: Usage,Image name,8 emotions,unknown,NF

    DIR/FER2013Train/*.png      written by Microsoft's script; votes from label.csv in the folder
    DIR/FER2013Valid/*.png      or from DIR/fer2013new.csv
    DIR/FER2013Test/*.png

The number in ferNNNNNNN.png is not the row (it lags by up to 85), so the csv files are joined by
row and never by name. Any subset of the splits is read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.faceset import SPLITS, FaceSet, FaceSplit
from neurogaze_fast.faces.fer_csv import NO_USAGE, USAGES, read_fer_csv
from neurogaze_fast.faces.labels import VOTE_COLUMNS
from neurogaze_fast.faces.synthetic import SYNTHETIC_MARKER

SPLIT_OF_USAGE = dict(zip(USAGES, SPLITS, strict=True))
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
SIDE = 48


@dataclass(frozen=True)
class VoteTable:
    """fer2013new.csv, or one folder's label.csv: a row per image, in file order."""

    path: Path
    usage: list[str]
    names: list[str]
    votes: np.ndarray


def read_ferplus(path: Path) -> FaceSet:
    """Read FERPlus from `path` in whichever layout is there.

    Rows without an image name, and images that are all zero, are no images: they are left out and
    counted in ``FaceSet.left_out``.

    Raises:
        DataError: nothing readable, or a malformed file (names the file and the row).
    """
    path = Path(path)
    synthetic = (path / SYNTHETIC_MARKER).exists()
    if (path / "fer2013.csv").exists():
        splits, left_out = _read_csv_layout(path)
        layout = "csv"
    elif any((path / folder).is_dir() for folder in FOLDERS.values()):
        splits, left_out = _read_png_layout(path)
        layout = "png"
    else:
        found = sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else None
        what = "is a file, not a folder" if path.exists() else "does not exist"
        if found is not None:
            what = f"holds {', '.join(found) or 'nothing'}"
        raise DataError(
            f"{path} {what}. FERPlus is either fer2013.csv (Kaggle) beside fer2013new.csv "
            "(Microsoft), or the folders FER2013Train, FER2013Valid, FER2013Test with PNG images: "
            "point --data at the folder that holds them."
        )
    return FaceSet(splits, str(path), layout, synthetic, left_out)


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


def _read_csv_layout(path: Path) -> tuple[dict[str, FaceSplit], dict[str, dict[str, int]]]:
    table = read_votes(path / "fer2013new.csv")
    faces = read_fer_csv(path / "fer2013.csv")
    if len(faces.pixels) != len(table.votes):
        raise DataError(
            f"{path / 'fer2013.csv'} has {len(faces.pixels)} rows but {table.path} has "
            f"{len(table.votes)}. The two are joined row by row: use both files complete and "
            "in their original order."
        )
    if (faces.usage == NO_USAGE).any():
        raise DataError(
            f"{path / 'fer2013.csv'} has no Usage column, so its rows cannot be matched with "
            f"{table.path}. Use the complete fer2013.csv, not Kaggle's train.csv or test.csv."
        )
    usage = np.array([USAGES.index(name) for name in table.usage])
    wrong = np.flatnonzero(usage != faces.usage)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{path / 'fer2013.csv'}, row {row + 1}: Usage is {USAGES[faces.usage[row]]!r} but "
            f"{table.path} says {table.usage[row]!r} ({len(wrong)} rows differ). The two are "
            "joined row by row: use both files complete and in their original order."
        )
    named = np.array([bool(name) for name in table.names], dtype=bool)
    drawn = faces.pixels.any(axis=(1, 2))
    names = np.array(table.names, dtype=str)
    splits, left_out = {}, {}
    for code, split in enumerate(SPLITS):
        here = usage == code
        if not here.any():
            continue
        index = np.flatnonzero(here & named & drawn)
        splits[split] = FaceSplit(
            split, faces.pixels[index], table.votes[index], names[index], index + 1
        )
        left_out[split] = _counts(
            {
                "no image name": int((here & ~named).sum()),
                "all-zero image": int((here & named & ~drawn).sum()),
            }
        )
    return splits, left_out


def _read_png_layout(path: Path) -> tuple[dict[str, FaceSplit], dict[str, dict[str, int]]]:
    shared = read_votes(path / "fer2013new.csv") if (path / "fer2013new.csv").exists() else None
    splits, left_out = {}, {}
    for split, folder_name in FOLDERS.items():
        folder = path / folder_name
        if not folder.is_dir():
            continue
        files = {file.name: file for file in sorted(folder.glob("*.png"))}
        if not files:
            raise DataError(
                f"{folder} holds no PNG image. Write the images with Microsoft's "
                "generate_training_data.py, or remove the empty folder to train without it."
            )
        if (folder / "label.csv").exists():
            table = _read_label_csv(folder / "label.csv")
            members = range(len(table.names))
        elif shared is not None:
            table = shared
            members = [i for i, u in enumerate(table.usage) if SPLIT_OF_USAGE[u] == split]
        else:
            raise DataError(
                f"{folder} has no votes: neither {folder / 'label.csv'} nor "
                f"{path / 'fer2013new.csv'} exists. Microsoft's FERPlus repository has both."
            )
        # Where a name occurs twice the writer overwrote the first image, so the last row counts.
        row_of = {table.names[i]: i for i in members if table.names[i]}
        named = sum(bool(table.names[i]) for i in members)
        index = np.array([i for name, i in row_of.items() if name in files], dtype=np.int64)
        names = np.array([table.names[i] for i in index], dtype=str)
        images = _read_images([files[name] for name in names])
        drawn = images.any(axis=(1, 2))
        splits[split] = FaceSplit(
            split, images[drawn], table.votes[index[drawn]], names[drawn], index[drawn] + 1
        )
        left_out[split] = _counts(
            {
                "no image name": len(members) - named,
                "name given twice": named - len(row_of),
                "image file missing": len(row_of) - len(index),
                "image without votes": len(files.keys() - row_of.keys()),
                "all-zero image": int((~drawn).sum()),
            }
        )
        if not len(splits[split]):
            raise DataError(
                f"{folder}: none of its {len(files)} images is named in {table.path}. Use the "
                "votes file that belongs to these images."
            )
    return splits, left_out


def _read_label_csv(path: Path) -> VoteTable:
    """One folder's label.csv: no header; name, a quoted box, ten votes."""
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
            if not (text.strip().isascii() and text.strip().isdigit() and int(text) <= 255):
                raise DataError(
                    f"{path}, row {row}: {VOTE_COLUMNS[column]} has {text!r} votes, expected a "
                    "count. Download the file again."
                )
            votes[position, column] = int(text)
        if not votes[position].any():
            raise DataError(
                f"{path}, row {row}: all ten vote counts are zero, so the image has no label. "
                "Remove the row from every file of the set, or download the file again."
            )
    return votes


def _read_images(files: list[Path]) -> np.ndarray:
    from PIL import Image

    def read(file: Path) -> np.ndarray:
        try:
            with Image.open(file, formats=("PNG",)) as image:
                size = image.size
                if size == (SIDE, SIDE):
                    return np.asarray(image.convert("L"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
            raise DataError(
                f"{file} cannot be decoded ({cause}). Write it again, or delete it: an image "
                "without a file is left out and counted."
            ) from cause
        raise DataError(
            f"{file} is {size[0]}x{size[1]} pixels, FERPlus images are {SIDE}x{SIDE}. Write the "
            "folder again with Microsoft's generate_training_data.py."
        )

    images = np.empty((len(files), SIDE, SIDE), np.uint8)
    with ThreadPoolExecutor() as pool:
        results: Iterator[np.ndarray] = pool.map(read, files)
        for position, image in enumerate(results):
            images[position] = image
    return images


def _open_text(path: Path, hint: str) -> io.StringIO:
    try:
        # Decoded here, so that a damaged byte is reported as such and not halfway through.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as cause:
        raise DataError(f"{path} cannot be read ({cause.strerror}). {hint}.") from cause
    except UnicodeDecodeError as cause:
        raise DataError(f"{path} is not text (byte {cause.start}). {hint}.") from cause
    return io.StringIO(text, newline="")


def _counts(reasons: dict[str, int]) -> dict[str, int]:
    return {reason: n for reason, n in reasons.items() if n}
