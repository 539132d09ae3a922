"""Going on with a predict that was ended early: what was done, written down as it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neurogaze_fast.artifacts import atomic_write, canonical_json, sha256_bytes
from neurogaze_fast.errors import ConfigError

NAME = "resume.json"
PIECES = ".pieces"
"""Folder below the output folder that holds the copies of long videos, piece by piece."""


class Journal:
    """The last moment from which the work can be gone on with."""

    def __init__(self, folder: Path, what: dict[str, Any]) -> None:
        """`what` must be the same when the work goes on: files and options, as JSON."""
        self._path = folder / NAME
        self._key = sha256_bytes(canonical_json(what))

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last; None where there is none.

        Raises:
            ConfigError: it is of other files or options, or damaged.
        """
        try:
            saved = json.loads(self._path.read_bytes())
            key, state = saved["key"], dict(saved["state"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise ConfigError(
                f"{self._path} cannot be read, so nothing can be gone on with ({cause}). Start "
                "again without --resume."
            ) from cause
        if key != self._key:
            raise ConfigError(
                f"{self._path} was written for other files, another model or other options. Give "
                "the same as then, or start again without --resume."
            )
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path, json.dumps({"key": self._key, "state": state}).encode())

    def finish(self) -> None:
        """There is nothing to go on with any more."""
        self._path.unlink(missing_ok=True)


def fingerprint(paths: list[Path]) -> list[list[Any]]:
    """Name, size and time of each file; an address has its name only."""
    found: list[list[Any]] = []
    for path in paths:
        try:
            stat = path.stat()
            found.append([str(path), stat.st_size, stat.st_mtime_ns])
        except OSError:
            found.append([str(path)])
    return found
