"""Lines and progress on a terminal, and in a log where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

QUIET_S = 30.0
"""Seconds between lines of progress where there is no terminal."""


def counted(number: int, noun: str) -> str:
    """`1 face`, `2 faces`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say(console: Console, text: str) -> None:
    """Print a line as it is, but for what `console` cannot show."""
    console.print(printable(console, text), markup=False, highlight=False, soft_wrap=True)


def printable(console: Console, text: str) -> str:
    """`text` with escapes for what the terminal cannot write: file names need be no UTF-8."""
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)


@contextmanager
def show_progress(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each stage on a terminal, a line now and then elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        tasks: dict[str, TaskID] = {}
        printed = time.monotonic()

        def update(stage: str, done: int, total: int | None) -> None:
            nonlocal printed
            stage = printable(console, stage)
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)
            if not console.is_terminal and time.monotonic() - printed >= QUIET_S:
                printed = time.monotonic()
                say(console, f"{stage}: {done}" + (f" of {total}" if total else ""))

        yield update
