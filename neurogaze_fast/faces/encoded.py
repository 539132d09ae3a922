"""Faces that stay encoded: picture files' bytes, read when they are wanted.

Where the bytes lie is the source's business (shards.py, folder.py); turning them into pixels is a
decoder's (dali_decoder.py, torch_decoder.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.faceset import FaceRows, hash_image, joined_affect
from neurogaze_fast.pictures import CorruptImage, decode_grey

BAD_SHARE = 0.001
"""Share of the images that may turn out to be damaged (one always may)."""


class EncodedSource(Protocol):
    """Encoded images by position. Pickles small, so that worker processes can be given it."""

    def read(self, position: int) -> np.ndarray:
        """uint8 [n]: one image's bytes. Raises OSError where they cannot be read."""

    def where(self, position: int) -> str:
        """The file an image lies in, for messages."""


@dataclass(frozen=True, eq=False)
class JoinedSource:
    """Several sources as one; position i is image ``places[i]`` of ``sources[which[i]]``."""

    sources: tuple[EncodedSource, ...]
    which: np.ndarray
    places: np.ndarray
    """int64 [N] each."""

    def read(self, position: int) -> np.ndarray:
        """uint8 [n]: one image's bytes."""
        return self.sources[self.which[position]].read(int(self.places[position]))

    def where(self, position: int) -> str:
        """The file it lies in."""
        return self.sources[self.which[position]].where(int(self.places[position]))


