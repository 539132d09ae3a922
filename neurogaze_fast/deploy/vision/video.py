"""Videos in and out: frames as pixels."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from types import TracebackType

import numpy as np

from neurogaze_fast.deploy.vision.ffmpeg import (
    ffmpeg,
    header_rate,
    probe,
    reading,
    reading_address,
    start,
    url,
    without_passwords,
)
from neurogaze_fast.errors import NeurogazeError
from neurogaze_fast.pictures import MAX_PIXELS, CorruptImage

# Pixels that are not square are made so, by the width; a ratio that no video has is damage.
_SQUARE = f"scale=w='if(between(sar,0.2,5)*lte(iw*sar*ih,{MAX_PIXELS}),max(2,iw*sar),iw)':h=ih"

_QUOTE = "'\\''"
"""A quote inside a quoted name of ffmpeg's lists."""


class CopyError(NeurogazeError):
    """An annotated copy cannot be written; the message is the reason in a few words."""


class VideoReader:
    """The frames of a video, upright and with square pixels, `fps` of them for each second.

    Where its own frames are unevenly spaced, as phones and screen recorders write them, some are
    given twice and some not at all, so that frame i is always the one seen at i / fps seconds.
    """

    def __init__(self, path: Path) -> None:
        """Read it once through without decoding, then its first frame.

        Raises:
            CorruptImage: ffmpeg finds no video in it, or its frames are too large.
            ConfigError: imageio-ffmpeg is not installed.
        """
        self._path, self._probe = Path(path), probe(path)
        self.fps = self._probe.fps
        self.width, self.height = self._size()
        self.expected = max(1, round(self._probe.expected_s * self.fps))
        """Frames that there should be."""
        self.trouble = ""
        """Why reading ended early, or ''."""

    def _size(self) -> tuple[int, int]:
        from PIL import Image

        command = [*reading(self._path), "-map", "0:V:0", "-vf", _SQUARE, "-frames:v", "1"]
        command += ["-f", "image2pipe", "-c:v", "ppm", "-"]
        with start(command, stdout=subprocess.PIPE) as process:
            data = process.communicate()[0]
        try:
            with Image.open(io.BytesIO(data), formats=("PPM",)) as image:
                return image.size
        except (OSError, ValueError, Image.DecompressionBombError) as cause:
            raise CorruptImage("no video that ffmpeg can read") from cause

    def __iter__(self) -> Generator[np.ndarray, None, None]:
        """uint8 [H, W, 3] RGB, frame by frame; ends early where the file is damaged."""
        size, read = self.width * self.height * 3, 0
        # A later change of size is undone; -r: else frames come at another rate than was found.
        command = [*reading(self._path), "-map", "0:V:0", "-r", repr(self.fps)]
        command += ["-vf", f"scale={self.width}:{self.height}", "-pix_fmt", "rgb24"]
        command += ["-f", "image2pipe", "-c:v", "rawvideo", "-"]
        with start(command, stdout=subprocess.PIPE) as process:
            try:
                pipe = process.stdout
                while pipe is not None and len(data := pipe.read(size)) == size:
                    yield np.frombuffer(data, np.uint8).reshape(self.height, self.width, 3)
                    read += 1
            finally:
                process.kill()  # it has ended, unless nobody wants the rest
        if read < self.expected - max(2, self.fps / 2):
            self.trouble = f"it breaks off after {read} of {self.expected} frames"
        elif self._probe.cut:
            self.trouble = f"it breaks off after {read} frames"


