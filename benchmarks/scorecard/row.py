"""One row of the scorecard: a fault put in n times, and a canary that shows the row can fail."""

from __future__ import annotations

import importlib
import pkgutil
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Counted:
    """What a row found."""

    n: int
    """Faults put in."""
    failures: int
    """Of these, not withstood. With 0 in n, at most 3/n at 95 %."""
    figure: str
    """The row's own figures, in a few words."""
    details: dict[str, Any] = field(default_factory=dict)
    """JSON: everything else worth keeping."""
    needed: int = 1
    """Of a canary: how many of its failures the row must have seen to pass."""


@dataclass(frozen=True)
class Row:
    """A fault class."""

    name: str
    fault: str
    expected: str
    run: Callable[[Path, float], Counted]
    """(empty folder to work in, scale): scale 1 is the whole row, less is fewer faults."""
    canary: Callable[[Path], Counted]
    """The same check with a fault planted in what is checked: it must count failures."""


ROWS: dict[str, Row] = {}


def row(
    name: str, fault: str, expected: str, canary: Callable[[Path], Counted]
) -> Callable[[Callable[[Path, float], Counted]], Callable[[Path, float], Counted]]:
    """Enter a function into the scorecard under `name`."""

    def enter(run: Callable[[Path, float], Counted]) -> Callable[[Path, float], Counted]:
        ROWS[name] = Row(name, fault, expected, run, canary)
        return run

    return enter


def load_rows() -> None:
    """Import every module of rows, and bring the rows into the order of their names."""
    import benchmarks.scorecard as package

    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("__"):
            importlib.import_module(f"{package.__name__}.{module.name}")
    families = "RAKDSFP"
    ordered = sorted(ROWS.items(), key=lambda i: (families.index(i[0][0]), int(i[0][1:])))
    ROWS.clear()
    ROWS.update(ordered)


class CannotRun(Exception):
    """A tool or a device that the row needs is missing; the reason is its text."""


def measure(one: Row, folder: Path, scale: float) -> dict[str, Any]:
    """Run a row and its canary; return the row of the JSON file.

    A row passes with no failure of its own and with its canary found. One that cannot run says so
    in ``not_run``, one that breaks in ``broken``: the others go on.
    """
    started = time.monotonic()
    entry: dict[str, Any] = {"id": one.name, "fault": one.fault, "expected": one.expected}
    calls = {"found": lambda place: one.run(place, scale), "canary": one.canary}
    try:
        for part, call in calls.items():
            (folder / part).mkdir(parents=True)
            entry[part] = asdict(call(folder / part))
    except CannotRun as reason:
        entry["not_run"] = str(reason)
    except Exception as error:
        entry["broken"] = f"{type(error).__name__}: {error}"[:400]
        traceback.print_exc()
    found, canary = entry.get("found"), entry.get("canary")
    entry["passed"] = bool(
        found and canary and not found["failures"] and canary["failures"] >= canary["needed"]
    )
    entry["seconds"] = round(time.monotonic() - started, 1)
    return entry
