"""Listed image files: what every reader of single image files makes its face set of."""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.decode import encode_grey
from neurogaze_fast.faces.encoded import EncodedSource, EncodedSplit
from neurogaze_fast.faces.faceset import SPLITS
from neurogaze_fast.faces.labels import VOTE_COLUMNS
from neurogaze_fast.pictures import CorruptImage, decode_grey, picture_size

NO_PICTURE = "no picture by its name"
"""Reason for which a file in a folder of images is left out."""
RATERS = 10
"""Votes a single label gets, as if as many raters as FERPlus has were of one mind."""
PROBED = 64
TRAIN_SHARE, VALID_SHARE = 0.70, 0.15
NOT_ANNOTATED = -2.0
"""AffectNet's valence and arousal of an image that has none."""
_CROWDED = 2000
"""A folder with more subfolders than this is not searched: it holds images, not layouts."""


class ListedFace(NamedTuple):
    """One image file with its label."""

    file: str
    """Below the set's root, or absolute."""
    emotion: str
    row: int
    """1-based row in the table, or in the listing, it comes from."""
    split: str
    valence_arousal: tuple[float, float] = (math.nan, math.nan)
    box: tuple[int, int, int, int] | None = None
    """(left, top, width, height) of the face in pixels; None: the whole image."""


@dataclass(frozen=True, eq=False)
class FileSource:
    """Image files below one folder: an :class:`~neurogaze_fast.faces.encoded.EncodedSource`."""

    root: Path
    files: np.ndarray
    """str [N]: paths below `root`, or absolute."""
    boxes: np.ndarray | None = None
    """int64 [N, 4]: left, top, width, height of the part to show; width 0: the whole image."""

    def read(self, position: int) -> np.ndarray:
        """uint8 [n]: the file's bytes; where it has a box, those of a grey PNG of that part."""
        data = np.frombuffer((self.root / str(self.files[position])).read_bytes(), np.uint8)
        return data if self.boxes is None else _cropped(data, *self.boxes[position].tolist())

    def where(self, position: int) -> str:
        """The file's path."""
        return str(self.root / str(self.files[position]))


def _cropped(data: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    if width <= 0 or height <= 0:
        return data
    try:
        grey = decode_grey(data, None)
    except CorruptImage:
        return data  # whoever decodes it says what is wrong with it
    part = grey[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    if not part.size or part.shape == grey.shape:
        return data
    return np.frombuffer(encode_grey(part, "PNG"), np.uint8)


def listed_splits(
    root: Path, faces: Iterable[ListedFace], side: int | None = None
) -> dict[str, EncodedSplit]:
    """A split of each name that occurs in `faces`, in their order; only image headers are read.

    Args:
        root: Folder the files lie below.
        side: Images are brought to side x side pixels; by default to the larger side of the size
            that most of the first images have.

    Raises:
        DataError: none of the first files is an image.
    """
    sorted_faces: dict[str, list[ListedFace]] = defaultdict(list)
    for face in faces:
        sorted_faces[face.split].append(face)
    splits = {}
    for name in SPLITS:
        if name not in sorted_faces:
            continue
        members = sorted_faces[name]
        count = len(members)
        files = np.array([face.file for face in members], dtype=str)
        boxes = None
        if any(face.box for face in members):
            boxes = np.array([face.box or (0, 0, 0, 0) for face in members], np.int64)
        source = FileSource(root, files, boxes)
        if side is None:
            side = _usual_side(source, min(count, PROBED))
        votes = np.zeros((count, len(VOTE_COLUMNS)), np.uint8)
        votes[np.arange(count), [EMOTIONS.index(face.emotion) for face in members]] = RATERS
        affect = np.array([face.valence_arousal for face in members], np.float32)
        splits[name] = EncodedSplit(
            name=name,
            votes=votes,
            names=files,
            rows=np.array([face.row for face in members], np.int64),
            source=source,
            positions=np.arange(count),
            side=side,
            valence_arousal=None if np.isnan(affect).all() else affect,
        )
    return splits


def _usual_side(source: EncodedSource, count: int) -> int:
    sizes: Counter[tuple[int, int]] = Counter()
    for position in range(count):
        try:
            size = picture_size(source.read(position))
        except OSError:
            continue  # named where it is wanted
        if size is not None:
            sizes[size] += 1
    if not sizes:
        raise DataError(
            f"None of the first {count} files, such as {source.where(0)}, can be read as a "
            "picture. Restore them."
        )
    return max(sizes.most_common(1)[0][0])


def drawn_split(group: str) -> str:
    """The split of every image of `group` (a person, or a single image) in a set without its own.

    Drawn by a hash of the name, so that it stays where it is when others are added: 70 in 100
    groups go to train, 15 to valid and 15 to test, on average.
    """
    name = unicodedata.normalize("NFC", group).casefold()
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64
    if place < TRAIN_SHARE:
        return "train"
    return "valid" if place < TRAIN_SHARE + VALID_SHARE else "test"


class LeftOut:
    """Counts what is left out, by split and reason."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, split: str, reason: str, count: int = 1) -> None:
        """`count` images of `split` are not used, for `reason`."""
        if count:
            self._counts[split][reason] += count

    def counts(self, splits: Iterable[str]) -> dict[str, dict[str, int]]:
        """As in :attr:`~neurogaze_fast.faces.faceset.FaceSet.left_out`, for all of `splits`, which
        have rows, and those of which every row is left out."""
        counted = {name: dict(self._counts[name]) for name in SPLITS if name in self._counts}
        return {split: {} for split in splits} | counted


def affect_value(text: str, where: str) -> float:
    """A valence or an arousal; NaN where it is empty or AffectNet's -2, "not annotated".

    Raises:
        DataError: no number, or outside [-1, 1]; `where` says which.
    """
    text = text.strip()
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    if math.isnan(value) or value == NOT_ANNOTATED:
        return math.nan
    if not -1 <= value <= 1:
        raise DataError(
            f"{where} is {text!r}, expected a number in [-1, 1] (or nothing, or -2, where it was "
            "not annotated). Bring the ratings to that scale, or take the column out."
        )
    return value


def visible_folders(folder: Path) -> list[Path]:
    """Subfolders in order, without those that systems and archivers leave behind."""
    try:
        entries = [entry for entry in os.scandir(folder) if entry.is_dir()]
    except OSError:
        return []
    return sorted(Path(entry) for entry in entries if not entry.name.startswith((".", "__")))


def find_layout(data: Path, test: Callable[[Path], bool], depth: int = 2) -> list[Path]:
    """`data`, or else the folders nearest below it, at most `depth` levels, that pass `test`.

    Archives often unpack into a folder of their own name, in another one.
    """
    level: Sequence[Path] = [Path(data)]
    for _ in range(depth + 1):
        found = [folder for folder in level if test(folder)]
        if found:
            return found
        below = [visible_folders(folder) for folder in level]
        level = [child for children in below if len(children) <= _CROWDED for child in children]
    return []


def the_one(found: list[Path], data: Path, what: str) -> Path:
    """The only folder found.

    Raises:
        DataError: there are several.
    """
    if len(found) > 1:
        raise DataError(
            f"{data} holds {what} more than once: {', '.join(map(str, found[:4]))}. Point --data "
            "at one of them."
        )
    return found[0]
