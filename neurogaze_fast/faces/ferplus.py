"""FERPlus (Barsoum et al. 2016) as people really have it.

Two layouts are read, the first where both are there:

    DIR/fer2013.csv        Kaggle: emotion,pixels,Usage           joined by ROW with
    DIR/fer2013new.csv     Microsoft: Usage,Image name,8 emotions,unknown,NF

    DIR/FER2013Train/*.png      written by Microsoft's script; votes from fer2013new.csv in DIR or
    DIR/FER2013Valid/*.png      in the folder above it (as in Microsoft's repository), else from
    DIR/FER2013Test/*.png       label.csv in each folder

Microsoft's own files disagree: label.csv has other votes than fer2013new.csv for 1,073 training,
246 validation and 282 test images, every one of which occurs more than once. Published counts are
those of fer2013new.csv, so it is taken wherever it is there; how many images of a set differ, or
that label.csv had to do, is in ``FaceSet.notes``. The same model scores up to half a point apart.

The number in ferNNNNNNN.png is not the row (it lags by up to 85), so the csv files are joined by
row and never by name. Any subset of the splits is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.encoded import refuse_many_damaged
from neurogaze_fast.faces.faceset import DAMAGED, SPLITS, FaceSet, FaceSplit
from neurogaze_fast.faces.fer_csv import NO_USAGE, USAGES, read_fer_csv
from neurogaze_fast.faces.ferplus_votes import (
    LABEL_FILE,
    SPLIT_OF_USAGE,
    VOTES_FILE,
    VoteTable,
    read_label_csv,
    read_votes,
)
from neurogaze_fast.faces.synthetic import SYNTHETIC_MARKER
from neurogaze_fast.pictures import CorruptImage, decode_grey

FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
SIDE = 48


def read_ferplus(path: Path) -> FaceSet:
    """Read FERPlus from `path` in whichever layout is there.

    Rows without an image name, and images that are all zero, are no images: they are left out and
    counted in ``FaceSet.left_out``, and so are a few PNG files that cannot be decoded, which
    ``FaceSet.notes`` names.

    Raises:
        DataError: nothing readable, a malformed file (names the file and the row), or more damaged
            images than a few.
    """
    path = Path(path)
    notes: list[str] = []
    synthetic = (path / SYNTHETIC_MARKER).exists()
    if (path / "fer2013.csv").exists():
        splits, left_out = _read_csv_layout(path)
        layout = "csv"
    elif any((path / folder).is_dir() for folder in FOLDERS.values()):
        splits, left_out = _read_png_layout(path, notes)
        layout = "png"
    else:
        found = sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else None
        what = "is a file, not a folder" if path.exists() else "does not exist"
        if found is not None:
            what = f"holds {', '.join(found) or 'nothing'}"
        raise DataError(
            f"{path} {what}. FERPlus is either fer2013.csv (Kaggle) beside fer2013new.csv "
            "(Microsoft), or the folders FER2013Train, FER2013Valid, FER2013Test with PNG images: "
            "point --data at the folder that holds them. Of another set say the kind: --faces "
            "affectnet, ckplus, manifest (a csv of images) or folder (one for each emotion); "
            "docs/data.md shows how each is laid out."
        )
    return FaceSet(splits, str(path), layout, synthetic, left_out, notes=notes)


def _read_csv_layout(path: Path) -> tuple[dict[str, FaceSplit], dict[str, dict[str, int]]]:
    table = read_votes(path / VOTES_FILE)
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


def _read_png_layout(
    path: Path, notes: list[str]
) -> tuple[dict[str, FaceSplit], dict[str, dict[str, int]]]:
    official = next((p for p in (path / VOTES_FILE, path.parent / VOTES_FILE) if p.is_file()), None)
    shared = read_votes(official) if official else None
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
        table, members = _votes_of(folder, split, shared)
        # Where a name occurs twice the writer overwrote the first image, so the last row counts.
        row_of = {table.names[i]: i for i in members if table.names[i]}
        named = sum(bool(table.names[i]) for i in members)
        index = np.array([i for name, i in row_of.items() if name in files], dtype=np.int64)
        names = np.array([table.names[i] for i in index], dtype=str)
        images, damaged = _read_images([files[name] for name in names])
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
                DAMAGED: len(damaged),
                "all-zero image": int((~drawn).sum()) - len(damaged),
            }
        )
        if not len(splits[split]):
            raise DataError(
                f"{folder}: none of its {len(files)} images is named in {table.path}. Use the "
                "votes file that belongs to these images."
            )
        if damaged:
            notes.append(f"Left out images that cannot be used: {'; '.join(damaged)}.")
        if shared is not None:
            notes += _disagreement(folder, table, row_of)
    if shared is None:
        notes.append(
            f"The votes are those of {LABEL_FILE} in "
            f"{', '.join(FOLDERS[name] for name in splits)}. Microsoft's {VOTES_FILE}, which "
            "published counts are of, has others for images that occur more than once: put it "
            "beside these folders."
        )
    return splits, left_out


def _votes_of(
    folder: Path, split: str, shared: VoteTable | None
) -> tuple[VoteTable, Sequence[int]]:
    """(the table with the votes of one split's folder, its rows that are this split's)."""
    if shared is not None:
        rows = [i for i, usage in enumerate(shared.usage) if SPLIT_OF_USAGE[usage] == split]
        return shared, rows
    if (folder / LABEL_FILE).exists():
        table = read_label_csv(folder / LABEL_FILE)
        return table, range(len(table.names))
    raise DataError(
        f"{folder} has no votes: neither {folder / LABEL_FILE} nor {folder.parent / VOTES_FILE} "
        "exists. Microsoft's FERPlus repository has both."
    )


def _disagreement(folder: Path, table: VoteTable, row_of: dict[str, int]) -> Iterator[str]:
    """What to say of a folder whose label.csv differs from fer2013new.csv, which `table` is of."""
    if not (folder / LABEL_FILE).exists():
        return
    own = read_label_csv(folder / LABEL_FILE)
    last = {name: i for i, name in enumerate(own.names)}
    differ = [
        name
        for name, row in row_of.items()
        if name in last and (own.votes[last[name]] != table.votes[row]).any()
    ]
    if differ:
        yield (
            f"{folder.name}/{LABEL_FILE} and {VOTES_FILE} give {len(differ)} of the images "
            f"different votes, such as {', '.join(differ[:3])}. Those of {VOTES_FILE} were taken: "
            "published counts are of it."
        )


def _read_images(files: list[Path]) -> tuple[np.ndarray, list[str]]:
    """(uint8 [N, 48, 48], each file that cannot be used with the reason: its image is black).

    Raises:
        DataError: these are more than a few.
    """
    images = np.zeros((len(files), SIDE, SIDE), np.uint8)

    def read(position: int) -> str | None:
        name = f"{files[position].parent.name}/{files[position].name}"
        try:
            image = decode_grey(files[position].read_bytes())
        except OSError as cause:
            return f"{name}: cannot be read ({cause.strerror})"
        except CorruptImage as cause:
            return f"{name}: {cause}"
        if image.shape != (SIDE, SIDE):
            size = f"{image.shape[1]} x {image.shape[0]} pixels"
            return f"{name}: {size}, FERPlus images have {SIDE} x {SIDE}"
        images[position] = image
        return None

    with ThreadPoolExecutor() as pool:
        damaged = [reason for reason in pool.map(read, range(len(files))) if reason]
    refuse_many_damaged(damaged, len(files), "images")
    return images, damaged


def _counts(reasons: dict[str, int]) -> dict[str, int]:
    return {reason: n for reason, n in reasons.items() if n}
