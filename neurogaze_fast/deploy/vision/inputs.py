"""What predict was given, file by file, and pictures as pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.faces.decode import DAMAGE, MAX_PIXELS, CorruptImage, to_grey, upright

if TYPE_CHECKING:
    from PIL import Image

PICTURES = tuple(".jpg .jpeg .jpe .jfif .png .webp .bmp .tif .tiff .gif .avif".split())
VIDEOS = tuple(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .ts .3gp .ogv".split())
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""What Pillow may take a file for (a phone's MPO is a JPEG to it). Its rarer readers are no loss,
and have had most of the bugs."""


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
            if given.is_dir() and suffix not in PICTURES + VIDEOS:
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
    """uint8 [H, W, 3] RGB of a picture file, upright by its EXIF orientation.

    Of an animation the first picture. Transparency is ignored, grey becomes three equal channels
    and 16 bits become 8, as in :func:`neurogaze_fast.faces.decode.decode_grey`.

    Raises:
        CorruptImage: unreadable, no picture, too large, cut short, or damaged.
    """
    from PIL import Image

    try:
        data = Path(path).read_bytes()
    except OSError as cause:
        raise CorruptImage(f"it cannot be read ({cause.strerror})") from cause
    if not data:
        raise CorruptImage("the file is empty")
    Image.init()  # a Pillow built without one of the formats does not know its name
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise CorruptImage(
                    f"{width} x {height} pixels, more than {max_pixels / 1e6:g} million"
                )
            image.load()
            return upright_rgb(image)
    except CorruptImage:
        raise
    except Image.UnidentifiedImageError as cause:
        raise CorruptImage("no picture that can be read") from cause
    except Image.DecompressionBombError as cause:
        raise CorruptImage(f"more than {max_pixels / 1e6:g} million pixels") from cause
    except DAMAGE as cause:
        raise CorruptImage(str(cause) or type(cause).__name__) from cause


def upright_rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of an image that was loaded, turned as its EXIF orientation says.

    Transparency is ignored, grey becomes three equal channels, 16 bits become 8.
    """
    image = upright(image)
    if image.mode.startswith("I"):
        return np.repeat(np.asarray(to_grey(image))[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))
