"""Topographic maps of many windows with their labels: a folder of verified files.

FOLDER/maps-00000.safetensors, -00001, ... hold at most 4096 windows each, FOLDER/maps.json the
names, the provenance and the SHA-256 of every shard; each has its manifest beside it (see
artifacts.py). A missing or altered one of any is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
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
from neurogaze_fast.errors import ArtifactError, OutputExistsError

KIND = "EEG map set"
INDEX_FILE = "maps.json"
SHARD_WINDOWS = 4096
FLAGS = {"interpolated": 1, "blink": 2, "no_baseline": 4}
"""Bits of a window's `flags`. interpolated: at least one channel of its trial was bad and was
replaced; blink: the front of the head moves as in a blink; no_baseline: corrected by its trial's
own mean, for want of a recording before the clip."""
_ROWS = {
    "maps": np.float16,
    "power": np.float32,
    "valence": np.float32,
    "arousal": np.float32,
    "subject": np.int64,
    "trial": np.int64,
    "start": np.float32,
    "flags": np.uint8,
}


_INDEX = {
    "windows": int,
    "shape": list,
    "subjects": list,
    "names": list,
    "bands": list,
    "flags": dict,
    "shards": list,
    "provenance": dict,
}
_SHARD = {"file": str, "windows": int, "sha256": str}


@dataclass(frozen=True, eq=False)
class MapSet:
    """N windows: F bands, C sites, maps of H x W pixels (row 0 is the back of the head)."""

    maps: np.ndarray
    """float16 [N, F, H, W]: `power` interpolated over the head, 0 outside it."""
    power: np.ndarray
    """float32 [N, F, C]: baseline-corrected log band power, z-scored by subject, band and site."""
    valence: np.ndarray
    """float32 [N] on [-1, 1]; NaN: unlabelled."""
    arousal: np.ndarray
    """float32 [N] on [-1, 1]; NaN where valence is."""
    subject: np.ndarray
    """int64 [N]: index into `subjects`; every split is made by it."""
    trial: np.ndarray
    """int64 [N]: number of the trial over the whole set; windows of one clip share it."""
    start: np.ndarray
    """float32 [N]: seconds into the clip."""
    flags: np.ndarray
    """uint8 [N]: quality, bits of :data:`FLAGS`."""
    subjects: tuple[str, ...]
    """Such as "dreamer-01"."""
    names: tuple[str, ...]
    """The C sites, 10-20 names."""
    bands: tuple[str, ...]
    """The F bands."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What it was made from (a JSON object); ``synthetic`` says whether without real EEG."""
    sha256: str = ""
    """Hash of the index it was loaded from, which covers every shard; empty otherwise."""

    def __post_init__(self) -> None:
        count = len(self.maps)
        shapes = {
            "maps": (count, len(self.bands), *self.maps.shape[2:4]),
            "power": (count, len(self.bands), len(self.names)),
        }
        for name, dtype in _ROWS.items():
            value, shape = getattr(self, name), shapes.get(name, (count,))
            if value.dtype != dtype or value.shape != shape:
                raise ArtifactError(
                    f"The map set's {name} are {value.dtype} {value.shape}, expected "
                    f"{np.dtype(dtype)} {shape}. Prepare the maps again."
                )
        if self.maps.ndim != 4:
            raise ArtifactError(
                f"Maps are [windows, bands, rows, columns], found {self.maps.shape}. Prepare the "
                "maps again."
            )
        problem = self._problem()
        if problem:
            raise ArtifactError(f"The map set is damaged: {problem}. Prepare the maps again.")

    def _problem(self) -> str | None:
        """What is wrong with the values, if anything."""
        for name in ("maps", "power", "start"):
            if not np.isfinite(getattr(self, name)).all():
                return f"{name} holds a value that is not finite"
        if not np.array_equal(np.isnan(self.valence), np.isnan(self.arousal)):
            return "a window has one of valence and arousal without the other"
        for name in ("valence", "arousal"):
            rated = getattr(self, name)[self.labelled]
            if (np.abs(rated) > 1).any():
                return f"{name} {rated[np.abs(rated) > 1][0]:g} lies outside [-1, 1]"
        if len(self) == 0:
            return None
        if self.subject.min() < 0 or self.subject.max() >= len(self.subjects):
            return f"a subject index lies outside the {len(self.subjects)} subjects"
        order = np.argsort(self.trial, kind="stable")
        same_trial = np.diff(self.trial[order]) == 0
        if (np.diff(self.subject[order])[same_trial] != 0).any():
            return "two subjects share a trial"
        return None

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def labelled(self) -> np.ndarray:
        """bool [N]: windows with ratings."""
        return ~np.isnan(self.valence)

    @property
    def synthetic(self) -> bool:
        """Whether any of it was made without real EEG."""
        return bool(self.provenance.get("synthetic", False))

    def rows(self, index: np.ndarray | slice) -> MapSet:
        """The windows that `index` (numbers, bool [N] or slice) picks; `subjects` stays whole."""
        picked = {name: getattr(self, name)[index] for name in _ROWS}
        return replace(self, **picked, sha256="")

    def save(self, folder: Path) -> str:
        """Write the shards and, last, the index; return the index's SHA-256.

        Raises:
            OutputExistsError: the folder is there and holds something; it is left alone.
        """
        from safetensors.numpy import save

        folder = Path(folder)
        refuse_existing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        brief = {"kind": KIND, "synthetic": self.synthetic}
        shards = []
        for number, first in enumerate(range(0, len(self), SHARD_WINDOWS)):
            part = slice(first, min(first + SHARD_WINDOWS, len(self)))
            tensors = {name: np.ascontiguousarray(getattr(self, name)[part]) for name in _ROWS}
            file = f"maps-{number:05d}.safetensors"
            digest = write_artifact(folder / file, save(tensors), brief | {"shard": number})
            shards.append({"file": file, "windows": part.stop - part.start, "sha256": digest})
        index = {
            "kind": KIND,
            "windows": len(self),
            "shape": list(self.maps.shape[1:]),
            "subjects": list(self.subjects),
            "names": list(self.names),
            "bands": list(self.bands),
            "flags": FLAGS,
            "shards": shards,
            "provenance": self.provenance | {"synthetic": self.synthetic},
        }
        return write_artifact(folder / INDEX_FILE, canonical_json(index), brief)

    @classmethod
    def load(cls, folder: Path) -> MapSet:
        """Verify and read a map set.

        Args:
            folder: the one given to `save`, or one that holds it as ``maps`` (the output of
                ``prepare eeg``).

        Raises:
            ArtifactError: a file is missing, altered, malformed or belongs to another set.
        """
        folder = Path(folder)
        if not (folder / INDEX_FILE).exists() and (folder / "maps" / INDEX_FILE).exists():
            folder = folder / "maps"
        path = folder / INDEX_FILE
        data, brief = verified_open(path)
        if brief.get("kind") != KIND:
            raise ArtifactError(f"{path} is a {brief.get('kind', 'file')!r}, not an {KIND}.")
        try:
            index = json.loads(data)
        except (ValueError, RecursionError) as cause:
            raise ArtifactError(f"{path} is no JSON ({cause}). Prepare the maps again.") from cause
        check_fields(index, _INDEX, path)
        named = [*index["subjects"], *index["names"], *index["bands"]]
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
        if index["flags"] != FLAGS:
            raise ArtifactError(
                f"{path} has the quality flags {index['flags']}, this version uses {FLAGS}. "
                "Prepare the maps again."
            )
        columns: dict[str, np.ndarray] = {}
        first = 0
        for shard in index["shards"]:
            tensors = _read_shard(folder / shard["file"], shard)
            if not columns:
                columns = {
                    name: np.empty((index["windows"], *value.shape[1:]), value.dtype)
                    for name, value in tensors.items()
                }
            for name, value in tensors.items():
                if value.shape[1:] != columns[name].shape[1:] or value.dtype != _ROWS[name]:
                    raise ArtifactError(
                        f"{folder / shard['file']} holds {name} of {value.dtype} "
                        f"{value.shape[1:]}, unlike the shards before it. Prepare the maps again."
                    )
                columns[name][first : first + len(value)] = value
            first += shard["windows"]
        if not columns:
            columns = _no_rows(index)
        words = {name: tuple(index[name]) for name in ("subjects", "names", "bands")}
        fields: dict[str, Any] = {**columns, **words}
        return cls(
            **fields,
            provenance=index["provenance"],
            sha256=sha256_bytes(data),
        )


