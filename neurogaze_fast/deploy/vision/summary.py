"""Predict on the terminal: progress while it works, a summary at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from neurogaze_fast.deploy.vision.files import Summary

NAMED = 10
"""Skipped files that are printed; all of them are in the JSON file."""
QUIET_S = 30.0
"""Seconds between lines of progress where there is no terminal."""


def say(console: Console, text: str) -> None:
    """Print a line as it is, but for what `console` cannot show."""
    console.print(_printable(console, text), markup=False, highlight=False, soft_wrap=True)


def _printable(console: Console, text: str) -> str:
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
            stage = _printable(console, stage)
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)
            if not console.is_terminal and time.monotonic() - printed >= QUIET_S:
                printed = time.monotonic()
                say(console, f"{stage}: {done}" + (f" of {total}" if total else ""))

        yield update


def print_summary(
    console: Console, summary: Summary, left_out: dict[str, int], where: Sequence[Path]
) -> None:
    """What was found, what was left out, and where the results lie."""
    for skipped in summary.skipped[:NAMED]:
        say(console, f"Left out: {skipped.path}: {skipped.reason}")
    if len(summary.skipped) > NAMED:
        say(console, f"Left out: {len(summary.skipped) - NAMED} more; the JSON file names them all")
    looked = summary.pictures + summary.frames
    each = f" ({1e3 * summary.seconds / looked:.1f} ms each)" if looked else ""
    say(
        console,
        f"{summary.pictures} pictures and {summary.frames} video frames{each}: {summary.faces} "
        f"faces, {summary.without_face} without a face",
    )
    if left_out["small"] or left_out["many"]:
        say(
            console,
            f"Not used: {left_out['small']} faces below --min-face, {left_out['many']} beyond "
            "--max-faces",
        )
    for label, count in summary.labels.most_common():
        say(console, f"{count:6d} {label}")
    for path in where:
        say(console, f"Written: {path}")
