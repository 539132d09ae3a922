"""Requests that arrive together are computed together: a bounded queue before one engine thread.

A request is refused at once where the queue is full, or where its turn would come after its
deadline; one whose deadline passes while it waits is dropped before it costs anything. So under any
load the engine works only on answers that somebody still waits for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from neurogaze_fast.deploy.engines.base import Engine, Outputs
from neurogaze_fast.deploy.server.engine_thread import EngineThread, is_sticky
from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.emotions import EMOTIONS

PROBE_EVERY_S = 1.0
"""Seconds between test inferences while the last inference failed."""
HANGS_S = 10.0
"""Seconds after which an inference that does not end makes the server not ready."""
log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Told what happens, for the metrics."""

    def batch(self, images: int) -> None: ...

    def computed(self, images: int, queued_s: list[float], took_s: float) -> None: ...

    def failed(self, requests: int, took_s: float) -> None: ...

    def shed(self, reason: str) -> None: ...

    def inference_failed(self) -> None: ...


@dataclass(eq=False)
class _Job:
    images: np.ndarray
    answer: asyncio.Future[Outputs]
    arrived: float = field(default_factory=time.monotonic)


def _fail(jobs: Iterable[_Job], status: int = 503, message: str = "the server is ending") -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(RequestError(status, message))


