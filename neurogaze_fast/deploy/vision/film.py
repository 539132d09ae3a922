"""One video through the pipeline: decoded, searched, followed, answered and drawn side by side.

Each step runs in a thread ahead of the next. What waits between two steps is bounded in pixels, so
an hour of video takes the memory of a minute: at most five times :data:`AHEAD_PIXELS`, three bytes
each, whatever the length (480 MB; 1080p takes about that), and of small pictures no more frames
than it takes to keep every step at work (360p: 170 MB).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.ahead import ahead
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.annotate import annotate
from neurogaze_fast.deploy.vision.follow import Follower, Frame, searched_every
from neurogaze_fast.deploy.vision.smoothing import Smoother
from neurogaze_fast.deploy.vision.tracker import Tracker

AHEAD_PIXELS = 32_000_000
_AHEAD_FRAMES = 48
_GROUP = 32
NO_PIECES = 2**62


@dataclass(frozen=True)
class FilmOptions:
    """How a video is looked at."""

    every: int = 1
    """Every n-th frame is answered; those between keep the answer."""
    detect_every: int = 0
    """Frames between two searches for faces; 0: by its frame rate."""
    smooth_s: float = 0.3
    """Lag of the answers over time, in seconds."""


@dataclass
class Shown:
    """One frame when everything is done."""

    number: int
    faces: list[Face]
    looked: bool
    """It is one of every n-th frames."""
    drawn: np.ndarray
    before: dict[str, Any] | None
    """The state before it, where a piece begins."""


def watch_film(
    images: Iterable[tuple[int, np.ndarray]],
    fps: float,
    analyser: Analyser,
    options: FilmOptions,
    *,
    pixels: int,
    piece: int = NO_PIECES,
    draw: bool = True,
    state: dict[str, Any] | None = None,
) -> Generator[list[Shown], None, None]:
    """Frames with their faces, a few at a time and in order.

    Args:
        images: numbered frames, uint8 [H, W, 3]; pixels: of one of them.
        piece: frames after which work can be gone on with; state: what the `before` of one of these
            said, where `images` begin there.
        draw: make annotated copies; without, they are empty.
    """
    smoother = Smoother(options.smooth_s)
    tracker = Tracker()
    if state is not None:
        tracker = Tracker.from_json(state["tracker"])
        smoother.restore(state["smoother"])
    with contextlib.ExitStack() as stack:

        def step(items: Generator[Any, None, None], weigh: Callable[[Any], int]) -> Any:
            made = ahead(items, min(AHEAD_PIXELS, _AHEAD_FRAMES * pixels), weigh=weigh)
            stack.callback(made.close)
            return made

        if analyser.finder.detector is None:
            source = step((item for item in images), lambda item: pixels)
            groups = _unfollowed(source, max(1, min(_GROUP, AHEAD_PIXELS // pixels)))
        else:
            follower = _follower(analyser, fps, options, pixels, piece, tracker)
            stack.callback(follower.close)
            groups = follower.groups(step(follower.searched(images), lambda due: pixels))
        answered = step(
            _answered(groups, fps, analyser, options, smoother),
            lambda group: pixels * len(group),
        )
        whole = analyser.finder.detector is None
        yield from step(
            _drawn(answered, whole, draw), lambda group: sum(s.drawn.size // 3 for s in group)
        )


def _follower(
    analyser: Analyser, fps: float, options: FilmOptions, pixels: int, piece: int, tracker: Tracker
) -> Follower:
    search = options.detect_every or searched_every(fps)
    # A few of the frames that are looked at, and no more than memory allows.
    search = options.every * max(1, round(search / options.every))
    search = max(1, min(search, AHEAD_PIXELS // pixels))
    follower = Follower(analyser.finder, fps, search_every=search, piece=piece)
    follower.tracker = tracker
    return follower


def _unfollowed(images: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[list[Frame]]:
    while group := [Frame(number, image) for number, image in islice(images, size)]:
        yield group


def _answered(
    groups: Iterable[list[Frame]],
    fps: float,
    analyser: Analyser,
    options: FilmOptions,
    smoother: Smoother,
) -> Generator[list[tuple[Frame, list[Face], bool]], None, None]:
    last: list[Face] = []
    for group in groups:
        looked = [frame for frame in group if frame.number % options.every == 0]
        answers = dict(zip((f.number for f in looked), analyser.of_frames(looked), strict=True))
        done: list[tuple[Frame, list[Face], bool]] = []
        for frame in group:
            if frame.before is not None:
                frame.before = {"tracker": frame.before, "smoother": smoother.to_json()}
            faces = answers.get(frame.number)
            if faces is None:
                faces = _moved(last, frame)
            else:
                faces = last = [_smoothed(face, frame.number / fps, smoother) for face in faces]
            done.append((frame, faces, frame.number in answers))
        yield done


def _smoothed(face: Face, time_s: float, smoother: Smoother) -> Face:
    if face.identity is None:
        return face
    return replace(face, smoothed=smoother.add(time_s, face.identity, face))


def _moved(last: list[Face], frame: Frame) -> list[Face]:
    """The answers of an earlier frame where their faces are in this one."""
    if frame.at is None:
        return last
    at = dict(zip(frame.identities, frame.at.boxes, strict=True))
    faces = []
    for face in last:
        if face.identity is not None and face.identity in at:
            left, top, right, bottom = map(float, at[face.identity][:4])
            faces.append(replace(face, box=(left, top, right, bottom)))
    return faces


def _drawn(
    answered: Iterable[list[tuple[Frame, list[Face], bool]]], whole: bool, draw: bool
) -> Generator[list[Shown], None, None]:
    nothing = np.zeros((0, 0, 3), np.uint8)
    for group in answered:
        shown = []
        for frame, faces, looked in group:
            copy = annotate(frame.image, faces, whole=whole) if draw else nothing
            shown.append(Shown(frame.number, faces, looked, copy, frame.before))
        yield shown
