"""Shards: an encoded face set in a few large files.

    DIR/train-000000.tar    WebDataset: 000000000.jpg (or .png) and 000000000.json with votes, name
    DIR/train-000001.tar    and row, then 000000001...; any tar program and other loaders read it
    DIR/train.npz           where each image lies in them, its votes, name, row and hash
    DIR/index.json          what there is, with the SHA-256 of every file and of itself

Tars are mapped into memory, so a set of any size opens at once and processes share its pages.
"""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import canonical_json, check_fields, sha256_bytes, sha256_file, unseal
from neurogaze_fast.errors import ArtifactError
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.faceset import SPLITS, FaceSet

KIND = "neurogaze_fast face shards"
VERSION = 1
INDEX_FILE = "index.json"
COLUMNS = ("shards", "offsets", "lengths", "votes", "names", "rows", "hashes")
AFFECT = "valence_arousal"
"""A further column, where the set has it."""
_FIELDS = {
    "splits": dict,
    "synthetic": bool,
    "left_out": dict,
    "official_split": bool,
    "mapping": dict,
    "notes?": list,
}
_SPLIT = {"rows": int, "side": int, "shards": list, "table": {"file": str, "bytes": int}}
LARGEST_SIDE = 4096


class ShardSource:
    """Images in mapped tars: an :class:`~neurogaze_fast.faces.encoded.EncodedSource`."""

    def __init__(
        self, files: list[Path], shards: np.ndarray, offsets: np.ndarray, lengths: np.ndarray
    ) -> None:
        """Image i: `lengths[i]` bytes of ``files[shards[i]]`` from `offsets[i]` on, int64 [N]."""
        self._files = files
        self._shards, self._offsets, self._lengths = shards, offsets, lengths
        self._maps: dict[int, np.ndarray] = {}

    def read(self, position: int) -> np.ndarray:
        """uint8 [n]: a view of the map."""
        shard, offset = int(self._shards[position]), int(self._offsets[position])
        if shard not in self._maps:
            self._maps[shard] = np.asarray(np.memmap(self._files[shard], np.uint8, mode="r"))
        return self._maps[shard][offset : offset + int(self._lengths[position])]

    def where(self, position: int) -> str:
        """The tar's path."""
        return str(self._files[int(self._shards[position])])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # a map would travel as a copy of the file


def is_shard_set(data: Path) -> bool:
    """Whether `data` holds an index of shards."""
    return (Path(data) / INDEX_FILE).is_file()


def read_shards(folder: Path, *, verify: bool = True) -> FaceSet:
    """Open the shards that :func:`~neurogaze_fast.faces.write_shards.write_shards` wrote.

    Args:
        verify: Compare every shard's SHA-256, for which all of them are read once: about a second
            for each gigabyte on a fast disk. Without it only their sizes are compared.

    Raises:
        ArtifactError: a file is missing, altered or cut short.
    """
    folder = Path(folder)
    index = read_index(folder)
    check_fields(index, _FIELDS, folder / INDEX_FILE)
    left_out = dict.fromkeys(index["left_out"], dict)
    check_fields(index["left_out"], left_out, folder / INDEX_FILE, within="left_out")
    try:
        entries = index["splits"]
        splits = {
            name: _open_split(folder, name, entries[name], verify)
            for name in SPLITS
            if name in entries
        }
        return FaceSet(
            splits,
            str(folder),
            "shards",
            synthetic=index["synthetic"],
            left_out=index["left_out"],
            official_split=index["official_split"],
            mapping=index["mapping"],
            notes=list(index.get("notes", [])),
        )
    except (LookupError, TypeError, AttributeError, ValueError) as cause:
        raise ArtifactError(
            f"{folder / INDEX_FILE} was written by another program ({cause!r} is wrong). Make the "
            "shards again."
        ) from cause


def read_index(folder: Path) -> dict[str, Any]:
    """The verified index.

    Raises:
        ArtifactError: missing, altered, or of another kind or version.
    """
    path = Path(folder) / INDEX_FILE
    try:
        raw = path.read_bytes()
    except OSError as cause:
        raise ArtifactError(
            f"{path} cannot be read ({cause.strerror}). Point --data at the folder that "
            "`neurogaze-fast prepare shards` wrote."
        ) from cause
    try:
        sealed = json.loads(raw)
        if canonical_json(sealed) != raw:
            raise ValueError("its bytes differ from what was written")
        index = unseal(sealed)
    except (ValueError, TypeError, AttributeError, RecursionError) as cause:
        raise ArtifactError(
            f"{path} was altered or damaged ({cause}): restore it from a copy or make the shards "
            "again."
        ) from cause
    if index.get("kind") != KIND or index.get("version") != VERSION:
        raise ArtifactError(
            f"{path} says {index.get('kind')!r}, version {index.get('version')!r}; this version "
            f"reads {KIND!r}, version {VERSION}: use the version of neurogaze_fast that wrote it."
        )
    return index


