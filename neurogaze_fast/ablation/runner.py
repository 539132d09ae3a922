"""Runs the planned runs, several at a time, each a process of its own with its own log."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from neurogaze_fast.ablation.plan import PlannedRun, train_flags
from neurogaze_fast.errors import Interrupted
from neurogaze_fast.signals import stop_on_signal

POLL_S = 0.5
GIVE_UP = 3
"""Failures without a success in between after which no further run is started."""


class Runner:
    """Starts runs as places fall free; a run that was cut short is resumed."""

    def __init__(
        self, logs: Path, *, jobs: int, threads: int, keep_checkpoints: bool, console: Console
    ) -> None:
        self._logs, self._jobs, self._threads = logs, jobs, threads
        self._keep, self._console = keep_checkpoints, console
        self._running: list[tuple[PlannedRun, subprocess.Popen[bytes], float]] = []
        self._in_a_row = 0
        self.failed: dict[str, str] = {}
        """Name of a run -> the last line of its log."""

    def run(self, runs: list[PlannedRun], on_done: Callable[[PlannedRun], object]) -> None:
        """Run everything that is not done yet; `on_done` is called after each success.

        A run that fails is recorded in `failed` and the others go on, unless three fail in a row.

        Raises:
            Interrupted: SIGTERM or Ctrl-C; the running runs have saved their state.
        """
        waiting = [run for run in runs if not run.done]
        total = len(runs)
        before = done = total - len(waiting)
        if done:
            self._console.print(f"{done} of {total} runs are there already.", highlight=False)
        started = time.monotonic()
        with stop_on_signal() as stop:
            try:
                while waiting or self._running:
                    if stop.is_set():
                        self._end()
                        raise Interrupted(
                            "Stopped; the runs under way have saved their state. The same command "
                            "goes on from there."
                        )
                    self._start(waiting)
                    time.sleep(POLL_S)
                    for run in self._finished():
                        done += 1
                        each = (time.monotonic() - started) / (done - before)
                        self._tell(run, done, total, each)
                        on_done(run)
            finally:
                self._end()

    def _start(self, waiting: list[PlannedRun]) -> None:
        if self._in_a_row >= GIVE_UP:
            waiting.clear()
        for run in list(waiting):
            if len(self._running) >= self._jobs:
                return
            if run.after is not None and not (run.after / "metrics.json").exists():
                if all(run.after != other.folder for other, _, _ in self._running) and all(
                    run.after != other.folder for other in waiting
                ):
                    self.failed[run.name] = f"the run it needs, {run.after}, has failed"
                    waiting.remove(run)
                continue
            waiting.remove(run)
            self._launch(run)

    def _launch(self, run: PlannedRun) -> None:
        log = self._logs / f"{run.arm}-seed{run.seed}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        config = replace(run.config, out=run.folder, threads=self._threads)
        words = train_flags(config)
        if run.begun:
            words = ["--resume", str(run.folder), "--threads", str(self._threads)]
        elif run.folder.exists():  # killed before it had anything worth keeping
            shutil.rmtree(run.folder)
        command = [sys.executable, "-m", "neurogaze_fast.train", *words]
        with log.open("ab") as output:
            output.write((" ".join(command) + "\n").encode())
            output.flush()
            # A session of its own: Ctrl-C reaches it through us, once.
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._running.append((run, process, time.monotonic()))

    def _finished(self) -> list[PlannedRun]:
        """Runs that have ended well since the last call."""
        well = []
        for entry in list(self._running):
            run, process, _ = entry
            if process.poll() is None:
                continue
            self._running.remove(entry)
            if process.returncode == 0 and run.done:
                self._in_a_row = 0
                if not self._keep:
                    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
                well.append(run)
                continue
            self._in_a_row += 1
            log = self._logs / f"{run.arm}-seed{run.seed}.log"
            lines = log.read_text(errors="replace").strip().splitlines()
            self.failed[run.name] = lines[-1] if lines else f"exit status {process.returncode}"
            self._console.print(
                f"{run.name} failed ({log}): {self.failed[run.name]}",
                style="red",
                markup=False,
                soft_wrap=True,
            )
        return well

    def _tell(self, run: PlannedRun, done: int, total: int, seconds_each: float) -> None:
        left = seconds_each * (total - done) / 60
        self._console.print(
            f"{done}/{total}  {run.name} done  about {left:.0f} min left",
            highlight=False,
            soft_wrap=True,
        )

    def _end(self) -> None:
        """Ask what runs to save and stop, and wait for it."""
        for _, process, _ in self._running:
            process.terminate()
        for _, process, _ in self._running:
            process.wait()
        self._running.clear()
