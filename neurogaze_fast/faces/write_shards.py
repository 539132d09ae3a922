"""Write a face set as shards (the layout is shards.py's)."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import (
    atomic_write,
    canonical_json,
    fsync_folder,
    seal,
    sha256_bytes,
    sha256_file,
)
from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import DataError, OutputExistsError
from neurogaze_fast.faces.decode import encode_grey, plausible
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.faceset import FaceRows, FaceSet, hash_image
from neurogaze_fast.faces.shards import AFFECT, COLUMNS, INDEX_FILE, KIND, VERSION
from neurogaze_fast.pictures import CorruptImage, decode_grey, picture_size

SHARD_BYTES = 256 * 10**6
_BLOCK = 512
"""Rows worked on at a time."""
_HEADER = 512
"""Bytes of a tar member's header."""

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class _Image:
    data: bytes
    extension: str
    digest: bytes


def write_shards(
    faces: FaceSet,
    out: Path,
    *,
    side: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Write `faces` into the new folder `out`; return its index.

    Sets in memory become PNG. JPEGs and usual PNGs keep their bytes, unless they have to be
    resized: then a JPEG becomes a grey JPEG of quality 95. All else becomes grey PNGs. Every image
    is decoded once; those that cannot be are left out, counted under ``left_out`` and named under
    ``damaged``.
    The same set gives the same bytes. `out` is complete or absent: it is written beside its place
    and moved there in one step.

    Args:
        side: Bring every image to side x side pixels. Without it they must all have one size.
        shard_bytes: A shard is closed before it would exceed this.
        progress: Called with (split, rows done, rows in all).

    Raises:
        OutputExistsError: `out` is there already.
        DataError: images differ in size, are not square, or none of a split can be used.
    """
    out = Path(out).resolve()
    refuse_existing(out)
    side = side or _common_side(faces)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        index = _write_splits(faces, temporary, side, shard_bytes, progress)
        atomic_write(temporary / INDEX_FILE, canonical_json(seal(index)))
        refuse_existing(out)  # another process may have been quicker
        os.replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(out.parent)
    return index


def _write_splits(
    faces: FaceSet, folder: Path, side: int, shard_bytes: int, progress: Progress
) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    left_out: dict[str, dict[str, int]] = {}
    damaged: list[dict[str, Any]] = []
    for name, split in faces.splits.items():
        reasons: Counter[str] = Counter(faces.left_out.get(name, {}))
        writer = _ShardWriter(folder, name, shard_bytes)
        kept = []
        with writer:
            for row, image in _images(split, side, progress):
                if isinstance(image, _Image):
                    writer.add(image, split, row)
                    kept.append(row)
                    continue
                # Details such as a count of bytes would make a reason of their own for each image.
                reasons[re.sub(r"\s*\(.*\)|[:\d].*", "", image).strip() or "damaged"] += 1
                damaged.append({"split": name, "name": str(split.names[row]), "reason": image})
        if not kept:
            raise DataError(
                f"None of the {len(split)} {name} images of {faces.source} can be used, such as "
                f"{damaged[-1]['name']}: {damaged[-1]['reason']}."
            )
        table = writer.table(split, np.array(kept))
        (folder / f"{name}.npz").write_bytes(table)
        splits[name] = {
            "rows": len(kept),
            "side": side,
            "shards": writer.shards,
            "table": {
                "file": f"{name}.npz",
                "bytes": len(table),
                "sha256": sha256_bytes(table),
            },
        }
        left_out[name] = dict(reasons)
    return {
        "kind": KIND,
        "version": VERSION,
        "source": {"layout": faces.layout, "name": Path(faces.source).name},
        "synthetic": faces.synthetic,
        "official_split": faces.official_split,
        "mapping": faces.mapping,
        "splits": splits,
        "left_out": left_out,
        "damaged": damaged,
        **({"notes": faces.notes} if faces.notes else {}),
    }


class _ShardWriter:
    """Tars of one split, one after the other."""

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder, self._split, self._limit = folder, split, shard_bytes
        self._tar: tarfile.TarFile | None = None
        self._places: list[tuple[int, int, int]] = []
        self._digests: list[bytes] = []
        self.shards: list[dict[str, Any]] = []

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        self._close()

    def add(self, image: _Image, split: FaceRows, row: int) -> None:
        """Append an image and its json."""
        metadata = {
            "name": str(split.names[row]),
            "row": int(split.rows[row]),
            "votes": split.votes[row].tolist(),
        }
        note = canonical_json(metadata)
        if self._tar and self._tar.offset + len(image.data) + len(note) > self._limit:
            self._close()
        if self._tar is None:
            self._path = self._folder / f"{self._split}-{len(self.shards):06d}.tar"
            self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        key = f"{len(self._places):09d}"
        self._places.append((len(self.shards), self._tar.offset + _HEADER, len(image.data)))
        self._digests.append(image.digest)
        for name, data in ((f"{key}.{image.extension}", image.data), (f"{key}.json", note)):
            member = tarfile.TarInfo(name)  # no time, no owner
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))

    def table(self, split: FaceRows, kept: np.ndarray) -> bytes:
        """The npz of all that was added, from the rows `kept`."""
        shards, offsets, lengths = np.array(self._places, np.int64).T
        hashes = np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 16)
        votes, names, rows = split.votes[kept], split.names[kept], split.rows[kept]
        columns = (shards, offsets, lengths, votes, names, np.asarray(rows, np.int64), hashes)
        named = dict(zip(COLUMNS, columns, strict=True))
        if split.valence_arousal is not None:
            named[AFFECT] = split.valence_arousal[kept]
        file = io.BytesIO()
        np.savez_compressed(file, **named)
        return file.getvalue()

    def _close(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        self._tar = None
        with open(self._path, "rb") as file:
            os.fsync(file.fileno())
        facts = {"bytes": self._path.stat().st_size, "sha256": sha256_file(self._path)}
        self.shards.append({"file": self._path.name, **facts})


def _images(split: FaceRows, side: int, progress: Progress) -> Iterator[tuple[int, _Image | str]]:
    """(row, what to store or why it is left out) of every row, in order."""

    def prepare(row: int) -> _Image | str:
        try:
            return _prepare(_encoded(split, row), side)
        except CorruptImage as cause:
            return str(cause)
        except OSError as cause:
            return f"cannot be read: {cause.strerror}"

    with ThreadPoolExecutor(usable_cores().usable) as pool:
        for start in range(0, len(split), _BLOCK):
            block = range(start, min(start + _BLOCK, len(split)))
            yield from zip(block, pool.map(prepare, block), strict=True)
            progress(split.name, block.stop, len(split))


def _encoded(split: FaceRows, row: int) -> bytes:
    if isinstance(split, EncodedSplit):
        return split.read(row).tobytes()
    return encode_grey(split.images[row], "PNG")


def _prepare(data: bytes, side: int) -> _Image:
    grey = decode_grey(data, side)
    if not grey.any():
        raise CorruptImage("all-zero image")
    jpeg = data.startswith(b"\xff\xd8")
    usual = jpeg or plausible(np.frombuffer(data, np.uint8))
    if picture_size(data) != (side, side) or not usual:
        data = encode_grey(grey, "JPEG" if jpeg else "PNG")
        grey = decode_grey(data, side)
    return _Image(data, "jpg" if jpeg else "png", hash_image(grey))


def _common_side(faces: FaceSet) -> int:
    """The one side of every image, by their headers."""
    sizes: Counter[tuple[int, int]] = Counter()
    for split in faces.splits.values():
        if not isinstance(split, EncodedSplit):
            height, width = split.images.shape[1:]
            sizes[width, height] += len(split)
            continue

        def header(row: int, split: EncodedSplit = split) -> tuple[int, int] | None:
            try:
                return picture_size(split.read(row))
            except OSError:
                return None  # counted where it is decoded

        with ThreadPoolExecutor(usable_cores().usable) as pool:
            sizes.update(size for size in pool.map(header, range(len(split))) if size)
    (width, height), _ = sizes.most_common(1)[0] if sizes else ((0, 0), 0)
    if len(sizes) == 1 and width == height:
        return width
    found = ", ".join(f"{w} x {h} ({count})" for (w, h), count in sizes.most_common(8))
    raise DataError(
        f"The images of {faces.source} are not all of one square size: found "
        f"{found or 'none that is readable'}{' and others' if len(sizes) > 8 else ''}. Give --side "
        "N to resize them to N x N pixels."
    )


def refuse_existing(out: Path) -> None:
    """Raise where `out` is a file or holds anything.

    Raises:
        OutputExistsError: it does.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputExistsError(
            f"{out} already exists and is not an empty folder; nothing was written. Remove it, or "
            "name another folder."
        )
