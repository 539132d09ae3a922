"""A face set, whatever it was read from: in memory, or encoded (see encoded.py)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.labels import apply_rule, checked_votes

SPLITS = ("train", "valid", "test")
DAMAGED = "damaged image"
"""Reason for which images that cannot be decoded are left out."""
WHOLE = "all"
"""Name of the union of the splits."""


class FaceRows(ABC):
    """The rows of one split, wherever their images are."""

    name: str
    votes: np.ndarray
    """uint8 [N, 10]: the eight emotions in FERPlus order, unknown, NF."""
    names: np.ndarray
    """str [N]: image names, for people; several rows may share one."""
    rows: np.ndarray
    """int64 [N]: 1-based data row in the file that holds the votes."""

    valence_arousal: np.ndarray | None = None
    """float32 [N, 2] on [-1, 1], NaN where not annotated; None where no image is."""

    if TYPE_CHECKING:  # a field here and computed there: to a reader both are a property

        @property
        def images(self) -> np.ndarray:
            """uint8 [N, H, W], grey."""

    @property
    @abstractmethod
    def pixel_hashes(self) -> np.ndarray:
        """V16 [N]: of the decoded pixels in their own size, so equal for equal images of any
        sets."""

    def __len__(self) -> int:
        return len(self.votes)

    def _check(self) -> None:
        """Compare the columns with one another; votes become uint8.

        Raises:
            DataError: columns of different length, votes that are no counts, or valence and arousal
                outside [-1, 1].
        """
        where, count = f"The {self.name} split", len(self.rows)
        if len(self.names) != count:
            raise DataError(f"{where} has {len(self.names)} names for {count} rows.")
        object.__setattr__(self, "votes", checked_votes(self.votes, self.rows, where))
        affect = self.valence_arousal
        if affect is None:
            return
        if np.shape(affect) != (count, 2):
            raise DataError(
                f"{where} has valence and arousal of shape {list(np.shape(affect))}, expected "
                f"[{count}, 2]."
            )
        wrong = np.flatnonzero((np.abs(affect) > 1).any(axis=1))
        if len(wrong):
            raise DataError(
                f"{where} has {len(wrong)} row(s) with valence or arousal outside [-1, 1], such as "
                f"row {self.rows[wrong[0]]} ({affect[wrong[0]].tolist()}). Bring them to that "
                "scale, with NaN where there is none."
            )

    def usable(self) -> tuple[Self, dict[int, str]]:
        """(the rows whose image can be decoded, row -> why not of the others).

        Raises:
            DataError: so many cannot that something happened to the set.
        """
        return self, {}

    def labelled(self, rule: str) -> tuple[np.ndarray, np.ndarray]:
        """(index int64 [M] of the rows `rule` keeps, targets float32 [M, 8])."""
        keep, targets = apply_rule(self.votes, rule)
        return np.flatnonzero(keep), targets[keep]

    @abstractmethod
    def called(self, name: str) -> Self:
        """The same rows under another name."""

    @abstractmethod
    def subset(self, index: np.ndarray) -> Self:
        """The rows `index` int64 [M] picks, in its order."""

    @classmethod
    @abstractmethod
    def joined(
        cls, name: str, parts: Sequence[Self], *, names: np.ndarray, rows: np.ndarray
    ) -> Self:
        """The rows of `parts` one after the other, called `name`, with these names and rows."""

    @abstractmethod
    def add_to(self, digest: hashlib._Hash) -> None:
        """Feed what identifies the rows to a hash (see :attr:`FaceSet.sha256`)."""

    def _add_affect(self, digest: hashlib._Hash) -> None:
        if self.valence_arousal is not None:
            digest.update(np.ascontiguousarray(self.valence_arousal, np.float32).data)


@dataclass(frozen=True)
class FaceSplit(FaceRows):
    """One split in memory: rows that hold a true image, in the order of the source."""

    name: str
    images: np.ndarray
    votes: np.ndarray
    names: np.ndarray
    rows: np.ndarray
    valence_arousal: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.rows):
            raise DataError(
                f"The {self.name} split has {len(self.images)} images for {len(self.rows)} rows."
            )
        self._check()

    def called(self, name: str) -> FaceSplit:
        """The same rows under another name."""
        return replace(self, name=name)

    def subset(self, index: np.ndarray) -> FaceSplit:
        """The rows `index` int64 [M] picks, in its order (copies the images)."""
        picked = (self.images[index], self.votes[index], self.names[index], self.rows[index])
        affect = None if self.valence_arousal is None else self.valence_arousal[index]
        return FaceSplit(self.name, *picked, affect)

    @classmethod
    def joined(
        cls, name: str, parts: Sequence[FaceSplit], *, names: np.ndarray, rows: np.ndarray
    ) -> FaceSplit:
        """The rows of `parts` (copies the images)."""
        images = np.concatenate([part.images for part in parts])
        votes = np.concatenate([part.votes for part in parts])
        return FaceSplit(name, images, votes, names, rows, joined_affect(parts))

    def add_to(self, digest: hashlib._Hash) -> None:
        """Name, shape, pixels and votes."""
        digest.update(f"{self.name} {self.images.shape}".encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.votes).data)
        self._add_affect(digest)

    @cached_property
    def pixel_hashes(self) -> np.ndarray:
        """V16 [N]: a 128-bit hash of each image."""
        return np.array([hash_image(image) for image in self.images], dtype="V16")


def hash_image(data: bytes | np.ndarray) -> bytes:
    """16 bytes: hash of an image's pixels, or of its encoded bytes."""
    return hashlib.blake2b(np.ascontiguousarray(data).data, digest_size=16).digest()


