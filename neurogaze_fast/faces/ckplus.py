"""CK+ (Lucey et al. 2010), the extended Cohn-Kanade set, in the forms it is passed on in.

    cohn-kanade-images/S005/001/S005_001_00000011.png          official: sequences from neutral to
    Emotion/S005/001/S005_001_00000011_emotion.txt             the peak, labels of some of them
    Landmarks/S005/001/S005_001_00000011_landmarks.txt         optional: 68 points of every frame

    anger/, contempt/, ... with S010_004_00000017.png          "CK+48": the last three frames, cut
                                                               to the face; there is no neutral
    ckextended.csv                                             emotion,pixels,Usage

The official numbers are 0 neutral, 1 anger, 2 contempt, 3 disgust, 4 fear, 5 happy, 6 sadness, 7
surprise; ckextended.csv has those of FER2013, 0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5
surprise, 6 neutral, and 7 contempt. Neither is FERPlus's order.

Of the official sequences with a label the last three frames are read, as usual, and with
`neutral_frames` also the first as neutral. Frames show head and shoulders: where Landmarks is there
they are cut to the face, else they are read whole (``FaceSet.layout`` says which).

CK+ has no splits of its own. They are drawn by person, the first four characters of a file's name,
so that nobody is in two of them. ckextended.csv names nobody: its own Usage is taken, in which
faces of one person lie on several sides, so its splits are good for scoring all of it at most.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.ckplus_csv import has_csv, read_csv
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.folder import has_class_folders, read_class_folders
from neurogaze_fast.faces.listed import (
    LeftOut,
    ListedFace,
    drawn_split,
    find_layout,
    listed_splits,
    the_one,
    visible_folders,
)
from neurogaze_fast.pictures import SUFFIXES

CODES = (
    "neutral",
    "anger",
    "contempt",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
)
"""The official numbers 0..7."""
PEAK_FRAMES = 3
LABEL_END, POINTS_END = "_emotion.txt", "_landmarks.txt"
FACE_SIDE = 1.3
"""Side of the square cut out, in units of the points' larger extent: brow to chin, and a margin."""
FACE_RISE = 0.1
"""How far the square's centre lies above the points', in the same units: there are none above the
brows."""
_SUBJECT = re.compile(r"[sS]\d{3}")
_SEQUENCE = re.compile(r"\d{3}")
_FILE = re.compile(r"[sS]\d{3}_\d{3}_\d+\.\w+")


def is_ckplus(data: Path) -> bool:
    """Whether CK+ in one of its forms lies in `data` or nearby below it."""
    return bool(
        find_layout(data, _has_sequences)
        or find_layout(data, _has_named_classes, depth=1)
        or find_layout(data, has_csv, depth=1)
    )


def read_ckplus(
    data: Path,
    side: int | None = None,
    *,
    neutral_frames: bool = False,
    on_conflict: str | None = None,
) -> FaceSet:
    """Read CK+ from `data` in whichever form is there, the first of those above.

    Args:
        side: Images are brought to side x side pixels; by default to the larger side of the size
            that most of the first images have (ckextended.csv: 48 always).
        neutral_frames: Of the official sequences, read the first frame as neutral.
        on_conflict: Of an image that ckextended.csv has with different labels or splits: ``drop``
            all of its rows, keep the ``first``, or refuse the set (None).

    Raises:
        DataError: no known form, images without labels, or a label that cannot be read.
    """
    data = Path(data)
    if find_layout(data, _has_sequences):
        return _read_official(data, side, neutral_frames)
    for test in (_has_named_classes, has_csv):
        found = find_layout(data, test, depth=1)
        if not found:
            continue
        folder = the_one(found, data, "CK+")
        if neutral_frames:
            raise DataError(
                f"{folder} has no sequences to take neutral frames from. Use the official CK+ "
                "with cohn-kanade-images and Emotion, or read it without them."
            )
        if test is has_csv:
            return read_csv(folder, data, on_conflict)
        return read_class_folders(folder, side, layout="ck+48", subject_of=subject_of)
    what = "does not exist"
    if data.is_dir():
        what = f"holds {', '.join(sorted(os.listdir(data))[:8]) or 'nothing'}"
    raise DataError(
        f"{data} {what}. CK+ is cohn-kanade-images/S005/001/*.png beside "
        "Emotion/S005/001/*_emotion.txt, or class folders such as anger/S010_004_00000017.png, or "
        "ckextended.csv: point --data at the folder that holds them."
    )


def subject_of(file: str) -> str:
    """The person a file is of: the first four characters of its name ("S005")."""
    return file[:4].upper()


def _has_sequences(folder: Path) -> bool:
    return any(
        _SUBJECT.fullmatch(person.name)
        and any(_SEQUENCE.fullmatch(sequence.name) for sequence in visible_folders(person))
        for person in visible_folders(folder)
    )


def _has_named_classes(folder: Path) -> bool:
    if not has_class_folders(folder):
        return False
    files = (entry for child in visible_folders(folder) for entry in sorted(os.listdir(child)))
    first = next((file for file in files if file.lower().endswith(SUFFIXES)), "")
    return _FILE.fullmatch(first) is not None


# --- the official tree ---------------------------------------------------------------------------

_Sequences = dict[tuple[str, str], tuple[Path, list[str]]]
"""(person, sequence) in capitals -> (its folder, its files)."""


