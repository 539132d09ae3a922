"""One process at a time: locks on files, which end with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neurogaze_fast.errors import RunInUseError

Unlocked = Callable[[OSError], object]
_ATTEMPTS = 100
"""How often the file of a lock may vanish between being opened and being locked."""
_held: set[int] = set()
"""Descriptors of this process's locks."""


@contextmanager
def locked(path: Path, taken: str, unlocked: Unlocked) -> Iterator[None]:
    """Hold a file that is there for this process.

    Args:
        path: A file: NFS locks only what may be written, so no folder.
        taken: What a second process is told.
        unlocked: Is told why, on a file system without locks; then the block goes on without one.

    Raises:
        RunInUseError: another process holds it. OSError: it cannot be opened.
    """
    descriptor = _take(path, taken, unlocked)
    try:
        yield
    finally:
        _release(descriptor)


@contextmanager
def lock_file(path: Path, taken: str, unlocked: Unlocked) -> Iterator[None]:
    """As :func:`locked`, of a file that is made for it, with its folder, and removed at the end."""
    descriptor = _take_made(path, taken, unlocked)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: nobody else has it
        _release(descriptor)


def _take_made(path: Path, taken: str, unlocked: Unlocked) -> int:
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # whoever had it before removes it, or its folder
            descriptor = _take(path, taken, unlocked, os.O_CREAT)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
            _release(descriptor)
    raise RunInUseError(taken)


def _take(path: Path, taken: str, unlocked: Unlocked, made: int = 0) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | made, 0o666)
    except PermissionError as denied:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise denied from None
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _release(descriptor)
        raise RunInUseError(taken) from None
    except OSError as cause:
        unlocked(cause)
    return descriptor


def _release(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _let_go() -> None:
    """In a forked process: one that outlives its killed parent must not hold the lock."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)
