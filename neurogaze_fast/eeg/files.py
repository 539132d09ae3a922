"""Any recording MNE reads (.bdf, .edf, .set, .fif, .vhdr, ...), its clips named by a csv.

The csv's columns are in :mod:`~neurogaze_fast.eeg.clip_csv`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.eeg.bdf import bdf_defect
from neurogaze_fast.eeg.clip_csv import ClipRow, read_clip_rows
from neurogaze_fast.eeg.defects import damage, one_line, signal_defect, unit_rating
from neurogaze_fast.eeg.montage import known_sites
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import ConfigError, DataError

if TYPE_CHECKING:
    import mne

MIN_SITES = 4  # fewer make no map


def read_recording(
    path: Path, ratings_csv: Path, *, scale: tuple[float, float] = (-1.0, 1.0)
) -> Iterator[Trial | LeftOut]:
    """The clips of one recording, or of all recordings of a folder.

    Channel names are tidied ("EEG Fp1.-Ref" is Fp1, T3 is T7) and looked up in the 10-20 system.
    A channel that is no site, or is marked bad in the file, is left out, counted once per file; so
    is a clip that is damaged, lies outside its recording, is shorter than 10 s, or has a rating
    outside its scale or only one of the two ratings. Subjects become "file-SUBJECT". MNE's volts
    become microvolts; a file without units is taken to be in volts, as MNE does.

    Args:
        path: A recording, or the folder that the csv's `file` is relative to. For one recording
            the rows that name another file are counted and not read; an empty `file` is it.
        ratings_csv: The clips.
        scale: Lowest and highest rating, for rows without their own `scale`.

    Raises:
        DataError: path or csv is missing; a column is missing; a row is cut short or has a time
            or scale that is no number (names the line); no row is about this recording.
        ConfigError: `scale` is not two increasing numbers, or MNE is not installed.
    """
    path, ratings_csv = Path(path), Path(ratings_csv)
    if not (math.isfinite(scale[0]) and math.isfinite(scale[1]) and scale[0] < scale[1]):
        raise ConfigError(f"scale is {scale!r}; give the lowest and the highest rating, as 1 9.")
    try:
        import mne  # noqa: F401
    except ModuleNotFoundError as cause:
        raise ConfigError(
            "Reading recordings needs MNE, and it is not installed. Run: pip install "
            "'neurogaze_fast[eeg]'."
        ) from cause
    if not path.exists():
        raise DataError(f"{path} does not exist. Give a recording, or a folder of recordings.")
    rows = read_clip_rows(ratings_csv, scale)
    root = path if path.is_dir() else path.parent
    chosen: dict[Path, list[ClipRow]] = {}
    others = []
    for row in rows:
        file = _located(root, row.file) if row.file else path
        if path.is_dir() or file.resolve() == path.resolve():
            chosen.setdefault(file, []).append(row)
        else:
            others.append(row)
    if not chosen:
        raise DataError(
            f"{ratings_csv}: none of its {len(rows)} rows names {path.name}. The column `file` is "
            f"the recording's path relative to {root}."
        )
    for row in others:
        yield LeftOut(root / row.file, f"line {row.line}", "the row names another recording")
    taken: set[tuple[str, str]] = set()
    for file, of_file in chosen.items():
        yield from _read_file(file, of_file, taken)


def _located(root: Path, name: str) -> Path:
    """The file that a row names; a name written on Windows has its folders behind backslashes."""
    file = root / name
    return root / name.replace("\\", "/") if "\\" in name and not file.exists() else file


def tidy_label(label: str) -> str:
    """A channel's label without what recorders put around the site's name.

    "EEG Fp1-Ref", "FP1.", "eeg:Fp1", "Fp1-LE", "EEG T3-A2" give Fp1, FP1, Fp1, Fp1, T3.
    """
    text = label.strip().strip(".").strip()
    text = re.sub(r"^EEG(?:[\s:_-]+|(?=[A-Z]))", "", text, flags=re.IGNORECASE)
    text = re.sub(
        r"[\s_-]+(?:ref|reference|le|ar|av|avg|cms|m1|m2|a1|a2|a1a2|0|1|2|3)$",
        "",
        text,
        flags=re.IGNORECASE,
    )
    return text.strip(". ")


def sites_of(labels: Sequence[str]) -> list[str | None]:
    """The 10-20 site of each label, None where there is none or an earlier label has it already.

    BioSemi's caps of 128 and more name their positions A1..A32, B1..; some of those (C1..C6) look
    like 10-20 sites and lie elsewhere. Where such labels occur, every one of them is None.
    """
    tidy = [tidy_label(label) for label in labels]
    own = re.compile(r"[A-H](?:[1-9]|[12]\d|3[0-2])", re.IGNORECASE)
    # No 10-20 site is called B1 or A3, every lettered cap has both or one of them.
    if {"A3", "B1"} & {label.upper() for label in tidy}:
        tidy = ["" if own.fullmatch(label) else label for label in tidy]
    found: list[str | None] = []
    for site in known_sites(tidy):
        found.append(None if site in found else site)
    return found


def _read_file(
    file: Path, rows: list[ClipRow], taken: set[tuple[str, str]]
) -> Iterator[Trial | LeftOut]:
    import mne

    def all_out(reason: str, detail: str = "") -> Iterator[LeftOut]:
        for row in rows:
            yield LeftOut(file, _what(row) + (f" ({detail})" if detail else ""), reason)

    if not file.is_file():
        yield from all_out("the recording is missing")
        return
    try:
        # MNE reads what is left of a truncated file without complaint.
        kind = file.suffix[1:].upper()
        defect = bdf_defect(file, kind) if kind in ("BDF", "EDF") else None
        if defect:
            yield from all_out(defect)
            return
        raw = mne.io.read_raw(file, preload=False, verbose="error")
    except Exception as cause:  # each of MNE's readers has its own errors
        yield from all_out("cannot be read by MNE", one_line(cause))
        return

    eeg = [
        name
        for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True)
        if kind == "eeg"
    ]
    sites = dict(zip(eeg, sites_of(eeg), strict=True))
    for name, site in sites.items():
        if site is None:
            reason = "a channel that is no site of the 10-20 system, or a second one there"
            yield LeftOut(file, f"channel {name}", reason)
        elif name in raw.info["bads"]:
            yield LeftOut(file, f"channel {name}", "a channel the file marks as bad")
    used = {n: site for n, site in sites.items() if site and n not in raw.info["bads"]}
    if len(used) < MIN_SITES:
        yield from all_out(f"fewer than {MIN_SITES} channels are sites of the 10-20 system")
        return
    for row in rows:
        if (row.subject, row.clip) in taken:
            yield LeftOut(file, _what(row), "the subject has a clip of this name already")
            continue
        found = _clip(raw, used, row, file)
        if isinstance(found, Trial):
            taken.add((row.subject, row.clip))
        yield found


def _clip(raw: mne.io.BaseRaw, used: dict[str, str], row: ClipRow, file: Path) -> Trial | LeftOut:
    def out(reason: str, detail: str = "") -> LeftOut:
        return LeftOut(file, _what(row) + (f" ({detail})" if detail else ""), reason)

    sfreq = float(raw.info["sfreq"])
    ratings = [unit_rating(text, *row.scale) if text else None for text in row.ratings]
    if bool(row.ratings[0]) != bool(row.ratings[1]):
        return out("only one of valence and arousal")
    if row.ratings[0] and None in ratings:
        return out("rating outside its scale", f"{row.ratings[0]}, {row.ratings[1]}")
    length = raw.n_times / sfreq
    spans = [(row.span[0] or 0.0, length if row.span[1] is None else row.span[1])]
    spans += [row.baseline] if row.baseline else []
    if any(end > length + 0.5 / sfreq or start >= end for start, end in spans):
        return out("the interval is empty or outside the recording", f"it lasts {length:.2f} s")
    try:
        parts = [_microvolts(raw, list(used), start, end, sfreq) for start, end in spans]
    except Exception as cause:  # a damaged file shows here, because samples are read late
        return out("cannot be read by MNE", one_line(cause))
    signal, rest = parts[0], parts[1] if row.baseline else None
    reason = signal_defect(signal, sfreq)
    if reason is None and rest is not None and rest.size:
        reason = damage(rest, "baseline")
    if reason:
        return out(reason)
    return Trial(
        source="file",
        subject=f"file-{row.subject}",
        clip=row.clip,
        signal=signal,
        baseline=rest if rest is not None and rest.size else None,
        sfreq=sfreq,
        ch_names=tuple(used.values()),
        valence=ratings[0],
        arousal=ratings[1],
        path=file,
    )


def _microvolts(
    raw: mne.io.BaseRaw, ch_names: list[str], start: float, end: float, sfreq: float
) -> np.ndarray:
    """float32 [C, T]."""
    first, last = round(start * sfreq), min(round(end * sfreq), raw.n_times)
    picks = [raw.ch_names.index(name) for name in ch_names]
    data = raw.get_data(picks=picks, start=first, stop=last, verbose="error")
    return np.ascontiguousarray(data * 1e6, dtype=np.float32)


def _what(row: ClipRow) -> str:
    return f"line {row.line}: subject {row.subject}, clip {row.clip}"
