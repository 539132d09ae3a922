"""SIGTERM and SIGINT as a wish to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ECHO_S = 2.0
"""Seconds within which a repeated signal is not a second one."""


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a later second one acts at once, as if never caught.

    One that follows within :data:`ECHO_S` is the same wish again: a scheduler and torchrun may both
    pass SIGTERM on.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    first = 0.0
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not stop.is_set():
            first = time.monotonic()
            stop.set()
        elif time.monotonic() - first > ECHO_S:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)

    try:
        for number in previous:
            signal.signal(number, on_signal)
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
