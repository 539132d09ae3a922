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

    from neurogaze_fast.deploy.predict_files import Summary

NAMED = 10
"""Skipped files that are printed; all of them are in the JSON file."""
QUIET_S = 30.0
"""Seconds between lines of progress where there is no terminal."""


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
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)
            if not console.is_terminal and time.monotonic() - printed >= QUIET_S:
                printed = time.monotonic()
                line = f"{stage}: {done}" + (f" of {total}" if total else "")
                console.print(line, markup=False, highlight=False)

        yield update


def print_summary(
    console: Console, summary: Summary, left_out: dict[str, int], where: Sequence[Path]
) -> None:
    """What was found, what was left out, and where the results lie."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    for skipped in summary.skipped[:NAMED]:
        say(f"Left out: {skipped.path}: {skipped.reason}")
    if len(summary.skipped) > NAMED:
        say(f"Left out: {len(summary.skipped) - NAMED} more; the JSON file names them all")
    looked = summary.pictures + summary.frames
    each = f" ({1e3 * summary.seconds / looked:.1f} ms each)" if looked else ""
    say(
        f"{summary.pictures} pictures and {summary.frames} video frames{each}: {summary.faces} "
        f"faces, {summary.without_face} without a face"
    )
    if left_out["small"] or left_out["many"]:
        say(
            f"Not used: {left_out['small']} faces below --min-face, {left_out['many']} beyond "
            "--max-faces"
        )
    for label, count in summary.labels.most_common():
        say(f"{count:6d} {label}")
    for path in where:
        say(f"Written: {path}")
