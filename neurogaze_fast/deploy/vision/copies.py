"""The annotated copy of a video, of a long one piece by piece, so that an end costs one piece."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from neurogaze_fast.artifacts import sha256_bytes
from neurogaze_fast.deploy.vision.resume import PIECES
from neurogaze_fast.deploy.vision.video import CopyError, VideoWriter, join_pieces


class PiecedCopy:
    """Writes OUT/NAME; where `pieced`, as files of their own, which are joined at the end.

    At an interruption they are joined, too, and kept, so that the work can go on after the last one
    that was complete.
    """

    def __init__(self, out: Path, name: Path, fps: float, first: int, pieced: bool) -> None:
        """`first`: number of the piece to begin with; those before it must be there."""
        self._path, self._fps, self._number, self._pieced = out / name, fps, first, pieced
        self._folder = out / PIECES / sha256_bytes(str(name).encode(errors="surrogateescape"))[:16]
        if pieced and not first:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._failed: CopyError | None = None
        self._writer = self._open()

    def _piece(self, number: int) -> Path:
        return self._folder / f"{number:06d}.mp4"

    def _open(self) -> VideoWriter:
        return VideoWriter(self._piece(self._number) if self._pieced else self._path, self._fps)

    def write(self, image: np.ndarray) -> None:
        """Add uint8 [H, W, 3]; see :class:`VideoWriter`."""
        self._writer.write(image)

    def next_piece(self) -> None:
        """What was written so far is complete; where it cannot be written, the end says so."""
        try:
            self._writer.__exit__(None, None, None)
        except CopyError as reason:
            self._failed = self._failed or reason
        self._number += 1
        self._writer = self._open()

    def __enter__(self) -> PiecedCopy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)
        if self._failed is not None and kind is None:
            raise self._failed
        if not self._pieced or self._failed is not None:
            return
        numbers = range(self._number + 1)
        pieces = [self._piece(number) for number in numbers if self._piece(number).exists()]
        try:
            if pieces:
                join_pieces(pieces, self._path)
        except CopyError:
            if kind is None:
                raise
        if kind is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):
                self._folder.parent.rmdir()  # if no other video has pieces
