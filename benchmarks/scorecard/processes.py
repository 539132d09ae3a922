"""Child processes that have imported torch already, and what strace sees of them and does to them.

They are forked from a server that has imported much and computed nothing, so that each is as fresh
as a new interpreter without its seconds of imports.
"""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.scorecard.row import CannotRun

CALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "close", "ftruncate", "mkdir",
         "rename", "renameat", "renameat2", "unlink", "unlinkat")  # fmt: skip
"""System calls of a save."""
LIMIT_S = 300
_LINE = re.compile(r"(\w+)\((.*)\) += (\S+)|(\w+)\((.*)")
_PR_SET_PTRACER = 0x59616D61

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    ["benchmarks.scorecard.processes", "neurogaze_fast.train", "neurogaze_fast.student.run",
     "neurogaze_fast.evaluation.write_run", "neurogaze_fast.faces.load", "tests.student.trainers",
     "torch.utils.tensorboard", "tyro"]
)  # fmt: skip


def start(target: Callable[..., Any], *arguments: Any, log: Path | None = None) -> BaseProcess:
    """Run a function of a module in a child process; what it prints goes to `log`, or nowhere."""
    process = context.Process(target=_quiet, args=(target, arguments, log))
    process.start()
    return process


def finish(process: BaseProcess, limit_s: float = LIMIT_S) -> int | None:
    """Exit code of a process (negative: the signal), or None where it had to be killed."""
    process.join(limit_s)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def _quiet(target: Callable[..., Any], arguments: tuple[Any, ...], log: Path | None) -> None:
    _as_a_command()
    _to(log or os.devnull)
    faulthandler.enable()
    target(*arguments)


def _as_a_command() -> None:
    """Start other processes as a command does, not as this one was started."""
    multiprocessing.set_start_method(None, force=True)


def _to(path: Path | str) -> None:
    """Write all that is printed to a file."""
    where = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(where, 1)
    os.dup2(where, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


@dataclass(frozen=True)
class Call:
    """A system call."""

    name: str
    number: int
    """Of the calls of this name, counted from 1, as strace's ``when=`` counts them."""
    words: str
    """Arguments as strace writes them, file descriptors with their paths."""


def strace() -> str:
    """Path of strace.

    Raises:
        CannotRun: it is not installed.
    """
    found = shutil.which("strace")
    if found is None:
        raise CannotRun("strace is not installed")
    return found


def traced(
    prepare: Callable[..., Callable[[], None]],
    *arguments: Any,
    log: Path,
    inject: str | None = None,
) -> tuple[int | None, list[Call]]:
    """Run ``prepare(*arguments)`` in a child, then what it returned under strace.

    Args:
        inject: strace's words for a fault, as in ``fsync:signal=KILL:when=2``.

    Returns:
        (exit code, the calls).
    """
    here, there = context.Pipe()
    child = context.Process(target=_wait_then_run, args=(prepare, arguments, there))
    child.start()
    there.close()
    if not here.poll(LIMIT_S):
        child.kill()
        raise CannotRun("a child process did not start")
    here.recv()
    command = [strace(), "-y", "-s", "0", "-o", str(log), "-p", str(child.pid),
               "-e", "trace=" + ",".join(f"?{name}" for name in CALLS)]  # fmt: skip
    if inject:
        command += ["-e", f"inject={inject}"]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    if "attached" not in said:
        child.kill()
        raise CannotRun(f"strace may not attach to a process here ({said.strip()})")
    here.send("go")
    code = finish(child)
    tracer.communicate()
    return code, _calls(log.read_text())


def _wait_then_run(
    prepare: Callable[..., Any], arguments: tuple[Any, ...], pipe: Connection
) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    _as_a_command()
    _to(os.devnull)
    call = prepare(*arguments)
    pipe.send("ready")
    pipe.recv()
    try:
        call()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _calls(text: str) -> list[Call]:
    counts: dict[str, int] = {}
    calls = []
    for line in text.splitlines():
        if found := _LINE.match(line):
            name = found[1] or found[4]
            counts[name] = counts.get(name, 0) + 1
            calls.append(Call(name, counts[name], found[2] or found[5]))
    return calls
