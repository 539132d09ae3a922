"""Cases in child processes: one that crashes or hangs is counted, and the next goes on."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_SHOWN = 300
"""Characters of a verdict: a line must fit into a pipe in one piece."""


def verdicts(
    count: int,
    judge: Callable[[int], str | None],
    *,
    seconds: int = 60,
    more_bytes: int | None = None,
) -> list[str | None]:
    """`judge(i)` for each i below `count`, in a forked child.

    Args:
        judge: None where the case is withstood, else what is wrong; what it raises is wrong.
        seconds: of one case, after which it counts as hanging.
        more_bytes: of address space that a child may take beside what it has at the fork.

    Returns:
        The verdicts; of a case that ended its process, the signal.
    """
    found: list[str | None] = []
    while len(found) < count:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _judge_all(range(len(found), count), judge, writing, seconds, more_bytes)
        os.close(writing)
        with os.fdopen(reading) as answers:
            found += [json.loads(line) for line in answers]
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if len(found) < count:
            ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            found.append(f"ended its process: {ended}")
    return found


def _judge_all(
    cases: range,
    judge: Callable[[int], str | None],
    writing: int,
    seconds: int,
    more_bytes: int | None,
) -> None:
    """What the child does; it never returns."""
    try:
        gc.freeze()  # what belongs to the parent is not to be collected here
        if "torch" in sys.modules:  # a forked process has none of the parent's threads
            sys.modules["torch"].set_num_threads(1)
        if more_bytes is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + more_bytes
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)  # libraries write of every damaged file
        for case in cases:
            signal.alarm(seconds)
            try:
                verdict = judge(case)
            except Exception as error:
                verdict = f"{type(error).__name__}: {error}"
            os.write(writing, json.dumps(verdict and verdict[:_SHOWN]).encode() + b"\n")
    finally:
        os._exit(0)


def examples(found: list[str | None], names: list[str], most: int = 10) -> list[str]:
    """The first failures with the names of their cases."""
    bad = [f"{name}: {what}" for name, what in zip(names, found, strict=True) if what]
    return bad[:most]
