"""MAHNOB-HCI (Soleymani et al. 2012): Sessions/<id>/session.xml beside one *_emotion.bdf.

The .bdf holds BioSemi's 32 sites, further channels and Status, at 256 samples per second. The low
16 bits of Status are the triggers: the film starts at the first and ends at the second; 30 s were
recorded before and after. session.xml has the ratings (feltVlnc, feltArsl, 1..9), for the sessions
that have any, and the subject.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.eeg.bdf import bdf_defect
from neurogaze_fast.eeg.defects import (
    check_seconds,
    damage,
    last_seconds,
    one_line,
    rating_defect,
    signal_defect,
    unit_rating,
)
from neurogaze_fast.eeg.edf import resumptions
from neurogaze_fast.eeg.gaps import BREAK, Gap, within
from neurogaze_fast.eeg.pieces import Piece
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import ConfigError, DataError

if TYPE_CHECKING:
    import mne

SITES = tuple(
    "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1 Oz Pz "
    "Fp2 AF4 Fz F4 F8 FC6 FC2 Cz C4 T8 CP6 CP2 P4 P8 PO4 O2".split()
)
RATING_RANGE = (1, 9)
BASELINE_SECONDS = 30.0
STATUS = "Status"
TRIGGER_BITS = 0xFFFF
"""Of BioSemi's 24 Status bits the lower 16 are the trigger input; the rest say how the amplifier
fares, and bit 16 is set wherever a recording was resumed."""


class _Unusable(Exception):
    """Carries the reason of a LeftOut, and what to add to its name."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, eq=False)
class _Film:
    """What a session's .bdf holds of the film."""

    signal: np.ndarray  # float32 [32, T], microvolts
    baseline: np.ndarray | None  # float32 [32, Tb], microvolts
    sfreq: float
    gaps: tuple[Gap, ...]
    baseline_gaps: tuple[Gap, ...]
    lowpass: float | None


def read_mahnob(
    folder: Path, *, seconds: float | None = None, labelled: bool = False
) -> Iterator[Trial | LeftOut]:
    """Every session with a film, in the order of its number.

    Subjects are "mahnob-03" by the id in session.xml, or by Part_<n>_ of the file's name where
    there is no session.xml; clips are "session-12". Units are microvolts, against the amplifier's
    own reference (CMS): reference again before use.

    A session is left out, counted, where it has no *_emotion.bdf or more than one (the data set's
    tagging experiments have none), the .bdf is truncated or no BDF, a site or Status is missing,
    Status has not exactly two triggers, the film is shorter than 10 s (most neutral clips are), a
    value is not finite, all is flat, session.xml is damaged or names another subject than the
    file, or (with `labelled`) a rating is no number or lies outside 1..9.

    Args:
        folder: The folder that holds Sessions, or Sessions itself.
        seconds: Of each film, counted from its end; None: the whole film.
        labelled: Take the ratings, by (r - 5) / 4; a session without them stays unlabelled. By
            default no ratings are taken, as the set only supports the teacher.

    Raises:
        DataError: there is no session to read.
        ConfigError: `seconds` is below 10, or MNE is not installed.
    """
    for piece in mahnob_pieces(folder, seconds=seconds, labelled=labelled):
        yield from piece.read()


def mahnob_pieces(
    folder: Path, *, seconds: float | None = None, labelled: bool = False
) -> list[Piece]:
    """A piece for each session; arguments and errors as above."""
    check_seconds(seconds)
    try:
        import mne  # noqa: F401
    except ModuleNotFoundError as cause:
        raise ConfigError(
            "MAHNOB-HCI's recordings need MNE, and it is not installed. Run: pip install "
            "'neurogaze_fast[eeg]'."
        ) from cause

    def piece(session: Path) -> Piece:
        def read() -> Iterator[Trial | LeftOut]:
            try:
                yield _read_session(session, seconds, labelled)
            except _Unusable as found:
                what = f"session {session.name}" + (f" ({found.detail})" if found.detail else "")
                yield LeftOut(session, what, found.reason)

        try:
            _, file, subject = _identified(session)
        except _Unusable:  # counted when it is read
            return Piece(f"session-{session.name}", None, (), read)
        return Piece(f"session-{session.name}", f"mahnob-{subject:02d}", (file,), read)

    return [piece(session) for session in _sessions(Path(folder))]


def stimulus_onsets(status: np.ndarray) -> np.ndarray:
    """int64 [N]: the samples of Status [T] at which a trigger begins.

    The idle value is the one most samples have (usually 0, but an open trigger port floats high),
    and a trigger begins where Status leaves it.
    """
    triggers = status.astype(np.int64) & TRIGGER_BITS
    if not triggers.size:
        return np.zeros(0, np.int64)
    values, counts = np.unique(triggers, return_counts=True)
    away = triggers != values[counts.argmax()]
    return np.flatnonzero(away[1:] & ~away[:-1]) + 1


def _sessions(folder: Path) -> list[Path]:
    inside = folder / "Sessions"
    root = inside if inside.is_dir() else folder
    found = [part for part in root.iterdir() if part.is_dir()] if root.is_dir() else []
    found = [part for part in found if any(part.glob("*.bdf")) or (part / "session.xml").exists()]
    if not found:
        what = "holds no session" if root.is_dir() else "is not a folder"
        raise DataError(
            f"{root} {what}. MAHNOB-HCI is Sessions/<number>/ with session.xml and "
            "Part_*_emotion.bdf: point --mahnob at the folder that holds Sessions."
        )
    digits = {part: re.sub(r"\D", "", part.name) for part in found}
    return sorted(found, key=lambda part: (int(digits[part] or 0), part.name))


