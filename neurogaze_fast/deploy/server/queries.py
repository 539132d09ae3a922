"""What may stand after a path's question mark: known names, once each, and nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from multidict import MultiMapping

from neurogaze_fast.deploy.server.http_errors import malformed


def asks_for_nothing_else(query: MultiMapping[str], known: Sequence[str]) -> None:
    """Pass where a request has only these parameters, each once.

    A mistyped one must not be ignored: its caller would take the answer for another's.

    Raises:
        RequestError: 400.
    """
    for name in query:
        if name not in known:
            taken = f"; {', '.join(known)} is taken" if known else "; none is taken here"
            near = difflib.get_close_matches(name[:40], known, 1)
            raise malformed(f"did you mean {near[0]}?" if near else f"an unknown parameter{taken}")
        if len(query.getall(name)) > 1:
            raise malformed(f"{name} is there twice")


def wants_detection(query: MultiMapping[str], can: bool) -> bool:
    """Whether faces are to be looked for in a picture; that is so unless `detect=0` says that it
    is one face, cut out already.

    Args:
        can: Whether a detector is installed.

    Raises:
        RequestError: 400.
    """
    asks_for_nothing_else(query, ("detect",))
    value = query.get("detect", "1")
    if value not in ("0", "1"):
        raise malformed("detect must be 0 or 1")
    if value == "1" and not can:
        raise malformed(
            "no face detector is installed here (pip install 'neurogaze_fast[vision]'); a picture "
            "of one face, cut out already, is taken with detect=0"
        )
    return value == "1"
