"""Videos, opened while what comes before them is still at work."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import pairwise

from neurogaze_fast.deploy.vision.inputs import Input
from neurogaze_fast.deploy.vision.video import StreamReader, VideoReader

Reader = VideoReader | StreamReader


class Openings:
    """Opens the first video at once and then always the next, each in a thread.

    Opening a video reads it once through, in ffmpeg's processes: a start has models to load
    meanwhile. Addresses are opened when it is their turn, for what a camera shows does not wait.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        videos = [item for item in inputs if item.video and item.address is None]
        self._next = dict(pairwise(videos))
        self._begun: dict[Input, Future[Reader]] = {}
        for first in videos[:1]:
            self._begin(first)

    def open(self, item: Input) -> Reader:
        """The reader of a video, which is given once.

        Raises:
            CorruptImage, ConfigError: as :class:`VideoReader` and :class:`StreamReader`.
        """
        begun = self._begun.pop(item, None)
        try:
            return _open(item) if begun is None else begun.result()
        finally:
            if item in self._next:
                self._begin(self._next[item])

    def _begin(self, item: Input) -> None:
        begun: Future[Reader] = Future()

        def work() -> None:
            try:
                begun.set_result(_open(item))
            except BaseException as error:
                begun.set_exception(error)

        self._begun = {item: begun}  # one that was passed over, by --resume, is forgotten
        # It must not hold up an end: no one may be waiting for the answer.
        threading.Thread(target=work, daemon=True, name="open").start()


def _open(item: Input) -> Reader:
    return VideoReader(item.path) if item.address is None else StreamReader(item.address)
