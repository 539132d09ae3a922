"""A decoding process that was killed, said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from neurogaze_fast.errors import WorkerLostError


@contextmanager
def naming_lost_workers(what_now: str) -> Iterator[None]:
    """Turn torch's ways of telling that a DataLoader's worker died into one error.

    It comes from wherever the training stood when the signal arrived, so the whole loop must lie
    inside. `what_now` says how to go on.

    Raises:
        WorkerLostError: instead of the RuntimeError of the loader.
    """
    try:
        yield
    except RuntimeError as error:
        words = " ".join(str(error).split())
        if not words.startswith("DataLoader worker (pid"):
            raise
        raise WorkerLostError(
            f"A process that decodes images was killed, most often because memory ran out "
            f"({words.split('. ')[0].rstrip('.')}): {what_now}"
        ) from error
