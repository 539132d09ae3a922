"""Work that runs ahead in a thread of its own, by so much and no more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def ahead(
    items: Iterable[T], limit: int, *, weigh: Callable[[T], int] = lambda item: 1
) -> Generator[T, None, None]:
    """The same items, made by a thread while the caller works on earlier ones.

    At most `limit` of what `weigh` counts waits (but one item may always), so memory is bounded. An
    error of the thread is raised here; where the caller ends early, the thread stops after the item
    it is making, and its generator is closed.
    """
    room = _Room(limit)
    made: queue.SimpleQueue[tuple[T, int] | BaseException] = queue.SimpleQueue()

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                weight = weigh(item)
                if not room.take(weight):
                    break
                made.put((item, weight))
        except BaseException as raised:
            error = raised
        finally:
            if isinstance(items, Generator):
                items.close()
            made.put(error or StopIteration())

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            got = made.get()
            if isinstance(got, StopIteration):
                return
            if isinstance(got, BaseException):
                raise got
            item, weight = got
            room.give(weight)
            yield item
    finally:
        room.close()
        thread.join()


class _Room:
    """Counts what waits."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._closed = limit, 0, False
        self._changed = threading.Condition()

    def take(self, weight: int) -> bool:
        """Wait for room; False where nobody wants more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._used or self._used + weight <= self._limit
            )
            self._used += weight
            return not self._closed

    def give(self, weight: int) -> None:
        with self._changed:
            self._used -= weight
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
