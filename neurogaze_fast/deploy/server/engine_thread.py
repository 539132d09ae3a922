"""The one thread that the server's engine runs on."""

from __future__ import annotations

import asyncio
import queue
import re
import threading

import numpy as np

from neurogaze_fast.deploy.engines.base import Engine, Outputs

_STICKY = re.compile(
    r"CUDA (error|failure|driver)|cudaError|device-side assert|illegal memory access"
    r"|unspecified launch failure",
    re.IGNORECASE,
)


class EngineThread:
    """Runs batches one after another, away from the event loop."""

    def __init__(self, engine: Engine) -> None:
        self.input_size = engine.input_size
        self.busy = False
        """Whether the engine computes."""
        self._engine = engine
        self._tasks: queue.SimpleQueue[tuple[np.ndarray, asyncio.Future[Outputs]] | None]
        self._tasks = queue.SimpleQueue()

    def start(self) -> None:
        """Start it, for the running event loop."""
        loop = asyncio.get_running_loop()
        # A daemon: an engine that hangs must not keep the process from ending.
        threading.Thread(target=self._work, args=(loop,), name="engine", daemon=True).start()

    def stop(self) -> None:
        """End it after what it has to do."""
        self._tasks.put(None)

    async def run(self, images: np.ndarray) -> Outputs:
        """The engine's outputs for uint8 [n, S, S, 3].

        Raises:
            Exception: whatever the engine raised.
        """
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self._tasks.put((images, answer))
        return await answer

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (task := self._tasks.get()) is not None:
            images, answer = task
            self.busy = True
            try:
                outputs, error = self._engine.run(images), None
            except Exception as caught:
                outputs, error = None, caught
            self.busy = False
            try:
                loop.call_soon_threadsafe(_settle, answer, outputs, error)
            except RuntimeError:  # the loop has ended meanwhile
                return


def is_sticky(error: BaseException) -> bool:
    """Whether an error means that CUDA can do nothing more in this process."""
    text = f"{type(error).__name__}: {error}"
    return bool(_STICKY.search(text)) and "out of memory" not in text


def _settle(
    answer: asyncio.Future[Outputs], outputs: Outputs | None, error: Exception | None
) -> None:
    if answer.done():
        return
    if outputs is None:
        answer.set_exception(error or RuntimeError("the engine gave nothing"))
    else:
        answer.set_result(outputs)
