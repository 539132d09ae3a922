"""Videos in and out, through the ffmpeg that the package imageio-ffmpeg brings."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.pictures import MAX_PIXELS, CorruptImage

_TROUBLE = (OSError, RuntimeError, ValueError, IndexError, KeyError, StopIteration)
"""What imageio-ffmpeg raises on files that ffmpeg cannot read."""


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as cause:
        raise ConfigError(
            "Reading and writing videos needs imageio-ffmpeg. Install it with: pip install "
            "'neurogaze_fast[vision]'."
        ) from cause
    return imageio_ffmpeg


def _exact(fps: float) -> float:
    """NTSC's rates, which ffmpeg reports rounded: 29.97 is 30000 / 1001."""
    ntsc = round(fps) / 1.001
    return ntsc if fps % 1 and fps == round(ntsc, 2) else fps


class VideoReader:
    """The frames of a video, upright, `fps` of them for each second it lasts.

    Where its own frames are unevenly spaced, as phones and screen recorders write them, some are
    given twice and some not at all, so that frame i is always the one seen at i / fps seconds.
    """

    def __init__(self, path: Path) -> None:
        """Open it and read its first frame.

        Raises:
            CorruptImage: ffmpeg finds no video in it, or its frames are too large.
            ConfigError: imageio-ffmpeg is not installed.
        """
        ffmpeg = _ffmpeg()
        self._frames: Generator[Any, None, None] = ffmpeg.read_frames(os.fspath(path))
        try:
            facts = next(self._frames)
            self.width, self.height = facts["size"]
            self.fps = _exact(float(facts["fps"]))
            duration = float(facts.get("duration") or 0)
            if self.width * self.height > MAX_PIXELS:
                raise CorruptImage(f"frames of {self.width} x {self.height} pixels")
            if not self.fps > 0:
                raise CorruptImage("it says no frame rate")
            # Unless told, ffmpeg gives the frames at another rate than the one it reports.
            self._frames.close()
            self._frames = ffmpeg.read_frames(
                os.fspath(path), pix_fmt="rgb24", output_params=["-r", repr(self.fps)]
            )
            next(self._frames)
            self._first = next(self._frames)
        except CorruptImage:
            self._frames.close()
            raise
        except _TROUBLE as cause:
            self._frames.close()
            raise CorruptImage("no video that ffmpeg can read") from cause
        self.expected = max(1, round(duration * self.fps)) if duration > 0 else None
        """Frames by its header; None where it does not say."""
        self.trouble = ""
        """Why reading ended early, or ''."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3] RGB, frame by frame; ends early where the file is damaged."""
        shape = (self.height, self.width, 3)
        data, read = self._first, 0
        try:
            while data is not None:
                yield np.frombuffer(data, np.uint8).reshape(shape)
                read += 1
                data = next(self._frames, None)
        except _TROUBLE as cause:
            lines = str(cause).strip().splitlines()
            self.trouble = f"it breaks off after {read} frames ({(lines or ['damaged'])[0]})"
        finally:
            self._frames.close()
        # Half a second is what headers and streams commonly differ by.
        if not self.trouble and self.expected and read < self.expected - max(2, self.fps / 2):
            self.trouble = f"it breaks off after {read} of {self.expected} frames"


class VideoWriter:
    """An H.264 video of RGB frames, without sound; complete or not there at all."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = Path(path), fps
        self._part = self._path.with_name(f".{self._path.stem}.part{self._path.suffix}")
        self._pipe: Generator[None, Any, None] | None = None
        self.frames = 0

    def write(self, image: np.ndarray) -> None:
        """Add uint8 [H, W, 3]; all frames are as large as the first."""
        if self._pipe is None:
            height, width = image.shape[:2]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._pipe = _ffmpeg().write_frames(
                os.fspath(self._part), (width, height), fps=self._fps, codec="libx264", quality=7,
                pix_fmt_in="rgb24", pix_fmt_out="yuv420p", macro_block_size=1,
                # Players want even sides; 'faststart' lets a page play it while it loads.
                output_params=["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-movflags", "+faststart"],
            )  # fmt: skip
            self._pipe.send(None)
        self._pipe.send(np.ascontiguousarray(image))
        self.frames += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file. What was written before an interruption plays, so it is kept."""
        if self._pipe is None:
            return
        try:
            self._pipe.close()
            os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)