class Batcher:
    """Serialises all inference of a server. Use it from one event loop."""

    def __init__(
        self,
        engine: Engine,
        watcher: Watcher,
        *,
        max_batch: int,
        max_wait_s: float,
        capacity: int,
    ) -> None:
        self.max_batch = max_batch
        self.lost: Exception | None = None
        """The error after which the engine cannot work again in this process."""
        self.draining = False
        """Not ready any more, but everything that still comes is computed."""
        self._ended = False
        self._thread, self._watcher = EngineThread(engine), watcher
        self._max_wait_s, self._capacity = max_wait_s, capacity
        self._queue: deque[_Job] = deque()
        self._waiting = self._computing = 0  # images
        self._coming = 0  # requests, from their whole bodies to their answers
        self._arrived = asyncio.Event()
        self._busy_since: float | None = None
        self._full_batch_s = 0.0  # of the newest batches, for the wait ahead
        self._healthy = self._probed = False
        self._one_at_a_time = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def depth(self) -> int:
        """Images that wait."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """Whether the test inferences are through, the last inference worked, and none hangs."""
        hangs = self._busy_since is not None and time.monotonic() - self._busy_since > HANGS_S
        return self._healthy and self._probed and not (hangs or self.draining or self.lost)

    @property
    def engine_busy(self) -> bool:
        """Whether the engine computes, even what nobody waits for any more."""
        return self._thread.busy

    async def start(self) -> None:
        """Start the engine's thread; readiness comes with the first test inference."""
        self._thread.start()
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._probe())]

    async def stop(self) -> None:
        """End at once; what waits or is being computed is answered 503."""
        self.draining = self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _fail(self._queue)
        self._thread.stop()

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Around a request's way from a whole body to its answer: a batch waits only for such."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._arrived.set()

    async def submit(self, images: np.ndarray, deadline_s: float) -> Outputs:
        """Outputs for uint8 [n, S, S, 3], n <= max_batch.

        Raises:
            RequestError: 503 where it cannot be done in time or at all, 504 where it was not, 500
                where the engine failed.
        """
        count = len(images)
        if count > self.max_batch:
            raise RequestError(400, f"{count} images; {self.max_batch} at most are taken at once")
        if not count:
            return np.zeros((0, len(EMOTIONS)), np.float32), np.zeros((0, 2), np.float32)
        self.admit(count, deadline_s)
        job = _Job(images, asyncio.get_running_loop().create_future())
        self._queue.append(job)
        self._waiting += count
        self._arrived.set()
        try:
            async with asyncio.timeout(deadline_s):
                return await job.answer
        except TimeoutError:
            self._watcher.shed("deadline")
            raise RequestError(504, "no answer within the deadline") from None
        finally:
            if job in self._queue:  # nobody waits for it any more: do not compute it
                self._queue.remove(job)
                self._waiting -= count

    def admit(self, count: int, deadline_s: float) -> None:
        """Refuse what cannot be done in time; also to be asked before a picture is decoded.

        Raises:
            RequestError: 503 with the seconds after which to try again.
        """
        if (error := self.refusal(count, deadline_s)) is not None:
            raise error

    def refusal(self, count: int, deadline_s: float) -> RequestError | None:
        """Why so many images cannot be done in time, counted; None where they can."""
        if self._ended or self.lost is not None:
            return RequestError(503, "the server is ending", retry_after_s=1)
        ahead = self._computing + self._waiting + count
        wait_s = ahead / self.max_batch * self._full_batch_s
        if self._waiting + count > self._capacity:
            reason, text = "queue_full", "the queue is full"
        elif ahead > count and wait_s > deadline_s:  # an idle engine is always tried
            reason, text = "too_late", f"the answer would take more than {deadline_s:g} s"
        else:
            return None
        self._watcher.shed(reason)
        return RequestError(503, text, retry_after_s=max(1, math.ceil(wait_s)))

    async def _work(self) -> None:
        while True:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            await self._wait_for_more()
            if jobs := self._take():
                await self._answer(jobs)

    async def _wait_for_more(self) -> None:
        """Until the batch is full, its oldest has waited long enough, or no other is coming."""
        while self._queue and self._waiting < self.max_batch and self._coming > len(self._queue):
            left = self._queue[0].arrived + self._max_wait_s - time.monotonic()
            if left <= 0:
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _take(self) -> list[_Job]:
        """The oldest jobs that fit in one batch; never overtaking, so that none starves."""
        jobs: list[_Job] = []
        count = 0
        while self._queue and count + len(self._queue[0].images) <= self.max_batch:
            job = self._queue.popleft()
            self._waiting -= len(job.images)
            if not job.answer.done():  # its deadline passed, or its client left, this very moment
                jobs.append(job)
                count += len(job.images)
        return jobs

    async def _answer(self, jobs: list[_Job]) -> None:
        images = jobs[0].images if len(jobs) == 1 else np.concatenate([j.images for j in jobs])
        self._watcher.batch(len(images))
        began = time.monotonic()
        try:
            probabilities, valence_arousal = await self._run(images)
        except asyncio.CancelledError:  # the server ends, and the engine is not waited for
            _fail(jobs)
            raise
        except Exception:
            self._watcher.failed(len(jobs), time.monotonic() - began)
            _fail(jobs, 500, "the inference failed")
            return
        queued_s = [began - job.arrived for job in jobs]
        self._watcher.computed(len(images), queued_s, time.monotonic() - began)
        start = 0
        for job in jobs:
            end = start + len(job.images)
            if not job.answer.done():
                job.answer.set_result((probabilities[start:end], valence_arousal[start:end]))
            start = end

    async def _run(self, images: np.ndarray) -> Outputs:
        """One inference on the engine's thread, checked, timed, and remembered for `ready`."""
        async with self._one_at_a_time:
            self._busy_since = began = time.monotonic()
            self._computing = len(images)
            try:
                outputs = await self._thread.run(images)
            except Exception as error:
                self._failed(error)
                raise
            finally:
                self._busy_since, self._computing = None, 0
        took = time.monotonic() - began
        full = took * self.max_batch / len(images)
        # For a small batch `full` is too much rather than too little. So it may only lower the
        # estimate: a stall would else shed until no large batch forms, and be believed for ever.
        if 2 * len(images) >= self.max_batch or full < self._full_batch_s:
            self._full_batch_s += (full - self._full_batch_s) * (0.3 if self._full_batch_s else 1)
        self._healthy = True
        return outputs

    def _failed(self, error: Exception) -> None:
        if self._healthy:  # once per outage, not once per request
            log.error("inference failed: %s: %s", type(error).__name__, error)
        self._healthy = False
        self._watcher.inference_failed()
        if is_sticky(error) and self.lost is None:
            self.lost = error
            _fail(self._queue)

    async def _probe(self) -> None:
        """Test inferences: three at the start, and more whenever the last inference failed."""
        side = self._thread.input_size
        for count in (1, self.max_batch, self.max_batch):
            self._full_batch_s = 0.0  # the first of a size also pays for its preparation
            await self._try(np.zeros((count, side, side, 3), np.uint8))
        self._probed = True
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if not self._healthy and self.lost is None and self._busy_since is None:
                await self._try(np.zeros((1, side, side, 3), np.uint8))

    async def _try(self, images: np.ndarray) -> None:
        try:
            await self._run(images)
        except Exception as error:
            log.debug("the test inference failed: %s", error)
