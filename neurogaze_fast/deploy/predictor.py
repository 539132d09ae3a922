"""Faces of any size and form to expressions: what predict, serve and other programs call."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from neurogaze_fast.deploy.face import Face, faces_of
from neurogaze_fast.deploy.shipped import open_model
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.pictures import CorruptImage, decode_grey

Image = np.ndarray | str | PathLike
Prediction = Face


class Predictor:
    """A model behind an engine, for faces that were already cut out."""

    def __init__(
        self,
        path: Path | None = None,
        engine: str = "auto",
        *,
        precision: str | None = None,
        threads: int = 0,
        strict: bool = False,
        batch: int = 64,
    ) -> None:
        """Open a model, by default the one inside the package; arguments and errors as
        :func:`open_engine`. `batch`: faces that are read and brought to size at a time.

        Raises:
            ConfigError: `batch` is below 1.
        """
        if batch < 1:
            raise ConfigError(f"A batch of {batch} faces cannot be computed; it must be 1 or more.")
        self.engine = open_model(
            None if path is None else Path(path),
            engine, precision=precision, threads=threads, strict=strict,
        )  # fmt: skip
        self.batch = batch

    def predict(self, images: Image | Sequence[Image]) -> Face | list[Face]:
        """Expressions of one face, or of many.

        Args:
            images: one face as uint8 [H, W], uint8 [H, W, 3] in RGB order, or the name of a JPEG or
                PNG file; or many: uint8 [N, H, W, 3], or a list of these, of any sizes.

        Returns:
            A Face for one, a list of them for many.

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
        for start in range(0, len(faces), self.batch):
            size = self.engine.input_size
            part = faces[start : start + self.batch]
            prepared = np.stack([_face(face, size, start + i) for i, face in enumerate(part)])
            found += faces_of(*self.engine.run(prepared))
        return found[0] if single else found

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