class StreamReader:
    """The frames of an address, as they come: a camera's stream, or a video on a server.

    It is opened once and read once; its frame rate is what its header says.
    """

    expected: int | None = None
    """Nobody knows."""

    def __init__(self, address: str) -> None:
        """Open it, and wait for its first frame.

        Raises:
            CorruptImage: it cannot be opened, or there is no video in it.
            ConfigError: imageio-ffmpeg is not installed.
        """
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (until the reader is done)
        command = [*reading_address(address), "-map", "0:V:0", "-vf", _SQUARE]
        command += ["-f", "image2pipe", "-c:v", "ppm", "-"]
        self._process = start(command, stdout=subprocess.PIPE, stderr=self._said.fileno())
        first = self._read()
        text = self._text()
        if first is None:
            self.close()
            lines = [line for line in text.splitlines() if "rror" in line or "refused" in line]
            why = without_passwords(lines[-1]) if lines else "no video that ffmpeg can read"
            raise CorruptImage(f"it cannot be opened ({why.strip()})")
        self._first = first
        self.height, self.width = first.shape[:2]
        self.fps = header_rate(text)
        self.trouble = ""

    def _text(self) -> str:
        self._said.seek(0)
        return self._said.read(100_000).decode("utf-8", "replace")

    def _read(self) -> np.ndarray | None:
        """One frame of the pipe, with its own size."""
        pipe = self._process.stdout
        if pipe is None or pipe.readline() != b"P6\n":
            return None
        width, height = map(int, pipe.readline().split())
        pipe.readline()
        data = pipe.read(width * height * 3)
        if len(data) < width * height * 3:
            return None
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def __iter__(self) -> Generator[np.ndarray, None, None]:
        """uint8 [H, W, 3] RGB, frame by frame, until it ends."""
        try:
            frame: np.ndarray | None = self._first
            while frame is not None and frame.shape == self._first.shape:
                yield frame
                frame = self._read()
            if frame is not None:
                self.trouble = "its frames became of another size, which ended it"
        finally:
            self.close()

    def close(self) -> None:
        """Leave it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()


class VideoWriter:
    """An H.264 video of RGB frames, without sound; complete or not there at all."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = Path(path), fps
        # Of its own, for a long name with more added is too long.
        self._part = self._path.with_name(f".part-{os.getpid()}{self._path.suffix}")
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: CopyError | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (until the process has ended)
        self.frames = 0

    def write(self, image: np.ndarray) -> None:
        """Add uint8 [H, W, 3]; all frames are as large as the first.

        Where ffmpeg does not take them (a full disk, sides that H.264 cannot have), it is said at
        the end, so that whoever writes can go on with the rest of the work.
        """
        if self._failed is not None:
            return
        try:
            if self._process is None:
                self._process = self._start(*image.shape[:2])
            if self._process.stdin is not None:
                self._process.stdin.write(np.ascontiguousarray(image).data)
        except OSError as cause:
            self._failed = self._error(cause)
        self.frames += 1

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        command = [
            *(ffmpeg(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"),
            *("-s", f"{width}x{height}", "-r", repr(self._fps), "-i", "pipe:0"),
            *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-crf", "15"),
            # Players want even sides; 'faststart' lets a page play it while it loads.
            *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-movflags", "+faststart", url(self._part)),
        ]
        return start(command, stdin=subprocess.PIPE, stderr=self._said.fileno())

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file. What was written before an interruption plays, so it is kept.

        Raises:
            CopyError: it could not be finished.
        """
        process = self._process
        try:
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):  # its exit status says it
                    process.stdin.close()
                if process.wait() == 0:
                    os.replace(self._part, self._path)
                else:
                    self._failed = self._failed or self._error()
        except OSError as cause:
            self._failed = self._error(cause)
        finally:
            self._said.close()
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)
        if self._failed is not None and kind is None:
            raise self._failed

    def _error(self, cause: OSError | None = None) -> CopyError:
        why = cause.strerror if cause is not None else ""
        if self._process is not None:  # what ffmpeg said is the better reason
            self._process.wait()
            self._said.seek(0)
            why = self._said.read(10_000).decode("utf-8", "replace").partition("\n")[0] or why
        return CopyError(f"its annotated copy cannot be written ({why})")


def join_pieces(pieces: list[Path], path: Path) -> None:
    """One video of several that :class:`VideoWriter` wrote, without encoding anything again.

    Raises:
        CopyError: ffmpeg cannot write it.
    """
    part = path.with_name(f".part-{os.getpid()}{path.suffix}")
    listed = "".join(f"file '{str(p.resolve()).replace(chr(39), _QUOTE)}'\n" for p in pieces)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(listed)
        file.flush()
        command = [*(ffmpeg(), "-y", "-v", "error", "-f", "concat", "-safe", "0"), "-i", file.name]
        command += ["-c", "copy", "-movflags", "+faststart", url(part)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    try:
        if done.returncode:
            why = done.stderr.partition("\n")[0]
            raise CopyError(f"its annotated copy cannot be put together ({why})")
        os.replace(part, path)
    except OSError as cause:
        raise CopyError(f"its annotated copy cannot be written ({cause.strerror})") from cause
    finally:
        part.unlink(missing_ok=True)
