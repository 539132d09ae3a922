"""One call for everything that holds faces: ``neurogaze_fast.analyse(photo)``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.results import COLUMNS, row
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.pictures import CorruptImage

if TYPE_CHECKING:
    import pandas as pd

    from neurogaze_fast.deploy.vision.analyse import Analyser
    from neurogaze_fast.deploy.vision.film import FilmOptions
    from neurogaze_fast.deploy.vision.inputs import Input

Picture = str | PathLike | np.ndarray
_CHUNK = 32


class Faces(list[Face]):
    """Faces in the order they were found: pictures as given, a picture's surest first."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[str, int, float, int]] = []
        """Of each face: source (a file, an address, or `array N`), frame, seconds, its number."""
        self.without_face: list[tuple[str, int, float]] = []
        """Pictures and frames (source, frame, seconds) in which none was found."""
        self.skipped: list[tuple[str, str]] = []
        """Files that could not be read, and why."""
        self.left_out: dict[str, int] = {}
        """Faces that were too small or too many."""

    def add(self, source: str, frame: int, time_s: float, faces: Sequence[Face]) -> None:
        """The faces of one picture or frame."""
        for number, face in enumerate(faces):
            self.append(face)
            self.places.append((source, frame, time_s, number))
        if not faces:
            self.without_face.append((source, frame, time_s))

    def to_rows(self) -> list[dict[str, Any]]:
        """A dictionary for each face, with the columns of predict's table."""
        rows = (row(*place, face) for place, face in zip(self.places, self, strict=True))
        return [{name: values.get(name) for name in COLUMNS} for values in rows]

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each face, with the columns of predict's table.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as cause:
            raise ConfigError(
                "A data frame needs pandas. Install it with: pip install pandas, or take "
                "to_rows(), which is a list of dictionaries."
            ) from cause
        return pandas.DataFrame(self.to_rows(), columns=list(COLUMNS))


def analyse(
    what: Picture | Sequence[Picture],
    *,
    model: str | PathLike | None = None,
    engine: str = "auto",
    detect: bool = True,
    detector: str = "centerface",
    detect_size: int | Literal["auto"] = "auto",
    threads: int = 0,
    uncertain_below: float | None = None,
    every: int = 1,
    smooth: float = 0.3,
) -> Faces:
    """What the faces in pictures and videos express. Nothing is written.

    Models stay open between calls, so that many small calls cost no more than their faces.

    Args:
        what: a picture, a video or a folder of them (a file's name, a pattern or an address), an
            image as uint8 [H, W, 3] in RGB order or [H, W], several as uint8 [N, H, W, 3], or a
            list of all these.
        detect: False: every picture is one face, cut out already.
        model, engine, detector, detect_size, threads, uncertain_below, every, smooth: as the
            options of ``neurogaze-fast predict``.

    Returns:
        The faces, with ``to_dataframe()``; what could not be read is in ``skipped``. All faces of a
        video are in memory: of many hours, let ``neurogaze-fast predict`` write a table.

    Raises:
        DataError: nothing could be read, or an array is no image. ConfigError: a package is
            missing, or an option is out of range. Others as :func:`open_engine`.
    """
    from neurogaze_fast.deploy.vision.analyse import Analyser
    from neurogaze_fast.deploy.vision.film import FilmOptions

    if every < 1:
        raise ConfigError(f"every is {every}; it must be 1 or more.")
    opened = _open(None if model is None else str(model), engine, threads)
    looks = _detector(detector, 0 if detect_size == "auto" else detect_size, threads)
    analyser = Analyser(opened, looks if detect else None, uncertain_below=uncertain_below)
    options = FilmOptions(every=every, smooth_s=smooth)
    faces = Faces()
    items = _items(what, faces)
    looked = False
    for pictures in _in_chunks(items, faces, analyser, options):
        looked = True
        answers = analyser.faces([image for _, image in pictures])
        for (source, _), found in zip(pictures, answers, strict=True):
            faces.add(source, 0, 0.0, found)
    faces.left_out = dict(analyser.left_out)
    if faces.skipped and not looked and not faces.places and not faces.without_face:
        source, reason = faces.skipped[0]
        raise DataError(f"Nothing could be looked at: {source}: {reason}.")
    return faces