def _sequences(root: Path, end: str | tuple[str, ...]) -> _Sequences:
    """Files of every sequence below `root` whose names end so, in any case, in frame order."""
    found: _Sequences = {}
    for person in visible_folders(root):
        if not _SUBJECT.fullmatch(person.name):
            continue
        for sequence in visible_folders(person):
            files = [
                name
                for name in os.listdir(sequence)
                if name.lower().endswith(end) and not name.startswith(".")
            ]
            if _SEQUENCE.fullmatch(sequence.name) and files:
                key = (person.name.upper(), sequence.name)
                found[key] = (sequence, sorted(files, key=lambda name: (_frame(name), name)))
    return found


def _frame(name: str) -> int:
    """The number of a frame: the last in its file's name."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else -1


def _read_official(data: Path, side: int | None, neutral_frames: bool) -> FaceSet:
    roots = _all_roots(data)
    images = _pick(roots, SUFFIXES, data, "image sequences")
    labels = _pick(roots, (LABEL_END,), data, "labels")
    points = _pick(roots, (POINTS_END,), data, "landmarks")
    for there, what in (
        (images, "no images (cohn-kanade-images)"),
        (labels, "no labels (Emotion)"),
    ):
        if not there:
            named = ", ".join(str(root.relative_to(data)) for root in roots)
            raise DataError(
                f"{data} has sequences in {named}, but {what}. Unpack cohn-kanade-images and "
                "Emotion_labels into one folder, and point --data at it."
            )
    left_out, mapping = LeftOut(), {}
    faces: list[ListedFace] = []
    without_points = 0
    for key, (folder, frames) in sorted(images.items()):
        split = drawn_split(key[0])
        if key not in labels:
            left_out.add(split, "sequence without a label")
            continue
        code = _label(*labels[key])
        mapping[str(code)] = CODES[code]
        chosen = [(frame, CODES[code]) for frame in frames[-PEAK_FRAMES:]]
        if neutral_frames and len(frames) > PEAK_FRAMES:
            chosen.insert(0, (frames[0], "neutral"))
            mapping["first frame"] = "neutral"
        for frame, emotion in chosen:
            box = _face_box(*points[key], frame) if key in points else None
            without_points += box is None
            file = (folder / frame).relative_to(data)
            faces.append(ListedFace(str(file), emotion, len(faces) + 1, split, box=box))
    for key in sorted(labels.keys() - images.keys()):
        left_out.add(drawn_split(key[0]), "label without images")
    if not faces:
        raise DataError(
            f"{data}: none of the {len(images)} image sequences has a label. Use the images and "
            "the labels of one and the same set."
        )
    splits = listed_splits(data, faces, side)
    counts = left_out.counts(splits)
    form = "cut to the face by landmarks"
    if without_points:
        form = f"{without_points} of {len(faces)} frames whole, without landmarks"
    layout = f"ck+ official ({form}), splits drawn by person"
    return FaceSet(splits, str(data), layout, False, counts, False, mapping)


def _all_roots(data: Path) -> list[Path]:
    """Every folder with sequences, at most two levels below `data`."""
    found, level = [], [data]
    for _ in range(3):
        found += [folder for folder in level if _has_sequences(folder)]
        level = [
            child for folder in level if folder not in found for child in visible_folders(folder)
        ]
    return found


def _pick(roots: list[Path], end: tuple[str, ...], data: Path, what: str) -> _Sequences:
    """The sequences of the one root that has such files, or none."""
    having = {root: sequences for root in roots if (sequences := _sequences(root, end))}
    return having[the_one(list(having), data, f"CK+ {what}")] if having else {}


def _label(folder: Path, files: list[str]) -> int:
    """A sequence's official number; the files hold one as "   3.0000000e+00"."""
    codes = set()
    for name in files:
        text = (folder / name).read_text(errors="replace").strip()
        try:
            code = float(text)
        except ValueError:
            code = math.nan
        if code not in range(len(CODES)):
            raise DataError(
                f"{folder / name} holds {text[:40]!r}, expected a number from 0 to 7. Unpack "
                "Emotion_labels again."
            )
        codes.add(int(code))
    if len(codes) > 1:
        raise DataError(
            f"{folder} has {len(files)} labels that differ: {sorted(codes)}. Keep the right one."
        )
    return codes.pop()


def _face_box(folder: Path, files: list[str], frame: str) -> tuple[int, int, int, int] | None:
    """(left, top, width, height) of a square around a frame's points; None where it has none."""
    name = Path(frame).stem + POINTS_END
    if name not in files:
        return None
    try:
        numbers = [float(word) for word in (folder / name).read_text().split()]
        if len(numbers) < 4 or len(numbers) % 2 or not all(map(math.isfinite, numbers)):
            raise ValueError(f"{len(numbers)} numbers")
    except (OSError, ValueError) as cause:
        raise DataError(
            f"{folder / name} holds no list of points ({cause}). Unpack Landmarks again, or remove "
            "it to read whole frames."
        ) from cause
    xs, ys = numbers[::2], numbers[1::2]
    extent = max(max(xs) - min(xs), max(ys) - min(ys))
    side = FACE_SIDE * extent
    left = (max(xs) + min(xs)) / 2 - side / 2
    top = (max(ys) + min(ys)) / 2 - side / 2 - FACE_RISE * extent
    return round(left), round(top), round(side), round(side)
