"""What predict was given, file by file, and pictures as pixels."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from neurogaze_fast.pictures import MAX_PIXELS, SUFFIXES, CorruptImage, decode_rgb

VIDEOS = tuple(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .ts .3gp .ogv".split())
NAME_BYTES = 255
"""Bytes of a file's name at most, on every usual file system."""
SCHEMES = ("http", "https", "rtsp", "rtsps")
DOWNLOAD_BYTES, DOWNLOAD_S = 64_000_000, 20.0
"""A picture at an address may have so many bytes, and each answer may take so long."""


@dataclass(frozen=True)
class Input:
    """One file to look at, or one address."""

    path: Path
    video: bool
    name: Path
    """Where its annotated copy goes, below the output folder."""
    address: str | None = None
    """In place of the path, which only is what is shown then."""

    @property
    def source(self) -> str:
        """What the results call it; of an address without a password that it may hold."""
        return str(self.path) if self.address is None else without_password(self.address)


@dataclass(frozen=True)
class Skipped:
    """A file that was not looked at."""

    path: Path
    reason: str


def find_inputs(paths: Sequence[Path | str], out: Path | None) -> tuple[list[Input], list[Skipped]]:
    """What to look at in the order given (folders by name), and what is neither.

    Given are files, folders, patterns (``shots/*.jpg``, ``**`` for subfolders; a file of that very
    name comes first) and addresses (http, https, rtsp). An address is a picture where it ends in a
    picture's name, else a video or stream.

    A file that is named itself is taken for a picture unless its name is a video's; in a folder the
    ending decides. The output folder and hidden files are passed over, and no name is given twice.
    """
    found: list[Input] = []
    skipped: list[Skipped] = []
    taken: set[str] = set()
    seen: set[str] = set()
    for word in paths:
        if is_address(word):
            found.append(_address(str(word), taken))
            continue
        for given in _matches(Path(word)):
            _take(given, out, found, skipped, taken, seen)
    return found, skipped


def _take(
    given: Path, out: Path | None, found: list[Input], skipped: list[Skipped], taken: set[str],
    seen: set[str],
) -> None:  # fmt: skip
    """One file, or all of a folder."""
    if not os.path.exists(given):  # unlike Path's, false for a name that is too long
        pattern = " that fits" if glob.has_magic(str(given)) else ""
        skipped.append(Skipped(given, f"there is no such file or folder{pattern}"))
        return
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


def is_address(word: object) -> bool:
    """Whether it begins as an address does."""
    return isinstance(word, str) and word.partition("://")[0].lower() in SCHEMES


def without_password(address: str) -> str:
    """An address as it may be shown and written down."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host))


def _address(address: str, taken: set[str]) -> Input:
    shown, parts = without_password(address), urlsplit(address)
    last = Path(parts.path).name or parts.hostname or "stream"
    name = Path(re.sub(r"[^\w.-]", "_", last))
    video = name.suffix.lower() not in SUFFIXES
    return Input(Path(shown), video, _free_name(name, video, taken), address)


def _matches(given: Path) -> list[Path]:
    if os.path.exists(given) or not glob.has_magic(str(given)):
        return [given]
    return sorted(map(Path, glob.glob(str(given), recursive=True))) or [given]


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


def read_picture(path: Path | str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """uint8 [H, W, 3] RGB of a picture file or address (see
    :func:`neurogaze_fast.pictures.decode_rgb`).

    Raises:
        CorruptImage: unreadable, no picture, too large, cut short, or damaged.
    """
    if is_address(path):
        return decode_rgb(_download(str(path)), max_pixels=max_pixels)
    try:
        data = Path(path).read_bytes()
    except OSError as cause:
        raise CorruptImage(f"it cannot be read ({cause.strerror})") from cause
    return decode_rgb(data, max_pixels=max_pixels)


def _download(address: str) -> bytes:
    import urllib.request
    from http.client import HTTPException

    try:
        with urllib.request.urlopen(address, timeout=DOWNLOAD_S) as answer:
            data = answer.read(DOWNLOAD_BYTES + 1)
    except (OSError, ValueError, HTTPException) as cause:
        raise CorruptImage(f"it cannot be fetched ({getattr(cause, 'reason', cause)})") from cause
    if len(data) > DOWNLOAD_BYTES:
        raise CorruptImage(f"it is larger than {DOWNLOAD_BYTES // 1_000_000} MB")
    return data
