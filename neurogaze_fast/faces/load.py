"""From the words of the command line to a face set."""

from __future__ import annotations

from pathlib import Path

from neurogaze_fast.errors import ConfigError, OutputExistsError
from neurogaze_fast.faces.affectnet import is_affectnet, read_affectnet
from neurogaze_fast.faces.ckplus import is_ckplus, read_ckplus
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.ferplus import FOLDERS, read_ferplus
from neurogaze_fast.faces.folder import has_split_folders, is_folder_set, read_folder
from neurogaze_fast.faces.manifest import is_manifest, read_face_manifest
from neurogaze_fast.faces.shards import is_shard_set, read_shards
from neurogaze_fast.faces.synthetic import SYNTHETIC_MARKER, write_demo_faces
from neurogaze_fast.footprint import cache_folder

_WANTED = {
    "ferplus": "the folder with fer2013.csv and fer2013new.csv (or the FER2013Train/Valid/Test "
    "folders)",
    "affectnet": "the folder with training.csv and validation.csv, with train_set and val_set, or "
    "with class folders such as val/1/*.jpg",
    "ckplus": "the folder with cohn-kanade-images and Emotion, or with anger/S010_004_00000017.png "
    "and so on",
    "manifest": "the csv file with the columns image_path and label_name, or its folder",
    "folder": "the folder that holds train/happiness/*.jpg and so on",
    "shards": "the folder that `neurogaze-fast prepare shards` wrote",
}

WITH_TABLES = ("manifest", "affectnet", "ckplus")
"""Kinds whose images a table lists, which may list one twice."""


def load_faces(
    kind: str | None,
    data: Path | None,
    side: int | None = None,
    *,
    neutral_frames: bool = False,
    on_conflict: str | None = None,
) -> FaceSet:
    """Read a face set; without `data`, draw the demo set once into the cache and read that.

    Args:
        kind: ferplus, affectnet, ckplus, manifest, folder, shards or demo; by default told from
            what lies in `data`.
        side: Side that image files are brought to (FERPlus, the demo set and shards have their
            own).
        neutral_frames: Read the first frame of every CK+ sequence as neutral.
        on_conflict: Of images that a table lists with different labels: ``drop`` or keep the
            ``first``; without it such a table is refused.

    Raises:
        ConfigError: a kind that needs --data without it, or an option of another kind. DataError,
            ArtifactError: the set cannot be read.
    """
    kind = kind or (recognised(data) if data else "demo")
    if data is None:
        if kind != "demo":
            raise ConfigError(f"--faces {kind} needs --data DIR, {_WANTED[kind]}.")
        data = demo_folder()
    if neutral_frames and kind != "ckplus":
        raise ConfigError(f"--neutral-frames is for --faces ckplus, not {kind}. Leave it out.")
    if on_conflict is not None and kind not in WITH_TABLES:
        raise ConfigError(
            f"--on-conflict is for --faces {', '.join(WITH_TABLES)}, not {kind}. Leave it out."
        )
    if kind == "manifest":
        return read_face_manifest(data, side, on_conflict=on_conflict)
    if kind == "affectnet":
        return read_affectnet(data, side, on_conflict=on_conflict)
    if kind == "ckplus":
        return read_ckplus(data, side, neutral_frames=neutral_frames, on_conflict=on_conflict)
    if kind == "folder":
        return read_folder(data, side)
    if kind == "shards":
        return read_shards(data)
    if kind == "demo" and not (data / SYNTHETIC_MARKER).exists():
        _draw(data)
    return read_ferplus(data)


def recognised(data: Path) -> str:
    """The kind of set that lies in `data`; ferplus, whose reader says what it misses, if none.

    Class folders below train or valid are a plain folder set, whoever's images they hold; numbered
    ones mean something else in every data set, so that --faces must say whose they are.
    """
    tests = (
        ("shards", is_shard_set),
        ("ferplus", _is_ferplus),
        ("folder", has_split_folders),
        ("ckplus", is_ckplus),
        ("affectnet", is_affectnet),
        ("manifest", is_manifest),
        ("folder", is_folder_set),
    )
    return next((kind for kind, test in tests if test(data)), "ferplus")


def _is_ferplus(data: Path) -> bool:
    names = ("fer2013.csv", *FOLDERS.values())
    return any((Path(data) / name).exists() for name in names)


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

    return cache_folder() / f"demo-faces-{__version__}"
