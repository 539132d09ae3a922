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
from neurogaze_fast.eeg.defects import damage, signal_defect, unit_rating
from neurogaze_fast.eeg.dropout import odd_scales
from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.gaps import OTHER_SCALE, Gap, within
from neurogaze_fast.eeg.labels import sites_of, tidy_label
from neurogaze_fast.eeg.open_recording import Channel, Recording, open_recording
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
    outside its recording, is shorter than 10 s, or has a rating outside its scale or only one of
    the two ratings. Subjects become "file-SUBJECT", and values microvolts.

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
    path, ratings_csv = Path(path), Path(ratings_csv)
    if not (math.isfinite(scale[0]) and math.isfinite(scale[1]) and scale[0] < scale[1]):
        raise ConfigError(f"scale is {scale!r}; give the lowest and the highest rating, as 1 9.")
    _require_recording(path)
    rows = read_clip_rows(ratings_csv, scale)
    yield from read_clips(path, rows, str(ratings_csv), montage=montage, sites=sites)


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
    for row in others:
        yield LeftOut(root / row.file, f"line {row.line}", "the row names another recording")
    taken: set[tuple[str, str]] = set()
    for file, of_file in chosen.items():
        yield from _read_file(file, of_file, taken, montage, sites)


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
    """The file that a row names; a name written on Windows has its folders behind backslashes."""
    file = root / name
    return root / name.replace("\\", "/") if "\\" in name and not file.exists() else file


def _read_file(
    file: Path,
    rows: list[ClipRow],
    taken: set[tuple[str, str]],
    montage: Any,
    wanted: tuple[str, ...] | None,
) -> Iterator[Trial | LeftOut]:
    def all_out(reason: str, detail: str = "") -> Iterator[LeftOut]:
        for row in rows:
            yield LeftOut(file, _what(row) + (f" ({detail})" if detail else ""), reason)

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
            yield LeftOut(file, _what(row), "the subject has a clip of this name already")
            continue
        found = _clip(recording, used, row, file)
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


def _clip(recording: Recording, used: dict[int, str], row: ClipRow, file: Path) -> Trial | LeftOut:
    def out(reason: str, detail: str = "") -> LeftOut:
        return LeftOut(file, _what(row) + (f" ({detail})" if detail else ""), reason)

    chosen = [recording.channels[i] for i in used]
    ch_names, sfreq = tuple(used.values()), chosen[0].sfreq
    ratings = [unit_rating(text, *row.scale) if text else None for text in row.ratings]
    if bool(row.ratings[0]) != bool(row.ratings[1]):
        return out("only one of valence and arousal")
    if row.ratings[0] and None in ratings:
        return out("rating outside its scale", f"{row.ratings[0]}, {row.ratings[1]}")
    length = recording.seconds
    spans = [(row.span[0] or 0.0, length if row.span[1] is None else row.span[1])]
    spans += [row.baseline] if row.baseline else []
    if any(end > length + 0.5 / sfreq or start >= end for start, end in spans):
        lasts = f"it lasts {length:.2f} s"
        if recording.cut_short:
            return out("the interval lies beyond the end of a file that is cut short", lasts)
        return out("the interval is empty or outside the recording", lasts)
    spans = [(start, min(end, length)) for start, end in spans]
    try:
        parts = [recording.microvolts(list(used), start, end) for start, end in spans]
    except UnreadableError as cause:
        return out(cause.reason, cause.detail)
    # A gap of some channels names them as the file does; a trial names the sites.
    sites = {channel.label: site for channel, site in zip(chosen, ch_names, strict=True)}
    gaps = [within(_at_sites(recording.gaps, sites), start, end) for start, end in spans]
    signal, rest = parts[0], parts[1] if row.baseline and parts[1].size else None
    reason = signal_defect(signal, sfreq, gaps[0])
    if reason is None and rest is not None:
        reason = damage(rest, "baseline", sfreq, gaps[1])
    if reason:
        return out(reason)
    lowpass = [channel.lowpass for channel in chosen if channel.lowpass is not None]
    return Trial(
        source="file",
        subject=f"file-{row.subject}",
        clip=row.clip,
        signal=signal,
        baseline=rest,
        sfreq=sfreq,
        ch_names=ch_names,
        valence=ratings[0],
        arousal=ratings[1],
        path=file,
        gaps=(*gaps[0], *odd_scales(signal, ch_names, sfreq)),
        baseline_gaps=gaps[1] if rest is not None else (),
        lowpass=min(lowpass, default=None),
        film=row.film,
        bads=_bads(chosen, ch_names, row),
    )


def _bads(chosen: list[Channel], ch_names: tuple[str, ...], row: ClipRow) -> tuple[str, ...]:
    """The sites of channels marked as bad, in the file or in the row."""
    listed = {label.casefold() for label in row.bads}
    return tuple(
        site
        for channel, site in zip(chosen, ch_names, strict=True)
        if channel.bad or {channel.label.casefold(), site.casefold()} & listed
    )


def _at_sites(gaps: tuple[Gap, ...], sites: dict[str, str]) -> Iterator[Gap]:
    """Gaps with sites for labels, without those that only concern channels not used."""
    for gap in gaps:
        if gap.ch_names is None:
            yield gap
        elif named := tuple(sites[label] for label in gap.ch_names if label in sites):
            yield replace(gap, ch_names=named)


def _what(row: ClipRow) -> str:
    return f"line {row.line}: subject {row.subject}, clip {row.clip}"
