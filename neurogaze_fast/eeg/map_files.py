"""The files of a map set.

FOLDER/maps-00000.safetensors, -00001, ... hold at most 4096 windows each,
FOLDER/subjects.safetensors each subject's scale and the sites' positions, FOLDER/maps.json the
names, the provenance and the SHA-256 of all of them; each has its manifest beside it (see
artifacts.py). A missing or altered one of any is refused.

Sets written by earlier versions have no clips, no scales and no positions; they are read, and their
:class:`~neurogaze_fast.eeg.maps.MapSet` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import (
    canonical_json,
    check_fields,
    sha256_bytes,
    verified_open,
    write_artifact,
)
from neurogaze_fast.eeg.maps import FLAGS, OPTIONAL_ROWS, ROWS, MapSet
from neurogaze_fast.errors import ArtifactError, OutputExistsError

KIND = "EEG map set"
INDEX_FILE = "maps.json"
SUBJECTS_FILE = "subjects.safetensors"
SHARD_WINDOWS = 4096
_TABLES = ("level", "spread", "positions")

_INDEX = {
    "windows": int,
    "shape": list,
    "subjects": list,
    "names": list,
    "bands": list,
    "flags": dict,
    "shards": list,
    "provenance": dict,
    "clips?": list,
    "tables?": str,
}
_SHARD = {"file": str, "windows": int, "sha256": str}


def save_maps(maps: MapSet, folder: Path) -> str:
    """Write `maps` to `folder`; return the index's SHA-256.

    Raises:
        OutputExistsError: the folder is there and holds something; it is left alone.
    """
    writer = MapWriter(folder, synthetic=maps.synthetic)
    named = [name for name in (*ROWS, *OPTIONAL_ROWS) if getattr(maps, name) is not None]
    for first in range(0, len(maps), SHARD_WINDOWS):
        part = slice(first, first + SHARD_WINDOWS)
        writer.add({name: getattr(maps, name)[part] for name in named})
    return writer.finish(maps)


class MapWriter:
    """Writes a map set shard by shard, so that no more than one has to be in memory."""

    def __init__(self, folder: Path, *, synthetic: bool) -> None:
        """Make the folder.

        Raises:
            OutputExistsError: it is there and holds something; it is left alone.
        """
        self.folder = Path(folder)
        refuse_existing(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._brief = {"kind": KIND, "synthetic": synthetic}
        self._shards: list[dict[str, Any]] = []

    def add(self, columns: dict[str, np.ndarray]) -> None:
        """Write one shard of at most SHARD_WINDOWS windows."""
        from safetensors.numpy import save

        number = len(self._shards)
        tensors = {name: np.ascontiguousarray(value) for name, value in columns.items()}
        file = f"maps-{number:05d}.safetensors"
        brief = self._brief | {"shard": number}
        digest = write_artifact(self.folder / file, save(tensors), brief)
        self._shards.append({"file": file, "windows": len(columns["maps"]), "sha256": digest})

    def finish(self, maps: MapSet) -> str:
        """Write what belongs to the whole set, and last the index; return its SHA-256.

        Args:
            maps: for its names, tables and provenance; its windows are not looked at.
        """
        from safetensors.numpy import save

        index = {
            "kind": KIND,
            "windows": sum(shard["windows"] for shard in self._shards),
            "shape": list(maps.maps.shape[1:]),
            "subjects": list(maps.subjects),
            "names": list(maps.names),
            "bands": list(maps.bands),
            "clips": list(maps.clips),
            "flags": FLAGS,
            "shards": self._shards,
            "provenance": maps.provenance | {"synthetic": maps.synthetic},
        }
        tables = {name: getattr(maps, name) for name in _TABLES if getattr(maps, name) is not None}
        if tables:
            packed = {name: np.ascontiguousarray(value) for name, value in tables.items()}
            index["tables"] = write_artifact(
                self.folder / SUBJECTS_FILE, save(packed), self._brief | {"shard": "subjects"}
            )
        return write_artifact(self.folder / INDEX_FILE, canonical_json(index), self._brief)


def load_maps(folder: Path) -> MapSet:
    """Verify and read a map set; see :meth:`MapSet.load`."""
    folder = Path(folder)
    if not (folder / INDEX_FILE).exists() and (folder / "maps" / INDEX_FILE).exists():
        folder = folder / "maps"
    index, digest = _index(folder / INDEX_FILE)
    columns: dict[str, np.ndarray] = {}
    for first, shard, tensors in _shards(folder, index["shards"]):
        if not columns:
            columns = {
                name: np.empty((index["windows"], *value.shape[1:]), value.dtype)
                for name, value in tensors.items()
            }
        alike = tensors.keys() == columns.keys()
        for name, value in tensors.items():
            dtype = (ROWS | OPTIONAL_ROWS)[name]
            if not alike or value.shape[1:] != columns[name].shape[1:] or value.dtype != dtype:
                raise ArtifactError(
                    f"{folder / shard['file']} holds {name} of {value.dtype} "
                    f"{value.shape[1:]}, unlike the shards before it. Prepare the maps again."
                )
            columns[name][first : first + len(value)] = value
    if not columns:
        columns = _no_rows(index)
    words = {name: tuple(index.get(name) or ()) for name in ("subjects", "names", "bands", "clips")}
    tables = _tables(folder / SUBJECTS_FILE, index["tables"]) if index.get("tables") else {}
    fields: dict[str, Any] = {**columns, **words, **tables}
    return MapSet(**fields, provenance=index["provenance"], sha256=digest)


def refuse_existing(folder: Path) -> None:
    """Raise where `folder` is a file or holds anything.

    Raises:
        OutputExistsError: it does.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputExistsError(f"{folder} exists and was left alone: choose another name.")


