"""Work that must not hold the event loop: decoding, and the search for faces.

Each kind has a lane of its own, so that a small face never waits behind a photo in which faces are
looked for. A lane knows what its work takes, and refuses at once what would be late: otherwise,
under more photos than it can search, every one of them would be given up half done.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from neurogaze_fast.deploy.server.http_errors import RequestError

T = TypeVar("T")
_SURE = 0.8
"""Share of the time left that an answer may be expected to take: some searches take longer."""
_DOOR_S = 0.5
"""Seconds that a large request waits for its body to be taken."""
_NEWEST = 0.2
"""Weight of the newest duration in the mean that the wait is estimated by."""


class Due:
    """When an answer is due; counted from a whole request."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._at - time.monotonic())

    def check(self) -> None:
        """Between two steps of work on a thread: go on only while somebody waits.

        Raises:
            RequestError: 504.
        """
        if self.left <= 0:
            raise late(self.seconds)


def late(deadline_s: float) -> RequestError:
    """What a request is told whose answer did not come in time."""
    return RequestError(504, f"no answer within the deadline of {deadline_s:g} s")


class Lane:
    """Threads for one kind of work, with a bounded number of jobs. Use it from one event loop."""

    def __init__(
        self, name: str, *, threads: int, capacity: int, shed: Callable[[str], None]
    ) -> None:
        """
        Args:
            capacity: Jobs at most, under way and waiting.
            shed: Told the reason, `decoder_full`, `too_late` or `deadline`, of each job refused.
        """
        self.jobs = 0
        self._threads, self._capacity, self._shed = threads, capacity, shed
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._takes_s = 0.0
        self._freed = asyncio.Event()

    def refusal(self, left_s: float) -> RequestError | None:
        """Why one more job could not be done in `left_s` seconds, counted; None where it can."""
        reason, error = self._reason(left_s)
        if error is not None:
            self._shed(reason)
        return error

    def _reason(self, left_s: float) -> tuple[str, RequestError | None]:
        # The first of those ahead is half done on average.
        wait_s = self._takes_s * max(1.0, (self.jobs + 1) / self._threads)
        if self.jobs >= self._capacity:
            reason, text = "decoder_full", "too many pictures wait to be decoded"
        elif self.jobs >= self._threads and wait_s > _SURE * left_s:  # an idle lane is always tried
            reason, text = "too_late", f"the answer would take more than {left_s:.3g} s"
        else:
            return "", None
        return reason, RequestError(503, text, retry_after_s=max(1, math.ceil(wait_s - left_s)))

    async def place(self, left_s: float) -> None:
        """Wait a moment for one more job to be possible, before its large body is taken.

        Those that are refused cost what they send, and most come again at once. So they are told
        late rather than early; that holds nothing but their connections.

        Raises:
            RequestError: 503.
        """
        end = time.monotonic() + min(_DOOR_S, left_s / 2)
        while self._reason(left_s)[1] is not None:
            self._freed.clear()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._freed.wait()
            except TimeoutError:
                if (error := self.refusal(left_s)) is not None:
                    raise error from None

    async def run(self, due: Due, work: Callable[[], T]) -> T:
        """`work` on a thread of this lane, dropped where its turn does not come in time.

        Raises:
            RequestError: 503 where it is refused, 504 where it was late, or what `work` raises.
        """
        if (error := self.refusal(due.left)) is not None:
            raise error
        self.jobs += 1
        job = self._pool.submit(self._timed, due, work)
        try:
            async with asyncio.timeout(due.left):
                return await asyncio.wrap_future(job)
        except TimeoutError:
            self._shed("deadline")
            raise late(due.seconds) from None
        finally:
            # What runs goes on to the next check of its deadline, and counts until then.
            if job.done():
                self._end()
            else:
                loop = asyncio.get_running_loop()
                job.add_done_callback(lambda _: _tell(loop, self._end))

    def _timed(self, due: Due, work: Callable[[], T]) -> T:
        due.check()
        began = time.monotonic()
        try:
            return work()
        finally:
            took = time.monotonic() - began
            weight = _NEWEST if self._takes_s else 1.0
            self._takes_s += weight * (took - self._takes_s)

    def _end(self) -> None:
        self.jobs -= 1
        self._freed.set()

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop has ended meanwhile
        return
