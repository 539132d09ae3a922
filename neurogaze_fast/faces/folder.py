"""A folder of image files, sorted by split and emotion.

    DIR/train/{emotion}/*.jpg|jpeg|png
    DIR/valid/{emotion}/...     or val, validation
    DIR/test/{emotion}/...

Emotions are told by the folder's name, never by its place in a list: numbered folders mean another
emotion in every data set. Only names are read here; images are decoded when they are wanted.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.decode import image_size
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.labels import VOTE_COLUMNS

SPLIT_FOLDERS = {
    "train": ("train",),
    "valid": ("valid", "val", "validation"),
    "test": ("test",),
}
ALIASES = {
    "neutrality": "neutral",
    "happy": "happiness",
    "joy": "happiness",
    "surprised": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "contemptuous": "contempt",
}
EXTENSIONS = (".jpg", ".jpeg", ".png")
RATERS = 10
"""Votes a folder's emotion gets, as if as many raters as FERPlus has were of one mind."""
PROBED = 64


@dataclass(frozen=True, eq=False)
class FolderSource:
    """Image files below one folder: an :class:`~neurogaze_fast.faces.encoded.EncodedSource`."""

    root: Path
    files: np.ndarray
    """str [N]: paths below `root`."""

    def read(self, position: int) -> np.ndarray:
        """uint8 [n]: the file's bytes."""
        return np.frombuffer((self.root / str(self.files[position])).read_bytes(), np.uint8)

    def where(self, position: int) -> str:
        """The file's path."""
        return str(self.root / str(self.files[position]))


def emotion_named(folder: str) -> str | None:
    """The emotion a folder is named after ("Happy", "sadness"), or None."""
    name = folder.strip().lower()
    name = ALIASES.get(name, name)
    return name if name in EMOTIONS else None


def is_folder_set(data: Path) -> bool:
    """Whether a split folder below `data` holds a folder named after an emotion."""
    return any(
        entry.is_dir() and emotion_named(entry.name)
        for names in SPLIT_FOLDERS.values()
        for name in names
        if (Path(data) / name).is_dir()
        for entry in (Path(data) / name).iterdir()
    )


def read_folder(data: Path, side: int | None = None) -> FaceSet:
    """List the images below `data`; any subset of the splits is read.

    Args:
        side: Images are brought to side x side pixels; by default to the larger side of the size
            that most of the first images have.

    Raises:
        DataError: no split folder, a folder that names no emotion, or a split without images.
    """
    data = Path(data)
    listed: dict[str, tuple[list[str], list[int]]] = {}
    roots, left_out = {}, {}
    for split, names in SPLIT_FOLDERS.items():
        found = [name for name in names if (data / name).is_dir()]
        if len(found) > 1:
            raise DataError(
                f"{data} holds {' and '.join(found)}, which both mean the {split} split. Keep one."
            )
        if found:
            roots[split] = data / found[0]
            *listed[split], others = _list_split(roots[split])
            left_out[split] = {"no .jpg, .jpeg or .png file": others} if others else {}
    if not listed:
        raise DataError(
            f"{data} {'holds none' if data.is_dir() else 'is no folder, so it holds none'} of the "
            "folders train, valid and test. A folder set is DIR/train/happiness/*.jpg and so on: "
            "point --data at DIR."
        )
    splits = {}
    for split, (files, emotions) in listed.items():
        names = np.array(files, dtype=str)
        if side is None:
            side = _usual_side([roots[split] / file for file in files[:PROBED]])
        votes = np.zeros((len(files), len(VOTE_COLUMNS)), np.uint8)
        votes[np.arange(len(files)), emotions] = RATERS
        splits[split] = EncodedSplit(
            name=split,
            votes=votes,
            names=names,
            rows=np.arange(1, len(files) + 1),
            source=FolderSource(roots[split], names),
            positions=np.arange(len(files)),
            side=side,
        )
    return FaceSet(splits, str(data), "folder", False, left_out)


def _list_split(root: Path) -> tuple[list[str], list[int], int]:
    """(files below `root`, sorted; the emotion of each; how many other files there are)."""
    files: list[tuple[str, int]] = []
    unknown, others = [], 0
    for folder in os.scandir(root):
        if folder.name.startswith((".", "__")):  # what systems and archivers leave behind
            continue
        if not folder.is_dir():
            others += 1
            continue
        emotion = emotion_named(folder.name)
        if emotion is None:
            unknown.append(folder.name)
            continue
        column = EMOTIONS.index(emotion)
        for entry in os.scandir(folder):
            if not entry.name.startswith(".") and entry.name.lower().endswith(EXTENSIONS):
                files.append((f"{folder.name}/{entry.name}", column))
            else:
                others += 1
    if unknown:
        named = ", ".join(map(repr, sorted(unknown)[:8]))
        raise DataError(
            f"{root} holds {len(unknown)} folder(s) that name no emotion: {named}. Name them after "
            f"one of {', '.join(EMOTIONS)} (also {', '.join(ALIASES)})."
        )
    if not files:
        raise DataError(
            f"{root} holds no .jpg, .jpeg or .png file in a folder named after an emotion. Fill "
            "it, or remove it to do without that split."
        )
    files.sort()
    return [file for file, _ in files], [column for _, column in files], others


def _usual_side(files: list[Path]) -> int:
    sizes: Counter[tuple[int, int]] = Counter()
    for file in files:
        try:
            size = image_size(file.read_bytes())
        except OSError:
            continue  # named where it is wanted
        if size is not None:
            sizes[size] += 1
    if not sizes:
        raise DataError(
            f"None of the first {len(files)} files, such as {files[0]}, is a JPEG or PNG image. "
            "Restore them."
        )
    return max(sizes.most_common(1)[0][0])
