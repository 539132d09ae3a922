"""From a request's body to faces of the engine's size, on a lane of each kind of work."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from neurogaze_fast.deploy.server.config import ServeConfig
from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.deploy.server.lanes import Due, Lane
from neurogaze_fast.deploy.server.pictures import SMALL, decode_picture, is_small

if TYPE_CHECKING:
    from neurogaze_fast.deploy.vision.faces_in_picture import Found

MEGA = 1_000_000
_MAX_DECODING, _MAX_SEARCHING = 64, 32
"""Pictures and JSON bodies that may wait for a thread, and photos that may."""
_SEARCHED = 4 * MEGA
"""Pixels of a photo that faces are looked for in; a larger one is shrunk while it is decoded."""
T = TypeVar("T")


class Faces(Protocol):
    """What finds faces and cuts them out, where that is installed."""

    def find(self, image: np.ndarray, size: int, limit: int | None = None) -> Found:
        """The faces of uint8 [H, W, 3] RGB, brought to `size`, at most `limit` of them."""
        ...


class Cutting:
    """Decodes pictures, finds faces in photos, and brings faces to the engine's size."""

    def __init__(
        self,
        config: ServeConfig,
        size: int,
        prepare: Callable[[np.ndarray, int], np.ndarray],
        faces: Faces | None,
        shed: Callable[[str], None],
    ) -> None:
        self.faces = faces
        self._config, self._size, self._prepare = config, size, prepare
        # Two threads: few enough that hostile bodies cannot multiply what one of them costs.
        self._decode = Lane("decode", threads=2, capacity=_MAX_DECODING, shed=shed)
        searchers = max(1, min(4, os.cpu_count() or 1))
        self._search = Lane("search", threads=searchers, capacity=_MAX_SEARCHING, shed=shed)

    @property
    def ahead(self) -> int:
        """Faces that may come out of what is decoded just now."""
        return self._decode.jobs + self._search.jobs

    def refusal(self, detect: bool) -> RequestError | None:
        """Why one more picture could not be done in time, counted; None where it can."""
        return (self._search if detect else self._decode).refusal(self._config.deadline_s)

    async def place(self, detect: bool) -> None:
        """Wait a moment for one more picture to be possible; see :meth:`Lane.place`."""
        await (self._search if detect else self._decode).place(self._config.deadline_s)

    async def small_work(self, due: Due, body: bytes, work: Callable[[], T]) -> T:
        """`work` on a body, on a thread unless it takes less time than a thread to wake up."""
        return work() if len(body) <= SMALL[0] else await self._decode.run(due, work)

    async def one_face(self, due: Due, body: bytes) -> np.ndarray:
        """uint8 [1, S, S, 3] of a picture that is one face."""
        pixels = int(self._config.max_pixels * MEGA)

        def work() -> np.ndarray:
            image, _ = decode_picture(body, pixels, _SEARCHED)
            return self._guarded(lambda: self._prepare(image, self._size)[None])

        return work() if is_small(body) else await self._decode.run(due, work)

    async def faces_of_photo(self, due: Due, body: bytes) -> Found:
        """The faces in a photo; their boxes in the photo's own pixels."""
        finder, pixels = self.faces, int(self._config.max_pixels * MEGA)
        assert finder is not None

        def work() -> Found:
            image, factor = decode_picture(body, pixels, _SEARCHED)
            due.check()
            found = self._guarded(lambda: finder.find(image, self._size, self._config.max_batch))
            boxes = found.boxes.copy()
            boxes[:, :4] *= factor
            return dataclasses.replace(found, boxes=boxes)

        return await self._search.run(due, work)

    @staticmethod
    def _guarded(work: Callable[[], T]) -> T:
        try:
            return work()
        except MemoryError as cause:
            raise RequestError(413, "the picture takes more memory than there is") from cause

    def close(self) -> None:
        """Let the threads go."""
        self._decode.close()
        self._search.close()