def _identified(session: Path) -> tuple[ElementTree.Element | None, Path, int]:
    """session.xml where there is one, the recording, and whose it is."""
    meta = _session_xml(session)
    # Names with a dot in front are what macOS leaves beside a copied file.
    files = sorted(f for f in session.glob("*_emotion.bdf") if not f.name.startswith("."))
    if len(files) != 1:
        count = "more than one" if files else "no"
        raise _Unusable(f"{count} *_emotion.bdf")
    return meta, files[0], _subject(meta, files[0])


def _read_session(session: Path, seconds: float | None, labelled: bool) -> Trial:
    meta, file, subject = _identified(session)
    valence, arousal = _ratings(meta) if labelled and meta is not None else (None, None)
    film = _read_bdf(file)
    sfreq = film.sfreq
    reason = signal_defect(film.signal, sfreq)
    if reason is None and film.baseline is not None:
        reason = damage(film.baseline, "baseline", sfreq)
    if reason:
        raise _Unusable(reason)
    signal = last_seconds(film.signal, sfreq, seconds)
    skipped = (film.signal.shape[1] - signal.shape[1]) / sfreq
    length = signal.shape[1] / sfreq
    return Trial(
        source="mahnob",
        subject=f"mahnob-{subject:02d}",
        clip=f"session-{session.name}",
        signal=np.ascontiguousarray(signal),
        baseline=film.baseline,
        sfreq=sfreq,
        ch_names=SITES,
        valence=valence,
        arousal=arousal,
        path=file,
        gaps=within(film.gaps, skipped, skipped + length),
        baseline_gaps=film.baseline_gaps,
        lowpass=film.lowpass,
        film=_media_file(meta),
    )


def _session_xml(session: Path) -> ElementTree.Element | None:
    path = session / "session.xml"
    try:
        return ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as cause:
        raise _Unusable("session.xml is damaged", one_line(cause)) from cause


def _media_file(meta: ElementTree.Element | None) -> str | None:
    """The film's file by session.xml; everybody's session of one film names the same."""
    name = meta.get("mediaFile", "").strip() if meta is not None else ""
    return name or None


def _subject(meta: ElementTree.Element | None, file: Path) -> int:
    match = re.match(r"Part_(\d+)_", file.name)
    of_file = int(match[1]) if match else None
    of_xml = None
    if meta is not None:
        element = meta.find("subject")
        text = (element.get("id") if element is not None else meta.get("subject")) or ""
        if text.strip():
            if not re.fullmatch(r"\s*\d+\s*", text, re.ASCII):
                raise _Unusable("no subject", f"session.xml has {text[:40]!r}")
            of_xml = int(text)
    if of_xml is not None and of_file is not None and of_xml != of_file:
        # A recording under the wrong subject would leak between the parts of a split.
        raise _Unusable(
            "session.xml and the file's name give different subjects", f"{of_xml} and {of_file}"
        )
    subject = of_file if of_xml is None else of_xml
    if subject is None:
        raise _Unusable("no subject")
    return subject


def _ratings(meta: ElementTree.Element) -> tuple[float | None, float | None]:
    """Both, or neither: one alone labels nothing."""
    texts = meta.get("feltVlnc"), meta.get("feltArsl")
    if not all(text and text.strip() for text in texts):
        return None, None
    if wrong := rating_defect(texts, *RATING_RANGE, "1..9"):
        raise _Unusable(*wrong)
    valence, arousal = (unit_rating(text, *RATING_RANGE) for text in texts)
    return valence, arousal


def _read_bdf(path: Path) -> _Film:
    import mne

    try:
        defect = bdf_defect(path)
        if defect:
            raise _Unusable(defect, path.name)
        raw = mne.io.read_raw_bdf(path, preload=False, verbose="error")
        return _cut(raw)
    except _Unusable:
        raise
    except Exception as cause:  # MNE raises almost anything on a damaged header
        raise _Unusable("cannot be read by MNE", f"{path.name}, {one_line(cause)}") from cause


def _cut(raw: mne.io.BaseRaw) -> _Film:
    found = {name.casefold(): name for name in raw.ch_names}
    if STATUS.casefold() not in found:
        raise _Unusable("no Status channel")
    missing = [site for site in SITES if site.casefold() not in found]
    if missing:
        raise _Unusable("lacks EEG sites", ", ".join(missing[:4]))
    status = raw.get_data(picks=[found[STATUS.casefold()]], verbose="error")[0]
    onsets = stimulus_onsets(status)
    if len(onsets) != 2:
        few = "no Status triggers" if not len(onsets) else "Status has not exactly two triggers"
        raise _Unusable(few, f"{len(onsets)}" if len(onsets) else "")
    start, stop = (int(onset) for onset in onsets)
    sfreq = float(raw.info["sfreq"])
    before = max(0, start - round(BASELINE_SECONDS * sfreq))
    picks = [found[site.casefold()] for site in SITES]
    data = raw.get_data(picks=picks, start=before, stop=stop, verbose="error") * 1e6
    data = data.astype(np.float32)
    rest = data[:, : start - before]
    resumed = [Gap(at / sfreq, at / sfreq, BREAK) for at in resumptions(status)]
    times = before / sfreq, start / sfreq, stop / sfreq
    return _Film(
        signal=data[:, start - before :],
        baseline=rest.copy() if rest.size else None,
        sfreq=sfreq,
        gaps=within(resumed, times[1], times[2]),
        baseline_gaps=within(resumed, times[0], times[1]) if rest.size else (),
        lowpass=float(raw.info["lowpass"]) or None,
    )
