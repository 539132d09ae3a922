"""R7 and R10: signals in every phase of a run, and decoding workers that are killed."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scorecard import runs
from benchmarks.scorecard.processes import context, finish, start
from benchmarks.scorecard.row import Counted, row

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PHASES = [("workers", 1), *(("step", nth) for nth in range(1, 15)), ("valid", 1), ("valid", 2),
          *(("save", nth) for nth in range(1, 6))]  # fmt: skip
"""(where a signal arrives, the how manyth time): starting the workers, in a step, in validation, in
a save."""
GRACE_S = 60.0
"""Time to end in. Generous, for a machine that does other work: at most 10 s where it does not."""
DETECTED_S = 30.0
"""The same for a run that lost a worker; 5 s where the machine does nothing else."""
WORKERS = ("--loader", "torch", "--workers", "2", "--faces", "folder")


def at(phase: str, nth: int, act: Callable[[], None]) -> Callable[[], None]:
    """A function that lets `act` run when a run reaches a phase for the `nth` time."""

    def plant() -> None:
        from neurogaze_fast.evaluation import scoring
        from neurogaze_fast.faces.torch_decoder import TorchDecoder
        from neurogaze_fast.student.step import StudentStep
        from neurogaze_fast.training import checkpoint

        seen = 0

        def counting(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **options: Any) -> Any:
                nonlocal seen
                seen += 1
                if seen == nth:
                    act()
                return call(*arguments, **options)

            return counted

        if phase == "step":
            StudentStep.__call__ = counting(StudentStep.__call__)
        elif phase == "save":
            checkpoint.write_artifact = counting(checkpoint.write_artifact)
        elif phase == "workers":
            TorchDecoder._start = counting(TorchDecoder._start)
        else:
            validator = scoring.validator
            scoring.validator = lambda *a, **o: counting(validator(*a, **o))

    return plant


def signalled(
    argv: list[str], phase: str, nth: int, number: int, deaf: bool, alive: Connection
) -> None:
    """A run in a process group of its own that is sent a signal when it reaches a phase.

    Every process of it holds `alive` open.
    """
    os.setsid()

    def act() -> None:
        os.killpg(0, number)

    def twice() -> None:
        act()
        time.sleep(2.5)  # longer than what counts as the same signal again
        act()
        time.sleep(600)

    def plant() -> None:
        from neurogaze_fast.student import loop

        if deaf:

            @contextlib.contextmanager
            def never() -> Iterator[threading.Event]:
                yield threading.Event()

            loop.stop_on_signal = never
        at("step" if phase == "hang" else phase, nth, twice if phase == "hang" else act)()

    runs.train(argv, plant)


def _interrupted(folder: Path, cases: list[tuple[str, int, int]], deaf: bool) -> Counted:
    from neurogaze_fast.training.checkpoint import newest_checkpoint

    data = runs.file_set(folder / "data")
    options = [*runs.OPTIONS, *WORKERS, "--data", str(data)]
    expected = _undisturbed(folder / "straight", options)
    faults: dict[str, str] = {}
    slowest = 0.0
    for phase, nth, number in cases:
        name = f"{signal.Signals(number).name} in {phase} {nth}"
        place = folder / name.replace(" ", "-")
        here, there = context.Pipe(duplex=False)
        argv = [*options, "--out", str(place)]
        process = start(
            signalled, argv, phase, nth, number, deaf, there, log=folder / f"{place.name}.log"
        )
        there.close()
        code = finish(process)
        wanted = -number if phase == "hang" else 143
        began = time.monotonic()
        if not here.poll(GRACE_S):
            faults[name] = "a process of it lives on"
        slowest = max(slowest, time.monotonic() - began)
        if code == 0 and runs.model_hash(place) == expected:
            continue  # it came in the run's last save: there was nothing left to stop
        if code != wanted:
            faults[name] = f"it ended with {code}, not {wanted}"
            continue
        try:
            newest_checkpoint(place / "checkpoints", "last")
        except Exception as error:
            faults[name] = f"no checkpoint: {error}"
            continue
        log = folder / f"{place.name}.on.log"
        code = finish(start(runs.train, ["--resume", str(place)], log=log))
        if code != 0:
            faults[name] = f"continuing ended with {code}: {_end(log)}"
        elif runs.model_hash(place) != expected:
            faults[name] = "the continued run ends with another model"
    n = len(cases)
    figure = f"{n - len(faults)} of {n} saved, ended with 143 and went on to the same model"
    details = {"faults": faults, "slowest last process, s": round(slowest, 1)}
    return Counted(n, len(faults), figure, details)


def _undisturbed(out: Path, options: list[str]) -> str:
    """Hash of the model of a run that nothing disturbs."""
    log = out.with_suffix(".log")
    code = finish(start(runs.train, [*options, "--out", str(out)], log=log))
    if code != 0:
        raise RuntimeError(f"the run itself ended with {code}: {_end(log)}")
    return runs.model_hash(out)


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-300:] if log.exists() else ""


def _deaf(folder: Path) -> Counted:
    cases = [("step", 4, signal.SIGTERM), ("save", 2, signal.SIGTERM)]
    found = _interrupted(folder, cases, deaf=True)
    return Counted(found.n, found.failures, f"without our handler: {found.figure}", found.details)


@row(
    "R7",
    "SIGTERM or SIGINT to the whole group of a run with two workers, in every phase; a second one",
    "a checkpoint, exit 143, no process left; continued, the run ends with the same model",
    _deaf,
)
def interrupted(folder: Path, scale: float) -> Counted:
    in_turn = itertools.cycle((signal.SIGTERM, signal.SIGTERM, signal.SIGINT))
    cases = [(*phase, number) for phase, number in zip(PHASES, in_turn, strict=False)]
    cases = cases[:: max(1, round(1 / scale))]
    return _interrupted(folder, [*cases, ("hang", 3, signal.SIGTERM)], deaf=False)


def losing_a_worker(argv: list[str], nth: int, pipe: Connection, silent: bool) -> None:
    """A run one of whose workers is killed before a step; the moment is told.

    `silent`: the planted fault, a run that does not look at its workers.
    """

    def act() -> None:
        worker = multiprocessing.active_children()[0]
        pipe.send(time.monotonic())
        os.kill(worker.pid, signal.SIGKILL)
        if silent:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            time.sleep(3600)

    runs.train(argv, at("step", nth, act))


def _worker_killed(folder: Path, steps: list[int], silent: bool, limit_s: float) -> Counted:
    data = runs.file_set(folder / "data")
    options = [*runs.OPTIONS, *WORKERS, "--data", str(data), "--checkpoint-minutes", "0.0001"]
    expected = _undisturbed(folder / "straight", options)
    faults: dict[str, str] = {}
    times = []
    for nth in steps:
        place, log = folder / f"step{nth}", folder / f"step{nth}.log"
        here, there = context.Pipe(duplex=False)
        argv = [*options, "--out", str(place)]
        process = start(losing_a_worker, argv, nth, there, silent, log=log)
        there.close()
        if not here.poll(GRACE_S):
            process.kill()
            raise RuntimeError(f"the run did not reach step {nth}: {_end(log)}")
        killed = here.recv()
        code = finish(process, limit_s)
        times.append(time.monotonic() - killed)
        name = f"before step {nth}"
        if code is None:
            faults[name] = f"it hangs for more than {limit_s:.0f} s"
        elif "Traceback" in log.read_text():
            faults[name] = f"it ended with {code} and a traceback"
        elif code:
            if "--resume" not in log.read_text():
                faults[name] = "the error does not say how to go on"
            again = finish(start(runs.train, ["--resume", str(place)], log=log))
            if again != 0:
                faults[name] = f"continuing ended with {again}"
            elif runs.model_hash(place) != expected:
                faults[name] = "the continued run ends with another model"
    n = len(steps)
    figure = f"{n - len(faults)} of {n} said so and went on; slowest {max(times):.1f} s"
    return Counted(n, len(faults), figure, {"faults": faults})


def _unwatched(folder: Path) -> Counted:
    found = _worker_killed(folder, [3], silent=True, limit_s=10.0)
    return Counted(found.n, found.failures, f"a run that does not look: {found.figure}")


@row(
    "R10",
    "SIGKILL to a decoding worker of a run",
    "one sentence that names --resume, or the run goes on; never a hang",
    _unwatched,
)
def worker_killed(folder: Path, scale: float) -> Counted:
    steps = list(range(1, 11))[: max(1, round(10 * scale))]
    return _worker_killed(folder, steps, silent=False, limit_s=DETECTED_S)
