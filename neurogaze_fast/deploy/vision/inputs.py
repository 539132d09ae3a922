"""What predict was given, file by file, and pictures as pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurogaze_fast.pictures import MAX_PIXELS, SUFFIXES, CorruptImage, decode_rgb

VIDEOS = tuple(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .ts .3gp .ogv".split())


@dataclass(frozen=True)
class Input:
    """One file to look at."""

    path: Path
    video: bool
    name: Path
    """Where its annotated copy goes, below the output folder."""


@dataclass(frozen=True)
class Skipped:
    """A file that was not looked at."""

    path: Path
    reason: str


def find_inputs(paths: Sequence[Path], out: Path | None) -> tuple[list[Input], list[Skipped]]:
    """The files to look at in the order given (folders by name), and what is neither.

    A file that is named itself is taken for a picture unless its name is a video's; in a folder the
    ending decides. The output folder and hidden files are passed over, and no name is given twice.
    """
    found: list[Input] = []
    skipped: list[Skipped] = []
    taken: set[str] = set()
    seen: set[Path] = set()
    for given in map(Path, paths):
        if not given.exists():
            skipped.append(Skipped(given, "there is no such file or folder"))
            continue
        for path, name in _files(given, out):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            suffix = path.suffix.lower()
            if given.is_dir() and suffix not in SUFFIXES + VIDEOS:
                skipped.append(Skipped(path, "no picture or video by its name"))
                continue
            video = suffix in VIDEOS
            found.append(Input(path, video, _free_name(name, video, taken)))
    return found, skipped


def _files(given: Path, out: Path | None) -> Iterator[tuple[Path, Path]]:
    """(file, its name below the output folder) of a file or of everything in a folder."""
    if not given.is_dir():
        yield given, Path(given.name)
        return
    root = Path(given.resolve().name)
    inside = None if out is None else out.resolve()
    for folder, folders, files in os.walk(given):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (Path(folder) / name).resolve() != inside
        )
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(folder) / name
                yield path, root / path.relative_to(given)


def _free_name(name: Path, video: bool, taken: set[str]) -> Path:
    """The annotated copy's name: JPEG stays JPEG, other pictures become PNG, videos MP4."""
    suffix = name.suffix.lower()
    written = (
        ".mp4" if video else ".jpg" if suffix in (".jpg", ".jpeg", ".jpe", ".jfif") else ".png"
    )
    stem = name.with_suffix("") if suffix == written else name
    number, free = 1, stem.with_name(stem.name + written)
    while str(free).casefold() in taken:
        number += 1
        free = stem.with_name(f"{stem.name}-{number}{written}")
    taken.add(str(free).casefold())
    return free


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """uint8 [H, W, 3] RGB of a picture file (see :func:`neurogaze_fast.pictures.decode_rgb`).

    Raises:
        CorruptImage: unreadable, no picture, too large, cut short, or damaged.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as cause:
        raise CorruptImage(f"it cannot be read ({cause.strerror})") from cause
    return decode_rgb(data, max_pixels=max_pixels)
