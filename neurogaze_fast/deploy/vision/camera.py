"""Predict on a camera: always the newest frame, never a queue of old ones."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.annotate import annotate, label_of
from neurogaze_fast.deploy.vision.files import Summary
from neurogaze_fast.deploy.vision.live import LiveFollower
from neurogaze_fast.deploy.vision.results import ResultFiles
from neurogaze_fast.deploy.vision.video import VideoWriter
from neurogaze_fast.errors import ConfigError, DataError

RECORDED_FPS = 15.0
WAIT_S = 10.0
"""A camera that gives no frame for so long is gone."""
_TITLE = "neurogaze_fast: press q to end"


class Camera(Protocol):
    """What cv2.VideoCapture offers and is used here; frames are BGR."""

    def read(self) -> tuple[bool, np.ndarray]: ...
    def release(self) -> None: ...


class NewestFrame:
    """A thread that keeps the last frame of a camera; those nobody asked for are dropped."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._changed = threading.Condition()
        self._frame: tuple[float, np.ndarray] | None = None
        self._ended = False
        self.seen = 0
        """Frames the camera gave."""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while not self._ended:
                good, frame = self._camera.read()
                with self._changed:
                    if not good:
                        break
                    self._frame = time.perf_counter(), frame
                    self.seen += 1
                    self._changed.notify()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()
            self._camera.release()

    def get(self, timeout_s: float = WAIT_S) -> tuple[float, np.ndarray] | None:
        """(when it came, uint8 [H, W, 3] RGB) of a frame not yet given; None when it ended.

        Raises:
            DataError: none came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._frame or self._ended, timeout_s):
                raise DataError(
                    f"The camera gave no picture for {timeout_s:g} s. Is it unplugged, or in use "
                    "by another program?"
                )
            if self._frame is None:
                return None
            (at, frame), self._frame = self._frame, None
        return at, frame[:, :, ::-1]

    def close(self) -> None:
        """Stop reading and give the camera back."""
        self._ended = True
        self._thread.join(timeout=2)


def open_camera(number: int) -> Camera:
    """A camera by its number.

    Raises:
        ConfigError: OpenCV is missing or cannot be loaded.
        DataError: there is no such camera, or it may not be used.
    """
    cv2 = _opencv()
    camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        raise DataError(
            f"Camera {number} cannot be opened. Is it there, free, and may this user use it? "
            "Cameras are numbered from 0."
        )
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return camera


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as cause:
        raise ConfigError(
            f"A camera needs OpenCV, which cannot be loaded here ({cause}). Install it with: pip "
            "install 'neurogaze_fast[vision]'; on a server without graphics libraries put "
            "opencv-python-headless in place of opencv-python."
        ) from cause
    return cv2


def screen() -> Callable[[np.ndarray], bool] | None:
    """A function that shows RGB pixels and says whether to go on; None without a screen."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return None
    cv2 = _opencv()
    try:
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
    except cv2.error:  # a build without windows, or a display that does not answer
        return None

    def show(image: np.ndarray) -> bool:
        cv2.imshow(_TITLE, np.ascontiguousarray(image[:, :, ::-1]))
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)

    return show


def watch(
    frames: NewestFrame,
    analyser: Analyser,
    results: ResultFiles,
    summary: Summary,
    *,
    source: str,
    record: Path | None,
    show: Callable[[np.ndarray], bool] | None,
    every: int = 1,
    smooth_s: float = 0.3,
    report: Callable[[str], None] = lambda line: None,
    stop: threading.Event | None = None,
) -> None:
    """Analyse the newest frame again and again until q, `stop` or the camera's end.

    Faces get identities and answers over time, as in a video.

    Args:
        smooth_s: see :class:`Smoother`.
        summary: Counted up, so that it tells what was done also where the camera fails.
        record: A video to write, with frames at the times they were shown.
        report: Called with a line about each frame.
    """
    started, number = 0.0, 0
    faces: list[Face] = []
    following = LiveFollower(smooth_s)
    stop = stop or threading.Event()
    with ExitStack() as stack:
        stack.callback(frames.close)
        writer = stack.enter_context(VideoWriter(record, RECORDED_FPS)) if record else None
        while not stop.is_set() and (newest := frames.get()) is not None:
            came, image = newest
            started = started or came
            if number % every == 0:
                begun = time.perf_counter()
                faces = following.follow(came - started, image, analyser.faces([image])[0])
                now = time.perf_counter()
                summary.seconds += now - begun
                summary.frames += 1
                summary.count(faces)
                results.add(source, number, came - started, faces)
                note = f"{1e3 * (now - begun):.0f} ms, {1e3 * (now - came):.0f} ms behind"
            drawn = annotate(image, faces, whole=analyser.finder.detector is None, note=note)
            labels = ", ".join(map(label_of, faces))
            report(f"frame {number}: {labels or 'no face'} ({note})")
            number += 1
            if writer is not None:  # each for as long as it was the newest
                due = int((came - started) * RECORDED_FPS) + 1
                for _ in range(max(0, due - writer.frames)):
                    writer.write(drawn)
            if show is not None and not show(drawn):
                break