def joined_affect(parts: Sequence[FaceRows]) -> np.ndarray | None:
    """float32 [N, 2] of all `parts`; None where none is annotated."""
    if all(part.valence_arousal is None for part in parts):
        return None
    return np.concatenate(
        [
            np.full((len(part), 2), np.nan, np.float32)
            if part.valence_arousal is None
            else part.valence_arousal
            for part in parts
        ]
    )


@dataclass(frozen=True)
class FaceSet:
    """The splits of a face set, where they came from, and what was left out and why."""

    splits: Mapping[str, FaceRows]
    source: str
    layout: str
    synthetic: bool
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    """split -> reason -> number of rows without a usable image."""
    official_split: bool = True
    """Whether the splits are the set's own; False where they were drawn when it was read."""
    mapping: dict[str, str] = field(default_factory=dict)
    """Label as found -> emotion; empty where the set's own names are the package's."""
    notes: list[str] = field(default_factory=list)
    """Sentences on what was found while reading that a person should know of."""

    def __getitem__(self, split: str) -> FaceRows:
        """One split, or the union of them: ``faces["all"]``.

        Raises:
            DataError: there is no such split.
        """
        if split == WHOLE and self.splits:
            return self._whole
        if split not in self.splits:
            raise DataError(
                f"{self.source} has no {split!r} split; found {', '.join(self.splits)}."
            )
        return self.splits[split]

    def usable(self, split: str) -> FaceRows:
        """One split without the images that cannot be decoded; those are counted in
        :attr:`left_out` and named in :attr:`notes`, once.

        Raises:
            DataError: there is no such split, or so many of its images cannot be decoded that
                something happened to the set.
        """
        if split not in self._usable:
            part = self[split]
            self._usable[split], damaged = part.usable()
            if damaged:
                reasons = self.left_out.setdefault(split, {})
                reasons[DAMAGED] = reasons.get(DAMAGED, 0) + len(damaged)
                named = "; ".join(f"{part.names[row]}: {why}" for row, why in damaged.items())
                self.notes.append(
                    f"Left out {len(damaged)} of the {len(part)} {split} images, which cannot be "
                    f"used: {named}."
                )
        return self._usable[split]

    @cached_property
    def _usable(self) -> dict[str, FaceRows]:
        return {}

    @cached_property
    def _whole(self) -> FaceRows:
        """Every row. Where splits number their rows each for itself, all are numbered anew and the
        split is put before their names, so that (row, name) still tells them apart."""
        parts = list(self.splits.values())
        if len(parts) == 1:
            return parts[0].called(WHOLE)
        names = np.concatenate([part.names for part in parts])
        rows = np.concatenate([part.rows for part in parts])
        if len(np.unique(rows)) < len(rows):
            names = np.array([f"{part.name}/{name}" for part in parts for name in part.names])
            rows = np.arange(1, len(names) + 1)
        return type(parts[0]).joined(WHOLE, parts, names=names, rows=rows)

    @cached_property
    def present(self) -> tuple[str, ...]:
        """The emotions that occur, in FERPlus order."""
        found = np.zeros(len(EMOTIONS), bool)
        for split in self.splits.values():
            found |= split.labelled("argmax")[1].any(0)
        return tuple(name for name, there in zip(EMOTIONS, found, strict=True) if there)

    @cached_property
    def duplicates(self) -> list[dict[str, Any]]:
        """Images of valid and test that are byte-equal to a training image, one entry each."""
        train = self.splits.get("train")
        if train is None:
            return []
        first: dict[bytes, int] = {}
        for index, digest in enumerate(train.pixel_hashes.tolist()):
            first.setdefault(digest, index)
        return [
            {
                "split": split.name,
                "row": int(split.rows[index]),
                "name": str(split.names[index]),
                "train_row": int(train.rows[first[digest]]),
                "train_name": str(train.names[first[digest]]),
            }
            for split in self.splits.values()
            if split.name != "train"
            for index, digest in enumerate(split.pixel_hashes.tolist())
            if digest in first
        ]

    def is_duplicate(self, split: str) -> np.ndarray:
        """bool [N]: which images of `split` also occur in training (those of training do not)."""
        if split == WHOLE:
            return np.concatenate([self.is_duplicate(name) for name in self.splits])
        rows = {entry["row"] for entry in self.duplicates if entry["split"] == split}
        return np.isin(self[split].rows, list(rows))

    @cached_property
    def sha256(self) -> str:
        """Hash of every split: of pixels and votes in memory, so that any layout with the same rows
        gives the same; an encoded split hashes its files' bytes (or pixels, where shards recorded
        their hashes), without decoding."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            self.splits[name].add_to(digest)
        return digest.hexdigest()

    def provenance(self) -> dict[str, Any]:
        """What goes into the manifests of everything made from this set."""
        metadata = {
            "layout": self.layout,
            "synthetic": self.synthetic,
            "sha256": self.sha256,
            "rows": {name: len(split) for name, split in self.splits.items()},
            "left_out": self.left_out,
            "present": list(self.present),
            "official_split": self.official_split,
        }
        more = {"mapping": self.mapping, "notes": list(self.notes)}
        return metadata | {name: value for name, value in more.items() if value}
