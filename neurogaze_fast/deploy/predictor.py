"""Faces of any size and form to expressions: what predict, serve and other programs call."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.face import Face, faces_of
from neurogaze_fast.deploy.shipped import open_model
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.pictures import CorruptImage, decode_grey, decode_rgb

if TYPE_CHECKING:
    from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder, Found

Image = np.ndarray | str | PathLike
Prediction = Face
PHOTO_SIDE = 96
"""Pictures whose shorter side has fewer pixels are taken for faces unasked."""
FILLED = 0.6
"""A face that is so long, in the picture's shorter side, is what the picture was cut out for."""


class PhotoWarning(UserWarning):
    """A picture was given where a face was expected; the message says what was made of it."""


class Predictor:
    """A model behind an engine, for faces that were already cut out.

    A whole photo is never silently taken for a face: the surest face in it is answered, and a
    :class:`PhotoWarning` says where there are others, or none. ``neurogaze_fast.analyse`` gives
    all.
    """

    def __init__(
        self,
        path: Path | None = None,
        engine: str = "auto",
        *,
        precision: str | None = None,
        threads: int = 0,
        strict: bool = False,
        batch: int = 64,
        find_faces: bool = True,
    ) -> None:
        """Open a model, by default the one inside the package; arguments and errors as
        :func:`open_engine`.

        Args:
            batch: faces that are read and brought to size at a time.
            find_faces: look for a face in pictures of PHOTO_SIDE pixels and more, but in arrays of
                many; False: what is given is a face, whatever its size.

        Raises:
            ConfigError: `batch` is below 1.
        """
        if batch < 1:
            raise ConfigError(f"A batch of {batch} faces cannot be computed; it must be 1 or more.")
        self.engine = open_model(
            None if path is None else Path(path),
            engine, precision=precision, threads=threads, strict=strict,
        )  # fmt: skip
        self.batch, self._find_faces = batch, find_faces

    @classmethod
    def from_pretrained(
        cls,
        name: str | PathLike | None = None,
        engine: str = "auto",
        *,
        revision: str | None = None,
        precision: str | None = None,
        threads: int = 0,
        strict: bool = False,
        batch: int = 64,
    ) -> Predictor:
        """Open a model by its folder, or by its name on the Hugging Face Hub.

        Args:
            name: a folder that `export --hub` wrote, a run, or OWNER/NAME on the Hub (optional
                package huggingface_hub, and a network the first time); by default the model inside
                the package.
            revision: branch, tag or commit on the Hub.
            engine, precision, threads, strict, batch: as the class takes them.

        Raises:
            CheckpointError: no such folder, and none to be had from the Hub. ConfigError:
            huggingface_hub is needed and not installed. Others as the class.
        """
        path = None
        if name is not None:
            from neurogaze_fast.deploy.pretrained import find_pretrained

            path = find_pretrained(name if isinstance(name, str) else Path(name), revision)
        return cls(path, engine, precision=precision, threads=threads, strict=strict, batch=batch)

    def predict(self, images: Image | Sequence[Image]) -> Face | list[Face]:
        """Expressions of one face, or of many.

        Args:
            images: one face as uint8 [H, W], uint8 [H, W, 3] in RGB order, or the name of a JPEG or
                PNG file; or many: uint8 [N, H, W, 3], or a list of these, of any sizes.

        Returns:
            A Face for one, a list of them for many. It has a box where the picture was a photo in
            which the face was found.

        Raises:
            DataError: an image that is none, or a file that cannot be read; it says which.
        """
        single = False
        faces: list[Image]
        try:
            if isinstance(images, (str, PathLike)):
                single, faces = True, [images]
            elif isinstance(images, np.ndarray):
                single = images.ndim < 4
                faces = [images] if single else list(images)
            else:
                faces = list(images)
        except TypeError as cause:
            raise DataError(
                f"A face must be a uint8 array [H, W] or [H, W, 3] in RGB order, or the name of a "
                f"JPEG or PNG file, and many faces a list of these or uint8 [N, H, W, 3], but this "
                f"is of type {type(images).__name__}. Convert a Pillow image with "
                "`np.asarray(image.convert('RGB'))`."
            ) from cause
        found: list[Face] = []
        # A block of equally large pictures is what some other program cut out.
        look = self._find_faces and not (isinstance(images, np.ndarray) and images.ndim == 4)
        for start in range(0, len(faces), self.batch):
            size = self.engine.input_size
            part = faces[start : start + self.batch]
            prepared = [self._prepare(face, size, start + i, look) for i, face in enumerate(part)]
            answers = self.engine.run(np.stack([crop for crop, _ in prepared]))
            for (_, photo), *answer in zip(prepared, *answers, strict=True):
                probabilities, affect = (output[None] for output in answer)
                where = (None, None) if photo is None else (photo.boxes, photo.qualities)
                found += faces_of(probabilities, affect, *where)
        return found[0] if single else found

    def _prepare(
        self, face: Image, size: int, position: int, look: bool = True
    ) -> tuple[np.ndarray, Found | None]:
        """(uint8 [size, size, 3], where it was found, if it had to be looked for)."""
        photo = _photo(face) if look else None
        found = None if photo is None else _face_in(photo, size, position)
        if found is not None:
            return found.faces[0], found
        return _face(face, size, position), None

    def probabilities(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities float32 [N, 8], valence_arousal float32 [N, 2]) of uint8 [N, S, S, 3]."""
        return self.engine.run(faces)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()


def prepare_face(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size, size, 3] of a face as uint8 [H, W] or [H, W, 3] (RGB).

    The one resize: as pictures.decode_grey brings image files to the side a model trains with,
    by an antialiased triangle filter and without keeping proportions. Grey becomes three equal
    channels; colour stays, and the graph makes the same grey of it.

    Raises:
        DataError: not uint8, another shape, or no pixels.
    """
    from PIL import Image as Pillow

    fits = (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
        and image.size > 0
    )
    if not fits:
        found = getattr(image, "dtype", type(image).__name__)
        raise DataError(
            f"A face must be uint8 [H, W] or [H, W, 3] in RGB order, but is {found} "
            f"{list(getattr(image, 'shape', ()))}. Values on [0, 1] are multiplied by 255 and cast "
            "first; several grey faces go into a list."
        )
    if image.shape[:2] != (size, size):
        picture = Pillow.fromarray(np.ascontiguousarray(image))
        image = np.asarray(picture.resize((size, size), Pillow.Resampling.BILINEAR))
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _photo(face: Image) -> np.ndarray | None:
    """uint8 [H, W, 3] of what is large enough for a photo; None otherwise, or if unreadable."""
    from PIL import Image as Pillow

    if isinstance(face, np.ndarray):
        fits = face.dtype == np.uint8 and face.ndim in (2, 3) and face.shape[2:] in ((), (3,))
        if not fits or min(face.shape[:2]) < PHOTO_SIDE:
            return None
        return face if face.ndim == 3 else np.repeat(face[:, :, None], 3, axis=2)
    if not isinstance(face, (str, PathLike)):
        return None
    try:
        data = Path(face).read_bytes()
        with Pillow.open(io.BytesIO(data)) as picture:
            if min(picture.size) < PHOTO_SIDE:
                return None
        return decode_rgb(data)
    except (OSError, ValueError, Pillow.DecompressionBombError):
        return None  # reading it as a face says why