def _index(path: Path) -> tuple[dict[str, Any], str]:
    data, brief = verified_open(path)
    if brief.get("kind") != KIND:
        raise ArtifactError(f"{path} is a {brief.get('kind', 'file')!r}, not an {KIND}.")
    try:
        index = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise ArtifactError(f"{path} is no JSON ({cause}). Prepare the maps again.") from cause
    check_fields(index, _INDEX, path)
    named = [*index["subjects"], *index["names"], *index["bands"], *(index.get("clips") or ())]
    if not all(isinstance(name, str) for name in named):
        raise ArtifactError(f"{path} has a name that is no text. Prepare the maps again.")
    for shard in index["shards"]:
        check_fields(shard, _SHARD, path, within="shards")
    held = sum(shard["windows"] for shard in index["shards"])
    if held != index["windows"]:
        raise ArtifactError(
            f"{path} says {index['windows']} windows, its shards hold {held}. Prepare the "
            "maps again."
        )
    # An earlier version may know fewer flags, but none of another meaning.
    if not index["flags"].items() <= FLAGS.items():
        raise ArtifactError(
            f"{path} has the quality flags {index['flags']}, this version uses {FLAGS}. "
            "Prepare the maps again."
        )
    return index, sha256_bytes(data)


def _shards(
    folder: Path, shards: list[dict[str, Any]]
) -> Iterator[tuple[int, dict[str, Any], dict[str, np.ndarray]]]:
    first = 0
    for shard in shards:
        tensors = _read_shard(folder / shard["file"], shard)
        yield first, shard, tensors
        first += shard["windows"]


def _read_shard(path: Path, entry: dict[str, Any]) -> dict[str, np.ndarray]:
    if path.name != entry["file"]:
        raise ArtifactError(f"{INDEX_FILE} names {entry['file']!r}, which lies elsewhere.")
    tensors = _tensors(path, entry["sha256"])
    named = set(tensors) - set(OPTIONAL_ROWS) == set(ROWS)
    if not named or {len(v) if v.ndim else -1 for v in tensors.values()} != {entry["windows"]}:
        raise ArtifactError(
            f"{path} holds {sorted(tensors)} of {[v.shape[:1] for v in tensors.values()]} windows, "
            f"expected {sorted(ROWS)} of {entry['windows']}. Prepare the maps again."
        )
    return tensors


def _tables(path: Path, sha256: str) -> dict[str, np.ndarray]:
    tables = _tensors(path, sha256)
    if not set(tables) <= set(_TABLES) or any(v.dtype != np.float64 for v in tables.values()):
        raise ArtifactError(f"{path} holds {sorted(tables)}, expected numbers for "
                            f"{', '.join(_TABLES)}. Prepare the maps again.")  # fmt: skip
    return tables


def _tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """The arrays of a file that must be the one the index names."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data, _ = verified_open(path)
    if sha256_bytes(data) != sha256:
        raise ArtifactError(
            f"{path} is intact but belongs to another map set than {INDEX_FILE} beside it: the "
            "folders were mixed up. Restore the original files or prepare the maps again."
        )
    try:
        return load(data)
    except (SafetensorError, ValueError) as cause:
        raise ArtifactError(f"{path} is no safetensors file ({cause}). Prepare again.") from cause


def _no_rows(index: dict[str, Any]) -> dict[str, np.ndarray]:
    shapes = {"maps": index["shape"], "power": [len(index["bands"]), len(index["names"])]}
    return {name: np.empty((0, *shapes.get(name, [])), dtype) for name, dtype in ROWS.items()}
