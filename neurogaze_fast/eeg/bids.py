"""Data sets in BIDS: clips from events.tsv, ratings from the events or from a table of their own.

The recordings themselves are read as any other (:mod:`~neurogaze_fast.eeg.files`), with what the
tables beside them say of their channels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurogaze_fast.delimited import DelimitedTable, read_delimited
from neurogaze_fast.eeg.bids_sidecar import NOTHING, beside, cell, entities, is_bids
from neurogaze_fast.eeg.bids_tables import (
    check_wide,
    columns_of,
    has_columns,
    ratings_table,
    rows_of_person,
)
from neurogaze_fast.eeg.clip_csv import ClipRow
from neurogaze_fast.eeg.defects import MIN_SECONDS
from neurogaze_fast.eeg.description import BidsDescription
from neurogaze_fast.eeg.files import clip_pieces
from neurogaze_fast.eeg.pieces import Piece, left_out_piece
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import DataError

RECORDINGS = (".edf", ".bdf", ".set", ".vhdr", ".fif", ".gdf", ".cnt")


@dataclass(frozen=True)
class _Event:
    start: float
    end: float | None
    name: str
    row: int
    """Its place in the table."""


def read_bids(
    root: Path,
    described: BidsDescription,
    *,
    scale: tuple[float, float] = (-1.0, 1.0),
    montage: Any = None,
    sites: tuple[str, ...] | None = None,
) -> Iterator[Trial | LeftOut]:
    """The clips of a BIDS tree, as :func:`~neurogaze_fast.eeg.files.read_recording` gives them.

    Subjects become "file-LABEL". A recording without clips, or whose ratings do not fit its clips,
    is left out and counted.

    Args:
        root: The data set's folder.
        described: What its tables call clips, films and ratings.
        scale: Lowest and highest rating, where the description has none.
        montage, sites: See read_recording.

    Raises:
        DataError: there is no recording, no clip in any, no column of ratings, or nothing that says
            which film a clip was; names the columns there are.
    """
    for piece in bids_pieces(root, described, scale=scale, montage=montage, sites=sites):
        yield from piece.read()


def bids_pieces(
    root: Path,
    described: BidsDescription,
    *,
    scale: tuple[float, float] = (-1.0, 1.0),
    montage: Any = None,
    sites: tuple[str, ...] | None = None,
) -> list[Piece]:
    """A piece for each person; arguments and errors as above."""
    rows, out = bids_rows(root, described, scale)
    pieces = clip_pieces(root, rows, str(root), montage=montage, sites=sites)
    return [*left_out_piece("recordings without clips", out), *pieces]


def bids_rows(
    root: Path, described: BidsDescription, scale: tuple[float, float]
) -> tuple[list[ClipRow], list[LeftOut]]:
    """The clips of all recordings, and the recordings without; arguments and errors as above."""
    root = Path(root)
    recordings = _recordings(root, described.task)
    rows: list[ClipRow] = []
    out: list[LeftOut] = []
    for file in recordings:
        path = beside(file, "events.tsv")
        if path is None:
            out.append(LeftOut(file, "the recording", "no events.tsv for it"))
            continue
        table = read_delimited(path, ("onset", "duration", described.column))
        _check_columns(table, described)
        if untimed := _untimed(table, described):
            out.append(LeftOut(file, f"the recording ({untimed})", "an event without a time"))
            continue
        events = _clips(table, described)
        if not events:
            out.append(LeftOut(file, "the recording", _no_clips(table, described)))
            continue
        found = _rated(root, file, table, events, described, scale)
        if isinstance(found, LeftOut):
            out.append(found)
        else:
            rows += found
    if not rows:
        reasons = Counter(part.reason for part in out).most_common(3)
        raise DataError(
            f"{root}: none of its {len(recordings)} recordings has a clip: "
            + "; ".join(f"{reason} ({count})" for reason, count in reasons)
            + ". Name the events that are clips in a file for --description."
        )
    return rows, out


def _recordings(root: Path, task: str) -> list[Path]:
    found = [
        path
        for path in sorted(root.glob("sub-*/**/eeg/*"))
        if is_bids(path) and path.suffix.lower() in RECORDINGS
        and (not task or entities(path.name).get("task") == task)
    ]  # fmt: skip
    if found:
        return found
    of_task = f" of the task {task}" if task else ""
    raise DataError(
        f"{root} holds no BIDS recording{of_task} (sub-01/[ses-1/]eeg/sub-01_task-x_eeg.edf, "
        f"or {', '.join(RECORDINGS[1:])}). Give the folder that holds dataset_description.json; "
        "where files are links to nowhere, fetch them first (datalad get, or openneuro download)."
    )


def _check_columns(table: DelimitedTable, described: BidsDescription) -> None:
    """Refuse a table of events that lacks a column, before anything is said of its rows."""
    if missing := sorted({"onset", "duration"} - set(table.columns)):
        raise DataError(f"{table.path} lacks {', '.join(missing)}; it has {columns_of(table)}.")
    if described.clips and table.column(described.column) is None:
        raise DataError(
            f"{table.path} has no column {described.column}; it has {columns_of(table)}. Name the "
            "one that says what an event is: column = in the description."
        )


def _clips(table: DelimitedTable, described: BidsDescription) -> list[_Event]:
    """The events that are clips, in the order of time."""
    events = []
    for at, row in enumerate(table.rows):
        onset = _seconds(cell(table, row.fields, "onset"))
        duration = _seconds(cell(table, row.fields, "duration")) or 0.0
        if onset is not None:
            name = cell(table, row.fields, described.column)
            end = onset + duration if duration > 0 else None
            events.append(_Event(onset, end, name, at))
    events.sort(key=lambda event: event.start)
    kept = []
    for at, event in enumerate(events):
        end = event.end
        if end is None and described.clips:
            later = (e.start for e in events[at + 1 :] if e.name in described.end)
            end = next(later, None)
            if end is None and described.seconds:
                end = event.start + described.seconds
        wanted = event.name in described.clips if described.clips else (
            end is not None and end - event.start >= MIN_SECONDS
        )  # fmt: skip
        if wanted:
            kept.append(_Event(event.start, end, event.name, event.row))
    return kept


def _untimed(table: DelimitedTable, described: BidsDescription) -> str:
    """The first event that may begin or end a clip and has no time within the recording: how many
    clips came before it cannot be told."""
    for row in table.rows:
        name = cell(table, row.fields, described.column)
        lasts = _seconds(cell(table, row.fields, "duration")) or 0.0
        counts = name in (*described.clips, *described.end) if described.clips else (
            lasts >= MIN_SECONDS
        )  # fmt: skip
        onset = cell(table, row.fields, "onset")
        if counts and _seconds(onset) is None:
            return f"line {row.line} of its events: onset {onset or 'n/a'}"
    return ""


def _no_clips(table: DelimitedTable, described: BidsDescription) -> str:
    names = Counter(cell(table, row.fields, described.column) for row in table.rows)
    known = ", ".join(name or "(empty)" for name, _ in names.most_common(8)) or "none"
    if described.clips:
        return f"no event is called {' or '.join(described.clips)} ({described.column}: {known})"
    return f"no event lasts {MIN_SECONDS:g} s ({described.column}: {known})"


def _rated(
    root: Path,
    file: Path,
    table: DelimitedTable,
    events: list[_Event],
    described: BidsDescription,
    scale: tuple[float, float],
) -> list[ClipRow] | LeftOut:
    """A row for each clip of a recording; LeftOut where ratings cannot be told apart."""
    own = entities(file.name)
    clip_fields = [table.rows[event.row].fields for event in events]
    ratings, fields = table, list(clip_fields)
    films = [
        cell(table, row, described.film) if described.film else event.name
        for row, event in zip(clip_fields, events, strict=True)
    ]
    if described.ratings != "none":
        columns = [described.valence, described.arousal]
        if described.ratings or not has_columns(table, columns):
            ratings = ratings_table(root, own, table, described)
            mine = rows_of_person(ratings, own["sub"])
            key = described.match
            if "{film}" in described.valence + described.arousal:
                if len(mine) != 1:
                    return LeftOut(
                        file, "the recording", f"{len(mine)} rows of the person in the ratings"
                    )
                fields = mine * len(events)
                check_wide(ratings, films, described)
            elif key:
                by_film: dict[str, tuple[str, ...]] = {}
                for row in mine:
                    film = cell(ratings, row, key)
                    before = by_film.setdefault(film, row)
                    if [cell(ratings, before, c) for c in columns] != [
                        cell(ratings, row, c) for c in columns
                    ]:
                        what = f"the recording ({ratings.path.name}: {film})"
                        return LeftOut(file, what, "the person rated a film twice, unlike")
                nothing = ("",) * len(ratings.header)
                fields = [by_film.get(film, nothing) for film in films]
                if not any(film in by_film for film in films):
                    raise DataError(
                        f"{ratings.path}: no {key} is one of the films in {table.path} "
                        f"({', '.join(films[:4])}); it has {', '.join(list(by_film)[:4])}."
                    )
            elif len(mine) != len(events):
                reason = "as many rows of ratings as clips are needed to match them by order"
                return LeftOut(file, f"the recording ({len(mine)}, {len(events)})", reason)
            else:
                fields = mine
    if described.film:
        films = [
            film or cell(ratings, rated, described.film)
            for film, rated in zip(films, fields, strict=True)
        ]
    _check_films(films, table, ratings, described)
    session = "_".join(f"{k}-{v}" for k, v in own.items() if k in ("ses", "task", "acq", "run"))
    rows = []
    for number, (event, film, rated) in enumerate(zip(events, films, fields, strict=True), start=1):
        clip = f"{session}_clip-{number:02d}"
        texts = "", ""
        if described.ratings != "none":
            valence, arousal = (
                cell(ratings, rated, name.replace("{film}", film))
                for name in (described.valence, described.arousal)
            )
            texts = valence, arousal
        start = event.start - described.baseline
        rows.append(
            ClipRow(
                line=table.rows[event.row].line,
                file=str(file.relative_to(root)),
                subject=own["sub"],
                clip=clip,
                span=(event.start, event.end),
                baseline=(start, event.start) if described.baseline and start >= 0 else None,
                ratings=texts,
                scale=(described.scale[0], described.scale[1]) if described.scale else scale,
                # A film nobody names is nobody else's.
                film=film if described.film != "none" else f"{own['sub']} {clip}",
            )
        )
    return rows


def _check_films(
    films: list[str], table: DelimitedTable, ratings: DelimitedTable, described: BidsDescription
) -> None:
    """Refuse clips of which nothing says which film they were: films could not be held out."""
    if described.film == "none":
        return
    twice = [film for film, count in Counter(films).items() if count > 1]
    if all(films) and (described.film or not twice):
        return
    what = f"{len(films)} clips are called {twice[0]!r} alike" if twice and all(films) else (
        f"{films.count('')} of {len(films)} clips have no film"
    )  # fmt: skip
    others = "" if ratings is table else f"; {ratings.path.name} has {columns_of(ratings)}"
    raise DataError(
        f"{table.path}: {what}, so it is not said who watched the same. Name the column that tells "
        f'the films apart by film = in the description (film = "none": nothing does); there are '
        f"{columns_of(table)}{others}."
    )


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 and text not in NOTHING else None