def _in_chunks(
    items: Iterator[Input | tuple[str, np.ndarray]],
    faces: Faces,
    analyser: Analyser,
    options: FilmOptions,
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Pictures with their names, some at a time; videos between them are looked at on the way."""
    from neurogaze_fast.deploy.vision.inputs import read_picture

    chunk: list[tuple[str, np.ndarray]] = []
    for item in items:
        video = not isinstance(item, tuple) and item.video
        if chunk and (video or len(chunk) == _CHUNK):
            yield chunk
            chunk = []
        if isinstance(item, tuple):
            chunk.append(item)
            continue
        try:
            if item.video:
                _film(item, faces, analyser, options)
            else:
                chunk.append((item.source, read_picture(item.address or item.path)))
        except CorruptImage as reason:
            faces.skipped.append((item.source, str(reason)))
    if chunk:
        yield chunk


def _film(item: Input, faces: Faces, analyser: Analyser, options: FilmOptions) -> None:
    from neurogaze_fast.deploy.vision.film import watch_film
    from neurogaze_fast.deploy.vision.video import StreamReader, VideoReader

    reader = StreamReader(item.address) if item.address else VideoReader(item.path)
    with contextlib.closing(iter(reader)) as frames:
        film = watch_film(
            enumerate(frames), reader.fps, analyser, options,
            pixels=reader.width * reader.height, draw=False,
        )  # fmt: skip
        with contextlib.closing(film):
            for group in film:
                for shown in group:
                    if shown.looked:
                        at = shown.number / reader.fps
                        faces.add(item.source, shown.number, at, shown.faces)
    if reader.trouble:
        faces.skipped.append((item.source, reader.trouble))


def _items(
    what: Picture | Sequence[Picture], faces: Faces
) -> Iterator[Input | tuple[str, np.ndarray]]:
    from neurogaze_fast.deploy.vision.inputs import find_inputs, is_address

    if isinstance(what, np.ndarray):
        many: Sequence[Picture] = list(what) if what.ndim == 4 else [what]
    elif isinstance(what, (str, PathLike)):
        many = [what]
    else:
        try:
            many = list(what)
        except TypeError as cause:
            raise DataError(
                "A photo, folder or video is given by its name, an image as uint8 [H, W, 3] in RGB "
                f"order, many as a list, but this is of type {type(what).__name__}. Convert a "
                "Pillow image with `np.asarray(image.convert('RGB'))`."
            ) from cause
    for number, one in enumerate(many):
        if isinstance(one, (str, PathLike)):
            word = str(one) if is_address(one) else Path(one)
            found, skipped = find_inputs([word], None)
            faces.skipped += [(str(s.path), s.reason) for s in skipped]
            yield from found
        else:
            yield f"array {number}", _image(one, number)


def _image(image: Any, number: int) -> np.ndarray:
    if (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.size
        and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    ):
        return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    found = getattr(image, "dtype", type(image).__name__)
    raise DataError(
        f"Image {number} must be uint8 [H, W] or [H, W, 3] in RGB order, but is {found} "
        f"{list(getattr(image, 'shape', ()))}. Values on [0, 1] are multiplied by 255 and cast "
        "first; OpenCV's BGR images are reversed with image[:, :, ::-1]."
    )


@functools.lru_cache(2)
def _open(model: str | None, engine: str, threads: int) -> Any:
    from neurogaze_fast.deploy.shipped import find_model, open_model

    return open_model(None if model is None else find_model(Path(model)), engine, threads=threads)


@functools.lru_cache(2)
def _detector(name: str, size: int, threads: int) -> Any:
    from neurogaze_fast.deploy.vision.detect import open_detector

    return open_detector(name, size=size, threads=threads, streams=2)