def _open_split(folder: Path, name: str, entry: dict[str, Any], verify: bool) -> EncodedSplit:
    path = folder / INDEX_FILE
    check_fields(entry, _SPLIT, path, within=f"splits.{name}")
    if not 1 <= entry["side"] <= LARGEST_SIDE:
        raise ArtifactError(f"{path} says {name} images have a side of {entry['side']} pixels.")
    files = [_inside(folder, shard["file"]) for shard in entry["shards"]]
    for path, shard in zip(files, entry["shards"], strict=True):
        _check_size(path, shard["bytes"])
    if verify:
        with ThreadPoolExecutor() as pool:
            for path, shard, digest in zip(
                files, entry["shards"], pool.map(sha256_file, files), strict=True
            ):
                _check_hash(path, digest, shard["sha256"])
    table_path = _inside(folder, entry["table"]["file"])
    _check_size(table_path, entry["table"]["bytes"])
    raw = table_path.read_bytes()
    _check_hash(table_path, sha256_bytes(raw), entry["table"]["sha256"])
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as table:
            columns = {column: table[column] for column in COLUMNS}
            affect = table[AFFECT] if AFFECT in table.files else None
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as cause:
        raise ArtifactError(f"{table_path} is no table of images ({cause}).") from cause
    count = len(columns["rows"])
    if entry["rows"] != count:
        raise ArtifactError(
            f"{path} says {entry['rows']} rows of {name}, {table_path.name} has {count}. Make the "
            "shards again."
        )
    _check_columns(table_path, columns, [shard["bytes"] for shard in entry["shards"]])
    return EncodedSplit(
        name=name,
        votes=columns["votes"],
        names=columns["names"],
        rows=columns["rows"],
        source=ShardSource(files, columns["shards"], columns["offsets"], columns["lengths"]),
        positions=np.arange(count),
        side=entry["side"],
        sized=True,
        known_hashes=columns["hashes"].view("V16").reshape(count),
        valence_arousal=affect,
    )


def _check_columns(path: Path, columns: dict[str, np.ndarray], sizes: list[int]) -> None:
    """Refuse a table whose columns do not describe images that lie in its shards."""
    count = len(columns["rows"])
    for name, array in columns.items():
        kind = "U" if name == "names" else "u" if name in ("votes", "hashes") else "i"
        shape = (count, *{"votes": (10,), "hashes": (16,)}.get(name, ()))
        if array.shape != shape or array.dtype.kind != kind:
            raise ArtifactError(
                f"{path} has a column {name} of {array.dtype} {list(array.shape)} for {count} "
                f"images, expected {list(shape)}. Make the shards again."
            )
    shards, offsets, lengths = (columns[name] for name in COLUMNS[:3])
    inside = (shards >= 0) & (shards < len(sizes)) & (offsets >= 0) & (lengths >= 0)
    ends = np.array([*sizes, 0])[np.where(inside, shards, len(sizes))]
    outside = np.flatnonzero(~inside | (lengths > ends - offsets))
    if len(outside):
        raise ArtifactError(
            f"{path} places {len(outside)} images outside their shards, such as that of row "
            f"{columns['rows'][outside[0]]}. Make the shards again."
        )


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ArtifactError(f"{folder / INDEX_FILE} names {name!r}, which lies outside its folder.")
    return folder / name


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as cause:
        raise ArtifactError(
            f"{path} cannot be read ({cause.strerror}), but {INDEX_FILE} names it: copy the folder "
            "whole."
        ) from cause
    if found != size:
        raise ArtifactError(
            f"{path} has {found} bytes, {INDEX_FILE} says {size}: it was cut short or altered. "
            "Restore it from a copy or make the shards again."
        )


def _check_hash(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise ArtifactError(
            f"{path} is not the file {INDEX_FILE} describes: its SHA-256 is {found[:16]}..., "
            f"expected {wanted[:16]}.... It was altered or damaged; restore it from a copy or "
            "make the shards again."
        )
