"""AffectNet as images with npy annotations (see affectnet.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.affectnet_labels import code_emotion, whole_number
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.listed import (
    NO_PICTURE,
    LeftOut,
    ListedFace,
    affect_value,
    listed_splits,
)
from neurogaze_fast.pictures import SUFFIXES

NPY_SPLITS = {"train": "train_set", "valid": "val_set", "test": "test_set"}


def has_npy(folder: Path) -> bool:
    """Whether `folder` itself holds train_set, val_set or test_set in that form."""
    return any(
        (folder / name / "images").is_dir() and (folder / name / "annotations").is_dir()
        for name in NPY_SPLITS.values()
    )


def read_npy_form(folder: Path, data: Path, side: int | None) -> FaceSet:
    """Read the tree in `folder`, found in `data` (see affectnet.py)."""
    left_out = LeftOut()
    mapping: dict[str, str] = {}
    faces: list[ListedFace] = []
    for split, name in NPY_SPLITS.items():
        if (folder / name / "images").is_dir() and (folder / name / "annotations").is_dir():
            faces += _npy_faces(folder, name, split, left_out, mapping)
    if not faces:
        raise DataError(
            f"{folder} has no image with one of the eight emotions in its annotations (NNN.jpg in "
            "images, NNN_exp.npy in annotations). Unpack the set again."
        )
    splits = listed_splits(folder, faces, side)
    counts = left_out.counts(splits)
    return FaceSet(splits, str(data), "affectnet npy", False, counts, True, mapping)


def _npy_faces(
    folder: Path, name: str, split: str, left_out: LeftOut, mapping: dict[str, str]
) -> Iterator[ListedFace]:
    annotations = folder / name / "annotations"
    there = set(os.listdir(annotations))
    images: dict[str, str] = {}
    for entry in sorted(os.listdir(folder / name / "images")):
        if entry.startswith(".") or not entry.lower().endswith(SUFFIXES):
            left_out.add(split, NO_PICTURE)
        elif Path(entry).stem in images:
            left_out.add(split, "second image of one annotation")
        else:
            images[Path(entry).stem] = entry
    expressions = {entry[: -len("_exp.npy")] for entry in there if entry.endswith("_exp.npy")}
    left_out.add(split, "image without annotation", len(images.keys() - expressions))
    left_out.add(split, "annotation without image", len(expressions - images.keys()))
    stems = sorted(images.keys() & expressions, key=lambda stem: (len(stem), stem))

    def annotated(stem: str) -> tuple[str, ...]:
        return tuple(
            _scalar(annotations / file) if (file := f"{stem}_{what}.npy") in there else ""
            for what in ("exp", "val", "aro")
        )

    with ThreadPoolExecutor() as pool:
        values = list(pool.map(annotated, stems))
    for row, (stem, (expression, valence, arousal)) in enumerate(
        zip(stems, values, strict=True), start=1
    ):
        where = str(annotations / stem)
        code = whole_number(expression, f"{where}_exp.npy")
        emotion, reason = code_emotion(code, f"{where}_exp.npy")
        if emotion is None:
            left_out.add(split, reason)
            continue
        mapping[str(code)] = emotion
        affect = (
            affect_value(valence, f"{where}_val.npy"),
            affect_value(arousal, f"{where}_aro.npy"),
        )
        yield ListedFace(f"{name}/images/{images[stem]}", emotion, row, split, affect)


def _scalar(path: Path) -> str:
    """The only value of an npy file, a number or a string, as text."""
    try:
        values = np.load(path, allow_pickle=False)
        if values.size != 1:
            raise ValueError(f"it holds {values.size} values")
    except (OSError, ValueError, EOFError) as cause:
        raise DataError(
            f"{path} is not an annotation with one number or string ({cause}). Unpack it again."
        ) from cause
    value = values.reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else str(value)
