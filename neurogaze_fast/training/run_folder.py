"""A run's folder: there whole or not at all, described by a sealed config.json, with one writer."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from neurogaze_fast.artifacts import atomic_write, check_fields, fsync_folder, seal, unseal
from neurogaze_fast.config import to_dict
from neurogaze_fast.errors import ConfigError, OutputExistsError
from neurogaze_fast.locks import locked

CONFIG_FILE = "config.json"
BANK_FILE = "bank.safetensors"
CHECKPOINTS = "checkpoints"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A draft to write into, which becomes the run's `folder` at the end of the block.

    A process that is killed in between leaves no folder of that name, so the same command can
    start again.

    Raises:
        OutputExistsError: `folder` exists. ConfigError: it cannot be created.
    """
    there = OutputExistsError(
        f"{folder} exists and was left alone. Choose another --out, or continue it with "
        f"--resume {folder}."
    )
    if os.path.lexists(folder):
        raise there
    draft = folder.parent / f".starting-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        draft.mkdir(parents=True)
    except OSError as cause:
        raise ConfigError(f"{folder} cannot be created ({cause.strerror}).") from cause
    try:
        yield draft
        try:
            os.rename(draft, folder)
        except OSError as cause:
            if cause.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise there from cause
            raise ConfigError(f"{folder} cannot be created ({cause.strerror}).") from cause
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    fsync_folder(folder.parent)


def write_config(folder: Path, config: Any, metadata: dict[str, Any]) -> str:
    """Write the options and what the run is made from, sealed; return the seal.

    The seal is the run's identity: it never changes, and checkpoints and the model carry it.
    """
    description = seal({"config": to_dict(config), **metadata})
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    atomic_write(folder / CONFIG_FILE, text.encode())
    return description["sha256"]


def read_config(path: Path) -> dict[str, Any]:
    """A run's config.json with its seal, verified.

    Raises:
        ConfigError: unreadable, edited, or not one of ours.
    """
    try:
        sealed = json.loads(Path(path).read_text(encoding="utf-8"))
        unseal(sealed)
    except OSError as cause:
        raise ConfigError(
            f"{path} cannot be read ({cause.strerror}): is this a run folder?"
        ) from cause
    except (ValueError, TypeError, AttributeError, RecursionError) as cause:
        raise ConfigError(f"{path} is damaged ({cause}): restore it from a copy.") from cause
    check_fields(sealed, {"config": dict}, path, ConfigError)
    return sealed


@contextmanager
def sole_writer(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a run for this process; a second one that would write it is told.

    The lock lies on the open config.json, so it adds no file and ends with the process, however
    that ends. On a file system without locks `say` gets a line, and the run goes on.

    Raises:
        RunInUseError: another process holds it. ConfigError: there is no config.json.
    """
    path = folder / CONFIG_FILE
    taken = (
        f"Another process is training {folder} at this moment, so it was left alone. Wait "
        "until that one ends or stop it; then --resume goes on from what it saved."
    )

    def unlocked(cause: OSError) -> None:
        say(
            f"The file system of {folder} cannot lock files ({cause.strerror}): take care that "
            "no other process continues this run."
        )

    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, taken, unlocked))
        except OSError as cause:
            raise ConfigError(
                f"{path} cannot be opened ({cause.strerror}): is this a run folder?"
            ) from cause
        yield
