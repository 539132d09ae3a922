"""What is read, measured and kept together, so that a job can be divided or continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from neurogaze_fast.eeg.recording import LeftOut, Trial

Named = TypeVar("Named")


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of the recordings that nothing outside it is needed to read."""

    name: str
    """Unique within its source, and the same on every machine."""
    person: str | None
    """Whose it is: pieces of one person are never divided. None: not said by the files' names and
    tables, as of parts that are left out."""
    files: tuple[Path, ...]
    """The recordings it is read from."""
    read: Callable[[], Iterator[Trial | LeftOut]]
    """Its trials; called once."""


def owners(people: Sequence[str | None], count: int) -> list[int]:
    """Which of `count` shards each piece belongs to, by whose it is: people are dealt out in the
    order of their first pieces."""
    turn: dict[str, int] = {}
    return [
        0 if person is None else turn.setdefault(person, len(turn)) % count for person in people
    ]


def left_out_piece(name: str, parts: Sequence[LeftOut]) -> list[Piece]:
    """A piece of what is already known to be left out; none where there is nothing."""
    return [Piece(name, None, (), lambda: iter(parts))] if parts else []


def sharing(people_of: Mapping[Named, set[str]]) -> list[list[Named]]:
    """What shares a person, directly or through others, together; in the order given."""
    groups: list[tuple[set[str], list[Named]]] = []
    for name, people in people_of.items():
        alike = [group for group in groups if group[0] & people]
        if not alike:
            groups.append((set(people), [name]))
            continue
        first = alike[0]
        for other in alike[1:]:
            groups.remove(other)
            first[0].update(other[0])
            first[1].extend(other[1])
        first[0].update(people)
        first[1].append(name)
    order = {name: at for at, name in enumerate(people_of)}
    return [sorted(names, key=order.__getitem__) for _, names in groups]
