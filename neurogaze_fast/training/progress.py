"""Progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """Steps of the whole run; without a terminal, a line every `quiet_s` seconds."""

    def __init__(self, console: Console, total: int, done: int, quiet_s: float = 30.0) -> None:
        self._console, self._total, self._quiet_s = console, total, quiet_s
        self._start, self._first, self._printed = time.monotonic(), done, time.monotonic()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, completed=done, note="")

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, step: int, note: str) -> None:
        """The run stands at `step`; `note` is one short phrase (the loss)."""
        self._bar.update(self._task, completed=step, note=note)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._printed >= self._quiet_s:
            self._printed = now
            left = (now - self._start) / max(1, step - self._first) * (self._total - step)
            self.line(f"step {step}/{self._total}  {note}  about {left:.0f} s left")

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)