def _face_in(photo: np.ndarray, size: int, position: int) -> Found | None:
    """The surest face of a photo; None where the picture is one face, or has to be taken for it."""
    from dataclasses import replace

    height, width = photo.shape[:2]
    where = f"Image {position}, {width} x {height} pixels,"
    finder = _finder()
    if finder is None:
        _warn(
            f"{where} was taken for one face as a whole: no face detector is installed. If it is a "
            "photo, install it with pip install 'neurogaze_fast[vision]'."
        )
        return None
    found = finder.find(photo, size)
    if not len(found.boxes):
        _warn(
            f"{where} was taken for one face as a whole, for no face was found in it. If it shows "
            "none, the answer means nothing."
        )
        return None
    left, top, right, bottom = found.boxes[0, :4]
    if max(right - left, bottom - top) >= FILLED * min(height, width):
        return None
    if len(found.boxes) > 1:
        _warn(
            f"{where} shows {len(found.boxes)} faces; the surest one is answered. "
            "neurogaze_fast.analyse gives all of them."
        )
    first = None if found.qualities is None else found.qualities.first()
    return replace(found, boxes=found.boxes[:1], faces=found.faces[:1], qualities=first)


def _warn(text: str) -> None:
    warnings.warn(PhotoWarning(text), stacklevel=5)


@functools.cache
def _finder() -> FaceFinder | None:
    from neurogaze_fast.deploy.vision.faces_in_picture import open_faces

    return open_faces()


def _face(face: Image, size: int, position: int) -> np.ndarray:
    if not isinstance(face, (str, PathLike)):
        try:
            return prepare_face(face, size)
        except DataError as cause:
            raise DataError(f"Image {position}: {cause}") from cause
    try:
        grey = decode_grey(Path(face).read_bytes(), size)
    except OSError as cause:
        raise DataError(f"{face} cannot be read ({cause.strerror}).") from cause
    except CorruptImage as cause:
        raise DataError(f"{face} is no usable picture: {cause}.") from cause
    return prepare_face(grey, size)
