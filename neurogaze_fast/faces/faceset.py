"""A face set, whatever it was read from: in memory, or encoded (see encoded.py)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.labels import apply_rule

SPLITS = ("train", "valid", "test")


class FaceRows(ABC):
    """The rows of one split, wherever their images are."""

    name: str
    votes: np.ndarray
    """uint8 [N, 10]: the eight emotions in FERPlus order, unknown, NF."""
    names: np.ndarray
    """str [N]: image names, for people; several rows may share one."""
    rows: np.ndarray
    """int64 [N]: 1-based data row in the file that holds the votes."""

    images: np.ndarray
    """uint8 [N, H, W], grey."""
    pixel_hashes: np.ndarray
    """V16 [N]: equal for equal images of one set."""

    def __len__(self) -> int:
        return len(self.votes)

    def labelled(self, rule: str) -> tuple[np.ndarray, np.ndarray]:
        """(index int64 [M] of the rows `rule` keeps, targets float32 [M, 8])."""
        keep, targets = apply_rule(self.votes, rule)
        return np.flatnonzero(keep), targets[keep]

    @abstractmethod
    def subset(self, index: np.ndarray) -> Self:
        """The rows `index` int64 [M] picks, in its order."""

    @abstractmethod
    def add_to(self, digest: hashlib._Hash) -> None:
        """Feed what identifies the rows to a hash (see :attr:`FaceSet.sha256`)."""


@dataclass(frozen=True)
class FaceSplit(FaceRows):
    """One split in memory: rows that hold a true image, in the order of the source."""

    name: str
    images: np.ndarray
    votes: np.ndarray
    names: np.ndarray
    rows: np.ndarray

    def subset(self, index: np.ndarray) -> FaceSplit:
        """The rows `index` int64 [M] picks, in its order (copies the images)."""
        picked = (self.images[index], self.votes[index], self.names[index], self.rows[index])
        return FaceSplit(self.name, *picked)

    def add_to(self, digest: hashlib._Hash) -> None:
        """Name, shape, pixels and votes."""
        digest.update(f"{self.name} {self.images.shape}".encode())
        digest.update(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.votes))

    @cached_property
    def pixel_hashes(self) -> np.ndarray:
        """V16 [N]: a 128-bit hash of each image."""
        return np.array([hash_image(image) for image in self.images], dtype="V16")


def hash_image(data: bytes | np.ndarray) -> bytes:
    """16 bytes: hash of an image's pixels, or of its encoded bytes."""
    return hashlib.blake2b(np.ascontiguousarray(data), digest_size=16).digest()


@dataclass(frozen=True)
class FaceSet:
    """The splits of a face set, where they came from, and what was left out and why."""

    splits: dict[str, FaceRows]
    source: str
    layout: str
    synthetic: bool
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    """split -> reason -> number of rows without a usable image."""

    def __getitem__(self, split: str) -> FaceRows:
        if split not in self.splits:
            raise DataError(
                f"{self.source} has no {split!r} split; found {', '.join(self.splits)}."
            )
        return self.splits[split]

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
        """bool [N]: which images of `split` also occur in training."""
        rows = {entry["row"] for entry in self.duplicates if entry["split"] == split}
        return np.isin(self[split].rows, list(rows))

    @cached_property
    def sha256(self) -> str:
        """Hash of every split: of pixels and votes in memory, so that any layout with the same rows
        gives the same; an encoded split hashes what stands for its pixels, without decoding."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            self.splits[name].add_to(digest)
        return digest.hexdigest()

    def provenance(self) -> dict[str, Any]:
        """What goes into the manifests of everything made from this set."""
        return {
            "layout": self.layout,
            "synthetic": self.synthetic,
            "sha256": self.sha256,
            "rows": {name: len(split) for name, split in self.splits.items()},
            "left_out": self.left_out,
        }
