"""From the words of the command line to a face set."""

from __future__ import annotations

import os
from pathlib import Path

from neurogaze_fast.errors import ConfigError, OutputExistsError
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.ferplus import read_ferplus
from neurogaze_fast.faces.folder import is_folder_set, read_folder
from neurogaze_fast.faces.shards import is_shard_set, read_shards
from neurogaze_fast.faces.synthetic import SYNTHETIC_MARKER, write_demo_faces

_WANTED = {
    "ferplus": "the folder with fer2013.csv and fer2013new.csv (or the FER2013Train/Valid/Test "
    "folders)",
    "folder": "the folder that holds train/happiness/*.jpg and so on",
    "shards": "the folder that `python -m neurogaze_fast.prepare shards` wrote",
}


def load_faces(kind: str | None, data: Path | None, side: int | None = None) -> FaceSet:
    """Read a face set; without `data`, draw the demo set once into the cache and read that.

    Args:
        kind: ferplus, folder, shards or demo; by default told from what lies in `data`.
        side: Side that the images of a folder are brought to (other kinds have their own).

    Raises:
        ConfigError: a kind that needs --data without it. DataError, ArtifactError: the set cannot
            be read.
    """
    kind = kind or (recognised(data) if data else "demo")
    if kind != "demo" and data is None:
        raise ConfigError(f"--faces {kind} needs --data DIR, {_WANTED[kind]}.")
    if kind == "shards":
        return read_shards(data)
    if kind == "folder":
        return read_folder(data, side)
    if kind == "ferplus":
        return read_ferplus(data)
    folder = data or demo_folder()
    if not (folder / SYNTHETIC_MARKER).exists():
        _draw(folder)
    return read_ferplus(folder)


def recognised(data: Path) -> str:
    """The kind of set that lies in `data`; ferplus, whose reader says what it misses, if none."""
    if is_shard_set(data):
        return "shards"
    return "folder" if is_folder_set(data) else "ferplus"


def _draw(folder: Path) -> None:
    try:
        write_demo_faces(folder)
    except (OSError, OutputExistsError) as cause:
        if (folder / SYNTHETIC_MARKER).exists():
            return  # another process drew them meanwhile
        if isinstance(cause, OutputExistsError):
            raise
        raise ConfigError(
            f"The demo faces cannot be written to {folder} ({cause.strerror}). Set NEUROGAZE_CACHE "
            "to a folder that can be written."
        ) from cause


def demo_folder() -> Path:
    """Where the demo set is kept between runs: the user's cache folder, by package version."""
    from neurogaze_fast import __version__

    cache = os.environ.get("NEUROGAZE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "neurogaze_fast"
    )
    return Path(cache) / f"demo-faces-{__version__}"
