"""Any recording: .bdf, .edf, tables, and what MNE reads (.set, .fif, .vhdr, ...).

Its clips are named by a csv. The csv's columns are in :mod:`~neurogaze_fast.eeg.clip_csv`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.eeg.choose import MIN_SITES, choose
from neurogaze_fast.eeg.clip_csv import ClipRow, read_clip_rows
from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.gaps import OTHER_SCALE
from neurogaze_fast.eeg.labels import sites_of, tidy_label
from neurogaze_fast.eeg.one_clip import clip_of, what_of
from neurogaze_fast.eeg.open_recording import open_recording
from neurogaze_fast.eeg.pieces import Piece, left_out_piece, sharing
from neurogaze_fast.eeg.places import montage_points, planar
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import ConfigError, DataError

__all__ = ["MIN_SITES", "read_recording", "sites_of", "tidy_label"]

FOLDER_KINDS = (".mff", ".ds")
"""Recordings that are folders: EGI's, CTF's."""


def read_recording(
    path: Path,
    ratings_csv: Path,
    *,
    scale: tuple[float, float] = (-1.0, 1.0),
    montage: Any = None,
    sites: tuple[str, ...] | None = None,
) -> Iterator[Trial | LeftOut]:
    """The clips of one recording, or of all recordings of a folder.

    Channel names are tidied ("EEG Fp1.-Ref" is Fp1, T3 is T7) and looked up in the 10-20 system.
    Where a montage or the file gives positions and the names are of another system, channels stand
    for the sites they lie nearest to (with no sites asked for, for themselves); a trial says which.
    A channel is left out, counted once per file, where it is no site or has no known unit; one that
    is marked bad is passed on as bad. A clip is left out, counted, where it is damaged, lies
    outside its recording, is shorter than 10 s, or has a rating that is no number or outside its
    scale, or only one of the two. Subjects become "file-SUBJECT", and values microvolts.

    Times are true time from the first sample, also where the file leaves time out between its
    records (EDF+D, BDF+D). What was not recorded, or is marked as bad, is named in the trial's
    gaps: no window may touch it.

    Args:
        path: A recording, or the folder that the csv's `file` is relative to. For one recording
            the rows that name another file are counted and not read; an empty `file` is it.
        ratings_csv: The clips.
        scale: Lowest and highest rating, for rows without their own `scale`.
        montage: Where the channels are: a name of MNE's, a file, or a DigMontage; None: where the
            file says, or else their names.
        sites: What is wanted; None: every channel.

    Raises:
        DataError: path or csv is missing; a column is missing; a row is cut short or has a time
            or scale that is no number (names the line); no row is about this recording.
        ConfigError: `scale` is not two increasing numbers, or MNE is not installed.
    """
    pieces = recording_pieces(path, ratings_csv, scale=scale, montage=montage, sites=sites)
    for piece in pieces:
        yield from piece.read()


def recording_pieces(
    path: Path,
    ratings_csv: Path,
    *,
    scale: tuple[float, float] = (-1.0, 1.0),
    montage: Any = None,
    sites: tuple[str, ...] | None = None,
) -> list[Piece]:
    """A piece for the recordings of each person; arguments and errors as above."""
    path, ratings_csv = Path(path), Path(ratings_csv)
    if not (math.isfinite(scale[0]) and math.isfinite(scale[1]) and scale[0] < scale[1]):
        raise ConfigError(f"scale is {scale!r}; give the lowest and the highest rating, as 1 9.")
    _require_recording(path)
    rows = read_clip_rows(ratings_csv, scale)
    return clip_pieces(path, rows, str(ratings_csv), montage=montage, sites=sites)


def read_clips(
    path: Path,
    rows: list[ClipRow],
    source: str = "The list of clips",
    *,
    montage: Any = None,
    sites: tuple[str, ...] | None = None,
) -> Iterator[Trial | LeftOut]:
    """As :func:`read_recording`, for rows that were read or made already.

    Args:
        path: A recording, or the folder that the rows' `file` is relative to.
        rows: The clips; an empty `file` is `path` itself.
        source: Where the rows are from, for messages.
        montage, sites: See read_recording.
    """
    for piece in clip_pieces(path, rows, source, montage=montage, sites=sites):
        yield from piece.read()


def clip_pieces(
    path: Path,
    rows: list[ClipRow],
    source: str,
    *,
    montage: Any = None,
    sites: tuple[str, ...] | None = None,
) -> list[Piece]:
    """A piece for the recordings of each person; a recording of several people joins theirs."""
    _require_recording(path)
    root = path if _is_folder_of_recordings(path) else path.parent
    chosen: dict[Path, list[ClipRow]] = {}
    others = []
    for row in rows:
        file = _located(root, row.file) if row.file else path
        if root == path or file.resolve() == path.resolve():
            chosen.setdefault(file, []).append(row)
        else:
            others.append(row)
    if not chosen:
        raise DataError(
            f"{source}: none of its {len(rows)} rows names {path.name}. The column `file` is "
            f"the recording's path relative to {root}."
        )
    elsewhere = [
        LeftOut(root / row.file, f"line {row.line}", "the row names another recording")
        for row in others
    ]

    def piece(files: list[Path]) -> Piece:
        def read() -> Iterator[Trial | LeftOut]:
            taken: set[tuple[str, str]] = set()
            for file in files:
                yield from _read_file(file, chosen[file], taken, montage, sites)

        first = chosen[files[0]][0]
        return Piece(first.file or path.name, f"file-{first.subject}", tuple(files), read)

    people = {file: {row.subject for row in of_file} for file, of_file in chosen.items()}
    return [
        *left_out_piece("rows of other recordings", elsewhere),
        *(piece(files) for files in sharing(people)),
    ]


def _require_recording(path: Path) -> None:
    try:
        import mne  # noqa: F401
    except ModuleNotFoundError as cause:
        raise ConfigError(
            "Reading recordings needs MNE, and it is not installed. Run: pip install "
            "'neurogaze_fast[eeg]'."
        ) from cause
    if not path.exists():
        raise DataError(f"{path} does not exist. Give a recording, or a folder of recordings.")


def _is_folder_of_recordings(path: Path) -> bool:
    """Whether a folder holds recordings; that of EGI or CTF is itself one."""
    return path.is_dir() and path.suffix.lower() not in FOLDER_KINDS


def named_files(path: Path, rows: list[ClipRow]) -> list[Path]:
    """The recordings that the rows name, each once."""
    root = path if _is_folder_of_recordings(path) else path.parent
    return list(dict.fromkeys(_located(root, row.file) if row.file else path for row in rows))


def _located(root: Path, name: str) -> Path:
    """The file that a row names. A name written on Windows has its folders behind backslashes, and
    may have capitals where the file has none: it is the one file that fits it so."""
    file = root / name
    if file.exists():
        return file
    file = root / name.replace("\\", "/")
    if file.exists() or not file.parent.is_dir():
        return file
    alike = [each for each in file.parent.iterdir() if each.name.casefold() == file.name.casefold()]
    return alike[0] if len(alike) == 1 else file


def _read_file(
    file: Path,
    rows: list[ClipRow],
    taken: set[tuple[str, str]],
    montage: Any,
    wanted: tuple[str, ...] | None,
) -> Iterator[Trial | LeftOut]:
    def all_out(reason: str, detail: str = "") -> Iterator[LeftOut]:
        for row in rows:
            yield LeftOut(file, what_of(row) + (f" ({detail})" if detail else ""), reason)

    if not file.is_file() and not (file.is_dir() and file.suffix.lower() in FOLDER_KINDS):
        yield from all_out("the recording is missing")
        return
    try:
        recording = open_recording(file)
    except UnreadableError as cause:
        yield from all_out(cause.reason, cause.detail)
        return
    points, sphere = recording.points, recording.sphere
    if montage is not None:
        points, sphere = montage_points([c.label for c in recording.channels], montage)
    used, unused, stand_ins = choose(recording, points, sphere, wanted)
    for label, reason in unused:
        yield LeftOut(file, f"channel {label}", reason)
    if len(used) < MIN_SITES:
        sites = [site for site in sites_of([c.label for c in recording.channels]) if site]
        labels = ", ".join(channel.label for channel in recording.channels[:8])
        what = "can be used" if len(sites) >= MIN_SITES else "are sites of the 10-20 system"
        yield from all_out(
            f"fewer than {MIN_SITES} channels {what}",
            f"labels found: {labels or 'none'}; known are Fp1, AF3, F7, Cz, T7 or T3, O2 and the "
            "like, with a common reference such as Fp1-Ref",
        )
        return
    doubted: set[str] = set()
    for row in rows:
        if (row.subject, row.clip) in taken:
            yield LeftOut(file, what_of(row), "the subject has a clip of this name already")
            continue
        found = clip_of(recording, used, row, file)
        if isinstance(found, Trial):
            at = [points.get(recording.channels[i].label) for i in used]
            here = [place for place in at if place is not None]
            if len(here) == len(at):
                found = replace(found, positions=planar(found.ch_names, np.stack(here), sphere))
            found = replace(found, stand_ins=stand_ins)
        if isinstance(found, Trial):
            taken.add((row.subject, row.clip))
            for gap in found.gaps:
                for site in gap.ch_names or ():
                    if gap.reason == OTHER_SCALE and site not in doubted:
                        doubted.add(site)
                        yield LeftOut(file, f"channel {site}", OTHER_SCALE)
        yield found
