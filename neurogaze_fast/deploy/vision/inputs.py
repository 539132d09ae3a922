"""What predict was given, file by file, and pictures as pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurogaze_fast.pictures import MAX_PIXELS, SUFFIXES, CorruptImage, decode_rgb

VIDEOS = tuple(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .ts .3gp .ogv".split())
NAME_BYTES = 255
"""Bytes of a file's name at most, on every usual file system."""


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
    seen: set[str] = set()
    for given in map(Path, paths):
        if not os.path.exists(given):  # unlike Path's, false for a name that is too long
            skipped.append(Skipped(given, "there is no such file or folder"))
            continue
        in_folder = given.is_dir()
        for path, name in _files(given, out, skipped):
            real = os.path.realpath(path)  # unlike Path's, no error for links in a circle
            if real in seen:
                continue
            seen.add(real)
            suffix = path.suffix.lower()
            if in_folder and suffix not in SUFFIXES + VIDEOS:
                skipped.append(Skipped(path, "no picture or video by its name"))
                continue
            if in_folder and not path.is_file():  # reading a pipe would wait for ever
                skipped.append(Skipped(path, "no file, or a link to none"))
                continue
            video = suffix in VIDEOS
            found.append(Input(path, video, _free_name(name, video, taken)))
    return found, skipped


def _files(given: Path, out: Path | None, skipped: list[Skipped]) -> Iterator[tuple[Path, Path]]:
    """(file, its name below the output folder) of a file or of everything in a folder."""
    if not given.is_dir():
        yield given, Path(given.name)
        return
    root = Path(given.resolve().name)
    inside = None if out is None else out.resolve()

    def note(cause: OSError) -> None:
        reason = f"this folder cannot be read ({cause.strerror})"
        skipped.append(Skipped(Path(cause.filename), reason))

    for folder, folders, files in os.walk(given, onerror=note):
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
    """The annotated copy's name: JPEG stays JPEG, other pictures become PNG, videos MP4; shortened
    where it would be longer than names can be."""
    suffix = name.suffix.lower()
    written = (
        ".mp4" if video else ".jpg" if suffix in (".jpg", ".jpeg", ".jpe", ".jfif") else ".png"
    )
    stem = name.stem if suffix == written else name.name
    number, free = 1, _short(name, stem, written)
    while str(free).casefold() in taken:
        number += 1
        free = _short(name, stem, f"-{number}{written}")
    taken.add(str(free).casefold())
    return free


def _short(name: Path, stem: str, tail: str) -> Path:
    while len(os.fsencode(stem + tail)) > NAME_BYTES:
        stem = stem[:-1]
    return name.with_name(stem + tail)


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
