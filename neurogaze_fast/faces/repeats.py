"""Faces that a table lists more than once: counted once where its rows agree, else as one says."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.listed import LeftOut

_NAMED = 100
"""Contradictions an error names."""
_CONTRADICTION = "different labels or splits"


@dataclass(frozen=True)
class Listing:
    """What one row says of one face."""

    face: Hashable
    """The same for the same face, however its file is called."""
    file: str
    """As the table calls it."""
    where: str
    """The row, in words."""
    label: str
    split: str
    drawn: bool = False
    """The split was drawn by the file's name, so it contradicts nothing."""


def kept_rows(
    rows: Sequence[Listing], table: Path, on_conflict: str | None, left_out: LeftOut
) -> list[bool]:
    """Of each row, whether it is used: the first of each face, unless its rows contradict.

    Args:
        table: The file they are of, or its folder.
        on_conflict: Of contradictory rows, ``drop`` all or keep the ``first``; None: refuse.
        left_out: Counts those that are not used.

    Raises:
        DataError: rows contradict one another, and nothing says what to do; names them all.
    """
    by_face: dict[Hashable, list[Listing]] = {}
    for row in rows:
        by_face.setdefault(row.face, []).append(row)
    several = {face: same for face, same in by_face.items() if len(same) > 1}
    conflicts = {face: words for face, same in several.items() if (words := _conflict(same))}
    if conflicts and on_conflict is None:
        named = "; ".join(
            f"{several[face][0].file}: {words}" for face, words in list(conflicts.items())[:_NAMED]
        )
        more = f"; and {len(conflicts) - _NAMED} others" if len(conflicts) > _NAMED else ""
        raise DataError(
            f"{table} lists {len(conflicts)} image(s) more than once with different labels or "
            f"splits: {named}{more}. Keep one row of each, or give --on-conflict drop to leave out "
            "all rows of these images, or --on-conflict first to keep the first row of each."
        )
    kept = []
    for row in rows:
        first, conflict = row is by_face[row.face][0], row.face in conflicts
        kept.append(first and not (conflict and on_conflict == "drop"))
        if not kept[-1]:
            reason = f"listed with {_CONTRADICTION}" if conflict else "listed twice"
            left_out.add(row.split, reason)
    return kept


def _conflict(same: list[Listing]) -> str:
    """How the rows of one face differ, or nothing."""
    for what, found in (
        ("labels", [(row.label, row) for row in same]),
        ("splits", [(row.split, row) for row in same if not row.drawn]),
    ):
        if len({value for value, _ in found}) > 1:
            each = ", ".join(
                f"{value or 'none'} in {row.where}"
                + (f" (as {row.file})" if row.file != same[0].file else "")
                for value, row in found
            )
            return f"different {what}, {each}"
    return ""
