"""Notices when other processes take the cores that a training run on the CPU computes on.

OpenMP's threads wait for each other at the end of every operation by spinning. Where one of them
has to share its core, all others burn theirs while they wait: on two cores, two threads beside one
busy process fell from 330 to 6 images/s.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

WARM_UP = 2
WINDOW = 8
"""Steps whose median counts as the speed."""
COLLAPSE = 4.0
"""Times slower than at its best; a fair share beside as many busy threads would be 2."""
EVERY_S = 60.0
"""Between two readings of the load average, which is one of the last minute."""


class SharedCores:
    """Watches the speed of steps and the machine's load; says once what to do about it."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        threads: int,
        cores: int,
        unit: str = "images",
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[], float | None] | None = None,
    ) -> None:
        """`threads` that the run computes with; `cores` of the machine, which the load is of."""
        self._say, self._threads, self._cores, self._unit = say, threads, cores, unit
        self._clock, self._load = clock, load or load_average
        self._looked, self._busy = clock(), 0
        self._seconds: dict[Any, list[float]] = {}
        self._best: dict[Any, float] = {}
        self._done = threads < 2 or "passive" in os.environ.get("OMP_WAIT_POLICY", "").lower()

    def step(self, seconds: float, count: int, kind: Any = None) -> None:
        """A step over `count` images took `seconds`; only steps of one `kind` are compared."""
        if self._done:
            return
        taken = self._seconds.setdefault(kind, [])
        taken.append(seconds)
        if len(taken) == WINDOW + (0 if kind in self._best else WARM_UP):
            self._compare(statistics.median(taken[-WINDOW:]), count, kind)
            taken.clear()
        now = self._clock()
        if now - self._looked >= EVERY_S and not self._done:
            self._looked = now
            load = self._load()
            # This run alone makes a load of at most `cores`.
            self._busy = self._busy + 1 if load is not None and load >= self._cores + 1 else 0
            if self._busy == 2:
                self._warn("")

    def _compare(self, now: float, count: int, kind: Any) -> None:
        best = self._best.setdefault(kind, now)
        if now > COLLAPSE * best:
            speed = f"{count / best:.0f} to {count / now:.1f}"
            self._warn(f"Training fell from {speed} {self._unit}/s. ")
        self._best[kind] = min(best, now)

    def _warn(self, fallen: str) -> None:
        self._done = True
        load = self._load()
        what = "Other processes seem to be busy here"
        if load is not None:
            what = f"The load average is {load:.1f} on {self._cores} cores"
        self._say(
            f"{fallen}{what}: {self._threads} threads that wait for each other by spinning can be "
            "many times slower beside another busy process than one thread. If that process goes "
            "on, stop this run (Ctrl-C saves) and continue it with --resume and --threads 1, or "
            "with OMP_WAIT_POLICY=passive in the environment."
        )


def load_average() -> float | None:
    """Of the last minute; None where the system tells none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
