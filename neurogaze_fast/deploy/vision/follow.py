"""Faces through the frames of a video: looked for every few frames, and known between them.

Between two searches a face that both found moves in a straight line, which a fifth of a second
bears out; one that only one of them found is there for the half that is nearer. Where the picture
is cut, both sides are searched, nothing is carried across, and identities begin anew.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder, Located, cut_out
from neurogaze_fast.deploy.vision.tracker import LOOK_PIXELS, Tracker, look_of

SEARCHES_A_SECOND = 5.0
"""What detection every few frames comes to where no number is named."""
CUT, CUT_SHARE = 30.0, 0.3
"""A frame begins another shot where grey levels, of 255, change by more on average, and more than
this share of the picture is of another brightness than before."""


@dataclass
class Frame:
    """One frame and the faces in it."""

    number: int
    image: np.ndarray
    identities: list[int] = field(default_factory=list)
    at: Located | None = None
    """In the order of `identities`."""
    before: dict[str, Any] | None = None
    """The tracker's state before this frame, where a piece of the video begins here."""
    searched: bool = False
    moves: dict[int, np.ndarray] = field(default_factory=dict)
    """Where it was searched: identity -> pixels a frame (x, y)."""

    @property
    def pixels(self) -> int:
        """Of its picture, for those who bound memory."""
        return self.image.shape[0] * self.image.shape[1]


@dataclass
class Due:
    """One frame and the search for its faces, if it is one that is searched."""

    frame: Frame
    search: Future[Located] | None = None
    cut: bool = False
    begins: bool = False
    """A piece begins: what follows must not depend on what was before, but for the tracker."""


def searched_every(fps: float) -> int:
    """Frames between two searches at a video's frame rate."""
    return max(1, round(fps / SEARCHES_A_SECOND))


class Follower:
    """Finds and follows faces; of use for one video."""

    def __init__(
        self, finder: FaceFinder, fps: float, *, search_every: int, piece: int, searches: int = 2
    ) -> None:
        """`piece`: frames after which work can be gone on with later; `searches`: at a time."""
        self._finder, self._fps, self._every, self._piece = finder, fps, search_every, piece
        self._pool = ThreadPoolExecutor(searches, thread_name_prefix="search")
        self.tracker = Tracker()

    def frames(
        self, images: Iterable[tuple[int, np.ndarray]]
    ) -> Generator[list[Frame], None, None]:
        """Frames with their faces, a few at a time, in order and without gaps."""
        try:
            yield from self.groups(self.searched(images))
        finally:
            self.close()

    def close(self) -> None:
        """Begin no more searches, and wait for those that were begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _search(self, due: Due) -> None:
        if due.search is None:
            due.search = self._pool.submit(self._finder.locate, due.frame.image)

    def searched(self, images: Iterable[tuple[int, np.ndarray]]) -> Generator[Due, None, None]:
        """The first half of :meth:`frames`: each frame, its search begun where there is one.

        It may run in a thread ahead of the second, so that one search does not wait for another.
        Frames are one late: whether it is the last of a shot is known from the next.
        """
        held: Due | None = None
        coarse: np.ndarray | None = None
        since = 0
        for number, image in images:
            begins = number % self._piece == 0
            now, coarse_now = Due(Frame(number, image), begins=begins), _coarse(image)
            since += 1
            now.cut = not begins and coarse is not None and _another_shot(coarse_now, coarse)
            coarse = coarse_now
            if held is not None:
                if now.cut or begins:
                    self._search(held)
                yield held
            if held is None or now.cut or begins or since >= self._every:
                self._search(now)
                since = 0
            held = now
        if held is not None:
            self._search(held)
            yield held

    def groups(self, frames: Iterable[Due]) -> Generator[list[Frame], None, None]:
        """The second half: who is who in what :meth:`searched` gave."""
        waiting: list[Frame] = []
        last: Frame | None = None
        for due in frames:
            frame = due.frame
            if due.search is None:
                waiting.append(frame)
                continue
            if due.cut and last is not None:
                self.tracker.forget()
                last = None
            if due.begins:
                frame.before, last = self.tracker.to_json(), None
            frame.at, frame.searched = due.search.result(), True
            looks = look_of(_crops(frame))
            frame.identities = self.tracker.update(frame.number / self._fps, frame.at.boxes, looks)
            speeds = self.tracker.velocities().items()
            frame.moves = {identity: speed / self._fps for identity, speed in speeds}
            if last is not None:
                for between in waiting:
                    _between(last, frame, between)
            yield [*waiting, frame]
            waiting, last = [], frame


def _crops(frame: Frame) -> np.ndarray:
    if frame.at is None:
        return np.zeros((0, LOOK_PIXELS, LOOK_PIXELS, 3), np.uint8)
    return cut_out(frame.image, frame.at.squares, LOOK_PIXELS)


def _between(before: Frame, after: Frame, frame: Frame) -> None:
    """Fill in a frame between two that were searched."""
    first, last = before.at, after.at
    if first is None or last is None:
        return
    share = (frame.number - before.number) / (after.number - before.number)
    there = {identity: at for at, identity in enumerate(before.identities)}
    then = {identity: at for at, identity in enumerate(after.identities)}
    for identity in [*there, *(i for i in then if i not in there)]:
        one, two = there.get(identity), then.get(identity)
        if (one is None and share <= 0.5) or (two is None and share > 0.5):
            continue  # the search that is nearer did not find it
        frame.identities.append(identity)
    parts = []
    span = after.number - before.number
    for of_first, of_last, axes in zip(first.each, last.each, _MOVED, strict=True):
        rows = []
        for identity in frame.identities:
            one, two = there.get(identity), then.get(identity)
            # Of whom only one search found it goes on as it went.
            if one is None:
                end = of_last[two]
                start = end - span * (after.moves[identity] @ axes)
            elif two is None:
                start = of_first[one]
                end = start + span * (before.moves[identity] @ axes)
            else:
                start, end = of_first[one], of_last[two]
            rows.append((1 - share) * start + share * end)
        parts.append(np.array(rows, of_first.dtype).reshape(-1, *of_first.shape[1:]))
    boxes, points, squares = parts
    frame.at = Located(boxes, points, squares)


_BOX = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 1, 0]], np.float64)
_SQUARE = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float64)
_MOVED = (_BOX, np.eye(2), _SQUARE)
"""[2, columns]: what a step to the right and one down change of a box, of points, of a square."""


def _another_shot(image: np.ndarray, last: np.ndarray) -> bool:
    """Whether two frames' coarse greys differ in place and as a whole.

    What moves, even the whole picture, changes places but not how many are how bright.
    """
    if image.shape != last.shape:
        return True
    if not np.abs(image - last).mean() > CUT:  # of nearly every frame this is all that is asked
        return False
    bright, was = (np.histogram(each, 16, (0, 256))[0] / each.size for each in (image, last))
    return bool(np.abs(bright - was).sum() / 2 > CUT_SHARE)


def _coarse(image: np.ndarray) -> np.ndarray:
    """Grey levels float32 of about 24 x 32 places of a picture."""
    rows, columns = max(1, image.shape[0] // 24), max(1, image.shape[1] // 32)
    return image[rows // 2 :: rows, columns // 2 :: columns].astype(np.float32).mean(axis=2)
