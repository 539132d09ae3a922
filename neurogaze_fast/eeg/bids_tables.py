"""The table of a BIDS tree that holds the ratings."""

from __future__ import annotations

from pathlib import Path

from neurogaze_fast.delimited import DelimitedTable, read_delimited
from neurogaze_fast.eeg.bids_sidecar import cell, entities
from neurogaze_fast.eeg.description import BidsDescription
from neurogaze_fast.errors import DataError

_TABLES = ("{subject}/**/beh/*_beh.tsv", "phenotype/*.tsv", "participants.tsv")
"""Where ratings are looked for that are not in the events."""


def bids_tables(root: Path, ratings: str) -> list[Path]:
    """The files of a tree that say something of its recordings; `ratings`: the pattern of those.

    Derivatives and source data are other versions of it, and are not read.
    """
    patterns = (
        "**/*.tsv",
        "**/*_coordsystem.json",
        "**/*_eeg.json",
        ratings.replace("{subject}", "sub-*"),
    )
    found = {path for pattern in patterns if pattern for path in root.glob(pattern)}
    unread = {"derivatives", "sourcedata", "code"}
    return sorted(
        path
        for path in found
        if path.is_file() and not unread & set(path.relative_to(root).parts[:-1])
    )


def check_wide(table: DelimitedTable, films: list[str], described: BidsDescription) -> None:
    """Refuse a table with a column for each film that has none for these."""
    names = [
        name.replace("{film}", film)
        for film in films
        for name in (described.valence, described.arousal)
    ]
    if not any(has_columns(table, [name]) for name in names):
        raise DataError(
            f"{table.path} has none of the columns {', '.join(names[:4])}; it has "
            f"{columns_of(table)}. Mend valence = and arousal = in the description."
        )


def ratings_table(
    root: Path, own: dict[str, str], events: DelimitedTable, described: BidsDescription
) -> DelimitedTable:
    """The first table of ratings that has both columns, of the recording's session and task."""
    patterns = (described.ratings,) if described.ratings else _TABLES
    seen = [f"{events.path.relative_to(root)}: {columns_of(events)}"]
    wanted = [name for name in (described.valence, described.arousal) if "{film}" not in name]
    for pattern in patterns:
        for path in sorted(root.glob(pattern.replace("{subject}", f"sub-{own['sub']}"))):
            if any(own.get(key, value) != value for key, value in entities(path.name).items()):
                continue
            table = read_delimited(path, (*wanted, "participant_id"))
            if has_columns(table, wanted):
                return table
            seen.append(f"{path.relative_to(root)}: {columns_of(table)}")
    raise DataError(
        f"{root}: no ratings of sub-{own['sub']}: no table has the columns {described.valence} and "
        f"{described.arousal}. There are {'; '.join(seen[:6])}. Name them by valence = and "
        'arousal = in a file for --description, or say ratings = "none" there.'
    )


def rows_of_person(table: DelimitedTable, person: str) -> list[tuple[str, ...]]:
    """The rows of a person, where a table has several people's."""
    rows = [row.fields for row in table.rows]
    if table.column("participant_id") is None:
        return rows
    ids = {person, f"sub-{person}"}
    return [row for row in rows if cell(table, row, "participant_id") in ids]


def has_columns(table: DelimitedTable, columns: list[str]) -> bool:
    return all(table.column(name) is not None for name in columns)


def columns_of(table: DelimitedTable) -> str:
    return ", ".join(name or "(no name)" for name in table.header)
