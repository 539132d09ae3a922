"""Image files in class folders.

    DIR/train/{emotion}/*.jpg       or .png, .webp, .bmp, .tif and so on
    DIR/valid/{emotion}/...     or val, validation
    DIR/test/{emotion}/...

or DIR/{emotion}/*.jpg without splits: then they are drawn. Emotions are told by the folder's name,
never by its place in a list: numbered folders mean another emotion in every data set. Only names
are read here; images are decoded when they are wanted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.listed import (
    NO_PICTURE,
    LeftOut,
    ListedFace,
    drawn_split,
    listed_splits,
    visible_folders,
)
from neurogaze_fast.faces.naming import ALIASES, emotion_named, names_no_emotion
from neurogaze_fast.pictures import SUFFIXES

SPLIT_FOLDERS = {
    "train": ("train",),
    "valid": ("valid", "val", "validation"),
    "test": ("test",),
}
Naming = Callable[[str], str | None]
"""From a folder's name to its emotion, or None."""


def has_split_folders(data: Path, naming: Naming = emotion_named) -> bool:
    """Whether a split folder below `data` holds a folder named after an emotion."""
    return any(
        has_class_folders(Path(data) / name, naming)
        for names in SPLIT_FOLDERS.values()
        for name in names
    )


def has_class_folders(folder: Path, naming: Naming = emotion_named) -> bool:
    """Whether `folder` holds a folder named after an emotion."""
    return any(naming(entry.name) for entry in visible_folders(folder))


def is_folder_set(data: Path) -> bool:
    """Whether there are folders named after emotions, with or without split folders above them."""
    return has_split_folders(data) or has_class_folders(data)


def read_folder(data: Path, side: int | None = None) -> FaceSet:
    """List the images below `data`; any subset of the splits is read.

    Without split folders the images are drawn to train, valid and test one by one: images of the
    same person may then lie on both sides.

    Args:
        side: Images are brought to side x side pixels; by default to the larger side of the size
            that most of the first images have.

    Raises:
        DataError: no split or class folder, a folder that names no emotion, or a split without
            images.
    """
    return read_class_folders(data, side, layout="folder")


def read_class_folders(
    data: Path,
    side: int | None,
    *,
    layout: str,
    naming: Naming = emotion_named,
    no_emotion: Callable[[str], str | None] | None = None,
    subject_of: Callable[[str], str] | None = None,
) -> FaceSet:
    """:func:`read_folder` for sets with their own names.

    Args:
        layout: What to call it in messages and in ``FaceSet.layout``.
        naming: The emotion of a folder's name.
        no_emotion: Why the images of a folder are left out, by its name, or None.
        subject_of: The person on an image, by the file's name: where splits are drawn, people are.
    """
    data = Path(data)
    no_emotion = no_emotion or _no_emotion
    roots: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        found = [name for name in names if (data / name).is_dir()]
        if len(found) > 1:
            raise DataError(
                f"{data} holds {' and '.join(found)}, which both mean the {split} split. Keep one."
            )
        if found:
            roots[split] = data / found[0]
    official = bool(roots)
    if not official and not has_class_folders(data, naming):
        raise DataError(
            f"{data} {'holds none' if data.is_dir() else 'is no folder, so it holds none'} of the "
            "folders train, valid and test. A folder set is DIR/train/happiness/*.jpg and so on "
            "(or DIR/happiness/*.jpg: then the splits are drawn): point --data at DIR."
        )
    left_out = LeftOut()
    mapping: dict[str, str] = {}
    splits: dict[str, EncodedSplit] = {}
    # Of a single root, each image's split is drawn.
    read: list[tuple[str | None, Path]] = [*roots.items()] if official else [(None, data)]
    for own, root in read:

        def split_of(file: str, own: str | None = own) -> str:
            name = file.split("/")[-1]
            return own or drawn_split(subject_of(name) if subject_of else file)

        files, excluded = _list_classes(root, naming, no_emotion)
        for file, reason in excluded:
            left_out.add(split_of(file), reason)
        faces = [
            ListedFace(file, emotion, row, split_of(file))
            for row, (file, emotion) in enumerate(files, start=1)
        ]
        mapping.update({file.split("/")[0]: emotion for file, emotion in files})
        splits.update(listed_splits(root, faces, side))
        side = next(iter(splits.values())).side
    counts = left_out.counts(splits)
    if not official:
        layout += f", splits drawn by {'person' if subject_of else 'image'}"
    return FaceSet(splits, str(data), layout, False, counts, official, mapping)


def _no_emotion(name: str) -> str | None:
    return f"labelled {name}" if names_no_emotion(name) else None


def _list_classes(
    root: Path, naming: Naming, no_emotion: Callable[[str], str | None]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """((file, emotion) below `root`, sorted; (file, reason) of what is left out)."""
    files: list[tuple[str, str]] = []
    excluded: list[tuple[str, str]] = []
    unknown: list[str] = []
    for folder in os.scandir(root):
        if folder.name.startswith((".", "__")):  # what systems and archivers leave behind
            continue
        if not folder.is_dir():
            excluded.append((folder.name, NO_PICTURE))
            continue
        emotion, reason = naming(folder.name), no_emotion(folder.name)
        if emotion is None and reason is None:
            unknown.append(folder.name)
            continue
        for entry in os.scandir(folder):
            file = f"{folder.name}/{entry.name}"
            if entry.name.startswith(".") or not entry.name.lower().endswith(SUFFIXES):
                excluded.append((file, NO_PICTURE))
            elif emotion is None:
                excluded.append((file, str(reason)))
            else:
                files.append((file, emotion))
    if unknown:
        named = ", ".join(map(repr, sorted(unknown)[:8]))
        raise DataError(
            f"{root} holds {len(unknown)} folder(s) that name no emotion: {named}. Name them after "
            f"one of {', '.join(EMOTIONS)} (also {', '.join(ALIASES)})."
        )
    if not files:
        raise DataError(
            f"{root} holds no picture ({', '.join(SUFFIXES)}) in a folder named after an emotion. "
            "Fill it, or remove it to do without that split."
        )
    return sorted(files), excluded
