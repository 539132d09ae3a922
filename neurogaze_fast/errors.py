"""Errors a user can act on. Each message says what was found and what to do, in one paragraph."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from neurogaze_fast.footprint import keep_caches_together


class NeurogazeError(Exception):
    """Base of every error raised for bad input; commands print it and exit with `exit_code`."""

    exit_code = 2


class DataError(NeurogazeError):
    """A data set cannot be read: names the file and, where there is one, the row."""


class ArtifactError(NeurogazeError):
    """A file is missing, altered, or not what its manifest says."""


class BankError(ArtifactError):
    """A prototype bank is altered or does not fit the run."""


class CheckpointError(ArtifactError):
    """A checkpoint or model file is altered or belongs to another run or architecture."""


class ConfigError(NeurogazeError):
    """Options that contradict one another or lie outside their range."""


class OperatorError(NeurogazeError, ValueError):
    """An operator was called with shapes, dtypes, labels or options that do not fit."""


class OutputExistsError(NeurogazeError):
    """The output already exists; nothing was overwritten."""


class NonFiniteError(NeurogazeError):
    """Training met too many non-finite batches in a row."""

    exit_code = 3


class RankLostError(NeurogazeError):
    """Another process of a distributed run is gone."""

    exit_code = 4


class WorkerLostError(NeurogazeError):
    """A process that decodes images or measures trials is gone."""

    exit_code = 4


class RunInUseError(NeurogazeError):
    """Another process is writing this run; nothing was touched."""


class Interrupted(NeurogazeError):
    """SIGTERM (or Ctrl-C) arrived; the state was saved first."""

    exit_code = 143


_SAID_BY_ALL = (RankLostError, WorkerLostError)


def run_command(main: Callable[[], object]) -> None:
    """Run a command; print a :class:`NeurogazeError` as one paragraph and exit with its code."""
    keep_caches_together()
    try:
        main()
    except NeurogazeError as error:
        # Of several processes only the first speaks, but for what another alone can say.
        if os.environ.get("RANK", "0") == "0" or isinstance(error, _SAID_BY_ALL):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:  # a full disk, a folder that may not be read: the system's own words
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(NeurogazeError.exit_code) from None
