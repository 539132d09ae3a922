"""DREAMER (Katsigiannis & Ramzan 2018): DREAMER.mat as Zenodo's record 546113 gives it.

The file is one MATLAB struct (version 5 format)::

    DREAMER.Data                 1 x 23 cell, one struct per subject
        .EEG.stimuli             18 x 1 cell of [T, 14], microvolts; the film
        .EEG.baseline            18 x 1 cell of [Tb, 14], 61 s before each film
        .ScoreValence            [18, 1], 1..5 (also .ScoreArousal)
    DREAMER.EEG_SamplingRate     128
    DREAMER.EEG_Electrodes       1 x 14 cell of names

Values carry the headset's offset (thousands of microvolts): take the mean out before anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.eeg.defects import (
    check_seconds,
    damage,
    last_seconds,
    one_line,
    rating_defect,
    signal_defect,
    unit_rating,
)
from neurogaze_fast.eeg.mat_read import read_mat
from neurogaze_fast.eeg.pieces import Piece
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import DataError

SITES = tuple("AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split())
RATE = 128.0
RATING_RANGE = (1, 5)
_SOURCE = "Use DREAMER.mat of Zenodo's record 546113 unchanged."


def read_dreamer(path: Path, *, seconds: float = 60.0) -> Iterator[Trial | LeftOut]:
    """Every clip of DREAMER.mat, subject by subject.

    Subjects are named by position ("dreamer-01"), clips likewise ("clip-07": the same film for
    everybody). Ratings map by (r - 3) / 2. The file is inflated at once, and looked at subject by
    subject.

    A clip is left out, counted, where it is shorter than 10 s, has not one column per electrode,
    holds a value that is not finite, is flat on every channel, or has a rating that is missing or
    outside 1..5. An empty baseline is none; a damaged one leaves the clip out, because a clip
    without its baseline would be corrected in another way than the rest.

    Args:
        path: DREAMER.mat.
        seconds: Of each film, counted from its end; a shorter film is taken whole. The films last
            65 to 393 s, and only the end is sure to carry the feeling that was rated.

    Raises:
        DataError: the file is missing, no MATLAB file, in MATLAB's version 7.3 format, damaged, or
            not laid out as above (names the field).
        ConfigError: `seconds` is below 10.
    """
    for piece in dreamer_pieces(path, seconds=seconds):
        yield from piece.read()


def dreamer_pieces(path: Path, *, seconds: float = 60.0) -> list[Piece]:
    """A piece for each subject; arguments and errors as above."""
    check_seconds(seconds)
    path = Path(path)
    root = _load(path)
    sfreq = _sampling_frequency(root, path)
    ch_names = _electrodes(root, path)
    subjects = _elements(root, "Data", "DREAMER.Data", path)

    def piece(number: int) -> Piece:
        def read() -> Iterator[Trial | LeftOut]:
            # Taken out of the list, so that nobody keeps it once it is read.
            subject, subjects[number - 1] = subjects[number - 1], None
            return _trials(subject, number, path, ch_names, sfreq, seconds)

        name = f"dreamer-{number:02d}"
        return Piece(name, name, (path,), read)

    return [piece(number) for number in range(1, len(subjects) + 1)]


def _trials(
    subject: Any, number: int, path: Path, ch_names: tuple[str, ...], sfreq: float, seconds: float
) -> Iterator[Trial | LeftOut]:
    where = f"DREAMER.Data[{number}]"
    eeg = _field(subject, "EEG", f"{where}.EEG", path)
    films = _elements(eeg, "stimuli", f"{where}.EEG.stimuli", path)
    rests = _elements(eeg, "baseline", f"{where}.EEG.baseline", path)
    valence = _elements(subject, "ScoreValence", f"{where}.ScoreValence", path)
    arousal = _elements(subject, "ScoreArousal", f"{where}.ScoreArousal", path)
    for field, found in (
        ("EEG.baseline", rests),
        ("ScoreValence", valence),
        ("ScoreArousal", arousal),
    ):
        if len(found) != len(films):
            raise DataError(
                f"{path}: {where}.{field} has {len(found)} entries and {where}.EEG.stimuli "
                f"{len(films)}; there must be one per clip. {_SOURCE}"
            )
    for clip in range(1, len(films) + 1):
        what = f"subject {number}, clip {clip}"
        film = _samples(films[clip - 1], f"{where}.EEG.stimuli[{clip}]", path)
        rest = _samples(rests[clip - 1], f"{where}.EEG.baseline[{clip}]", path)
        rated = [scores[clip - 1] for scores in (valence, arousal)]
        ratings = [unit_rating(value, *RATING_RANGE) for value in rated]
        reason = _defect(film, rest, len(ch_names), sfreq)
        wrong = rating_defect(rated, *RATING_RANGE, "1..5")
        if wrong and not reason:
            reason, what = wrong[0], f"{what} ({wrong[1]})"
        if reason:
            yield LeftOut(path, what, reason)
            continue
        # A copy, so that a trial does not keep its whole film alive.
        yield Trial(
            source="dreamer",
            subject=f"dreamer-{number:02d}",
            clip=f"clip-{clip:02d}",
            signal=np.array(last_seconds(film.T, sfreq, seconds), np.float32, order="C"),
            baseline=np.array(rest.T, np.float32, order="C") if rest.size else None,
            sfreq=sfreq,
            ch_names=ch_names,
            valence=ratings[0],
            arousal=ratings[1],
            path=path,
        )


def _defect(film: np.ndarray, rest: np.ndarray, channels: int, sfreq: float) -> str | None:
    if len(film) and film.shape[1] != channels:
        return "wrong number of channels"
    if len(rest) and rest.shape[1] != channels:
        return "wrong number of channels in the baseline"
    return signal_defect(film.T, sfreq) or (
        damage(rest.T, "baseline", sfreq) if rest.size else None
    )


def _load(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            head = file.read(128)
    except OSError as cause:
        raise DataError(
            f"{path} cannot be read ({cause.strerror}). Point --dreamer at DREAMER.mat; Zenodo's "
            "record 546113 has it on request."
        ) from cause
    if head.startswith(b"MATLAB 7.3 ") or head.startswith(b"\x89HDF"):
        raise DataError(
            f"{path} is in MATLAB's version 7.3 format (HDF5), which is not read here; DREAMER "
            "is published in version 5. Use that file, or convert this one in MATLAB: "
            "load('DREAMER.mat'); save('DREAMER_v5.mat', 'DREAMER', '-v7')."
        )
    try:
        found = read_mat(path, "DREAMER")
    except Exception as cause:  # damaged bytes show in many ways
        raise DataError(
            f"{path} cannot be read as a MATLAB file ({one_line(cause)}): it is cut short, "
            "damaged, or another kind of file. Download DREAMER.mat again."
        ) from cause
    if found is None:
        raise DataError(f"{path} has no variable DREAMER. {_SOURCE}")
    return found


def _sampling_frequency(root: Any, path: Path) -> float:
    where = "DREAMER.EEG_SamplingRate"
    values = _elements(root, "EEG_SamplingRate", where, path)
    try:
        (sfreq,) = (float(value) for value in values)
    except (TypeError, ValueError) as cause:
        raise DataError(f"{path}: {where} is not one number. {_SOURCE}") from cause
    if not 0 < sfreq < float("inf"):
        raise DataError(f"{path}: {where} is {sfreq:g}, expected 128. {_SOURCE}")
    return sfreq


def _electrodes(root: Any, path: Path) -> tuple[str, ...]:
    where = "DREAMER.EEG_Electrodes"
    cells = _elements(root, "EEG_Electrodes", where, path)
    found = [str(_unwrap(cell)).strip() for cell in cells]
    spelling = {site.casefold(): site for site in SITES}
    names = [spelling.get(name.casefold()) for name in found]
    if len(names) != len(SITES) or set(names) != set(SITES):
        raise DataError(
            f"{path}: {where} is {', '.join(found) or 'empty'}; expected the headset's 14 sites "
            f"{', '.join(SITES)}, in any order. {_SOURCE}"
        )
    return tuple(name for name in names if name)


def _unwrap(value: Any) -> Any:
    """Out of the 1 x 1 arrays that loadmat puts around every struct, cell and string."""
    while isinstance(value, np.ndarray) and value.size == 1 and not _is_number(value):
        value = value.reshape(-1)[0]
    return value


def _is_number(value: np.ndarray) -> bool:
    return value.dtype.kind in "biufc"


def _field(struct: Any, name: str, where: str, path: Path) -> Any:
    struct = _unwrap(struct)
    fields = struct.dtype.names if isinstance(struct, np.void) else None
    if not fields or name not in fields:
        found = f"only {', '.join(fields)}" if fields else "no struct to look in"
        raise DataError(f"{path}: {where} is missing ({found}). {_SOURCE}")
    return struct[name]


def _elements(struct: Any, name: str, where: str, path: Path) -> list[Any]:
    """The entries of a cell, a struct array or a column of numbers, in order."""
    value = _field(struct, name, where, path)
    # A cell inside a 1 x 1 cell (or struct) is one wrapping too many; its own cell is not.
    while isinstance(value, np.ndarray) and value.size == 1 and value.dtype == object:
        inner = value.reshape(-1)[0]
        if not (isinstance(inner, np.ndarray) and inner.dtype == object):
            break
        value = inner
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "OVbiuf" or not value.size:
        raise DataError(f"{path}: {where} is not a cell, struct or number with entries. {_SOURCE}")
    return list(value.reshape(-1))


def _samples(value: Any, where: str, path: Path) -> np.ndarray:
    """One clip, numbers [T, C]; empty stays empty."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or value.ndim != 2:
        raise DataError(
            f"{path}: {where} is not a matrix of numbers [samples, channels]. {_SOURCE}"
        )
    return value