def refuse_existing(folder: Path) -> None:
    """Raise where `folder` is a file or holds anything.

    Raises:
        OutputExistsError: it does.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputExistsError(f"{folder} exists and was left alone: choose another name.")


def _read_shard(path: Path, entry: dict[str, Any]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if path.name != entry["file"]:
        raise ArtifactError(f"{INDEX_FILE} names {entry['file']!r}, which lies elsewhere.")
    data, _ = verified_open(path)
    if sha256_bytes(data) != entry["sha256"]:
        raise ArtifactError(
            f"{path} is intact but belongs to another map set than {INDEX_FILE} beside it: the "
            "folders were mixed up. Restore the original files or prepare the maps again."
        )
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as cause:
        raise ArtifactError(f"{path} is no safetensors file ({cause}). Prepare again.") from cause
    if sorted(tensors) != sorted(_ROWS) or {len(v) if v.ndim else -1 for v in tensors.values()} != {
        entry["windows"]
    }:
        raise ArtifactError(
            f"{path} holds {sorted(tensors)} of {[v.shape[:1] for v in tensors.values()]} windows, "
            f"expected {sorted(_ROWS)} of {entry['windows']}. Prepare the maps again."
        )
    return tensors


def _no_rows(index: dict[str, Any]) -> dict[str, np.ndarray]:
    shapes = {"maps": index["shape"], "power": [len(index["bands"]), len(index["names"])]}
    return {name: np.empty((0, *shapes.get(name, [])), dtype) for name, dtype in _ROWS.items()}