@dataclass(frozen=True, eq=False)
class EncodedSplit(FaceRows):
    """One split whose images are encoded; row i is image ``positions[i]`` of `source`."""

    name: str
    votes: np.ndarray
    names: np.ndarray
    rows: np.ndarray
    source: EncodedSource
    positions: np.ndarray
    """int64 [N]."""
    side: int
    """Images are brought to side x side pixels."""
    sized: bool = False
    """Every image is known to be side x side and upright already: none needs resizing."""
    known_hashes: np.ndarray | None = None
    """V16 [N]: hashes of the decoded pixels, where they were recorded."""
    valence_arousal: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.rows):
            raise DataError(
                f"The {self.name} split has {len(self.positions)} images for {len(self.rows)} rows."
            )
        self._check()

    def read(self, row: int) -> np.ndarray:
        """uint8 [n]: the encoded bytes of one row (do not write to them).

        Raises:
            OSError: the file is gone or cannot be read.
        """
        return self.source.read(int(self.positions[row]))

    def describe(self, row: int) -> str:
        """Name and file of one row, for messages."""
        return f"{self.names[row]} ({self.source.where(int(self.positions[row]))})"

    def decode(self, row: int) -> np.ndarray:
        """uint8 [side, side] of one row, by Pillow.

        Raises:
            CorruptImage: it cannot be read or decoded.
        """
        return self._decode(row, self.side)

    def _decode(self, row: int, side: int | None) -> np.ndarray:
        try:
            return decode_grey(self.read(row), side)
        except OSError as cause:
            raise CorruptImage(f"cannot be read: {cause.strerror or cause}") from cause

    def called(self, name: str) -> EncodedSplit:
        """The same rows under another name."""
        return replace(self, name=name)

    def subset(self, index: np.ndarray) -> EncodedSplit:
        """The rows `index` int64 [M] picks, in its order; no image is read."""
        index = np.asarray(index, dtype=np.int64)
        picked = ("votes", "names", "rows", "positions")
        arrays = {name: getattr(self, name)[index] for name in picked}
        for name in ("known_hashes", "valence_arousal"):
            array = getattr(self, name)
            arrays[name] = None if array is None else array[index]
        return replace(self, **arrays)

    @classmethod
    def joined(
        cls, name: str, parts: Sequence[EncodedSplit], *, names: np.ndarray, rows: np.ndarray
    ) -> EncodedSplit:
        """The rows of `parts`, brought to the first one's side; no image is read."""
        side = parts[0].side
        same = all(part.side == side for part in parts)
        hashed = same and all(part.known_hashes is not None for part in parts)
        lengths = [len(part) for part in parts]
        return EncodedSplit(
            name=name,
            votes=np.concatenate([part.votes for part in parts]),
            names=names,
            rows=rows,
            source=JoinedSource(
                tuple(part.source for part in parts),
                np.repeat(np.arange(len(parts)), lengths),
                np.concatenate([part.positions for part in parts]),
            ),
            positions=np.arange(sum(lengths)),
            side=side,
            sized=same and all(part.sized for part in parts),
            known_hashes=np.concatenate([part.known_hashes for part in parts]) if hashed else None,
            valence_arousal=joined_affect(parts),
        )

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 [N, side, side]: every image, decoded once and kept.

        Raises:
            DataError: one cannot be decoded.
        """
        images, damaged = self.decoded
        for row, reason in damaged.items():
            raise DataError(
                f"{self.name} image {self.describe(row)} cannot be used: {reason}. Replace or "
                "delete it, or let `neurogaze-fast prepare shards` leave out "
                "whatever is damaged."
            )
        return images

    @cached_property
    def decoded(self) -> tuple[np.ndarray, dict[int, str]]:
        """(uint8 [N, side, side], row -> why it cannot be used: its image is black).

        Raises:
            DataError: more are damaged than :data:`BAD_SHARE` allows.
        """
        images = np.zeros((len(self), self.side, self.side), np.uint8)

        def decode(row: int) -> str | None:
            try:
                images[row] = self.decode(row)
            except CorruptImage as cause:
                return str(cause)
            return None

        with ThreadPoolExecutor(usable_cores().usable) as pool:
            reasons = list(pool.map(decode, range(len(self))))
        damaged = {row: reason for row, reason in enumerate(reasons) if reason is not None}
        refuse_many_damaged(
            [f"{self.describe(row)}: {reason}" for row, reason in damaged.items()],
            len(self),
            f"{self.name} images",
        )
        return images, damaged

    def usable(self) -> tuple[EncodedSplit, dict[int, str]]:
        """See :meth:`~neurogaze_fast.faces.faceset.FaceRows.usable`; decodes every image."""
        images, damaged = self.decoded
        if not damaged:
            return self, {}
        good = np.delete(np.arange(len(self)), list(damaged))
        part = self.subset(good)
        part.__dict__["images"] = images[good]  # already decoded
        return part, damaged

    @cached_property
    def pixel_hashes(self) -> np.ndarray:
        """V16 [N]: of the decoded pixels, as they were recorded or else decoded in their own size.

        An image that cannot be decoded equals no other.
        """
        if self.known_hashes is not None:
            return self.known_hashes

        def pixels(row: int) -> np.ndarray | None:
            try:
                return self._decode(row, None)
            except CorruptImage:
                return None

        return self._hashes(pixels)

    @cached_property
    def content_hashes(self) -> np.ndarray:
        """V16 [N]: of the pixels where they were recorded, else of the encoded bytes."""
        if self.known_hashes is not None:
            return self.known_hashes

        def content(row: int) -> np.ndarray | None:
            try:
                return self.read(row)
            except OSError:
                return None

        return self._hashes(content)

    def _hashes(self, of: Callable[[int], np.ndarray | None]) -> np.ndarray:
        """V16 [N] of what `of` gives for each row; None, of which training tells, has its own."""

        def digest(row: int) -> bytes:
            data = of(row)
            instead = f"unreadable {self.name} {self.rows[row]}".encode()
            return hash_image(instead if data is None else data)

        with ThreadPoolExecutor(usable_cores().usable) as pool:
            return np.array(list(pool.map(digest, range(len(self)))), dtype="V16")

    def add_to(self, digest: hashlib._Hash) -> None:
        """Name, size, image names, hashes and votes."""
        digest.update(f"{self.name} encoded {len(self)} {self.side}\n".encode())
        # File names need not be valid Unicode.
        digest.update("\n".join(map(str, self.names)).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(self.content_hashes).tobytes())
        digest.update(np.ascontiguousarray(self.votes).data)
        self._add_affect(digest)


def refuse_many_damaged(named: Sequence[str], total: int, what: str) -> None:
    """Refuse a set of which more images are damaged than a few that can be left out.

    Args:
        named: Each damaged image with its reason; `total`: how many images there are; `what`: what
            they are, for the error.

    Raises:
        DataError: more than :data:`BAD_SHARE` (and more than one), or all of them.
    """
    if not named or (len(named) <= max(1, BAD_SHARE * total) and len(named) < total):
        return
    raise DataError(
        f"{len(named)} of the {total} {what} cannot be used: {'; '.join(named[:3])}. Up to "
        f"{BAD_SHARE:.1%} would be left out; more means that something happened to the set: "
        "restore it, or leave out what is damaged with `neurogaze-fast prepare shards`."
    )
