"""One view of every recording: our own readers for EDF, BDF and tables, MNE for the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from neurogaze_fast.eeg.bids_sidecar import with_sidecars
from neurogaze_fast.eeg.defects import one_line
from neurogaze_fast.eeg.edf import EdfFile, Signal, UnreadableError
from neurogaze_fast.eeg.gaps import Gap
from neurogaze_fast.eeg.mne_raw import gaps_of_raw, lowpass_of_raw, own_rates, units_of_raw
from neurogaze_fast.eeg.places import info_points
from neurogaze_fast.eeg.sphere import HEAD, Sphere
from neurogaze_fast.eeg.table_recording import TableFile
from neurogaze_fast.eeg.units import microvolts_per

if TYPE_CHECKING:
    import mne

EDF_KINDS = (".edf", ".bdf")
TABLE_KINDS = (".csv", ".txt", ".tsv")


@dataclass(frozen=True)
class Channel:
    """One channel that may be EEG."""

    label: str
    """As the file has it."""
    sfreq: float
    """Hz: its own sampling frequency, also where the file has faster channels."""
    lowpass: float | None = None
    """Hz: the low-pass that the header names; None: none."""
    problem: str | None = None
    """Why it cannot be used, whatever its label."""
    bad: bool = False
    """Whether the file marks it as bad."""
    unit: str = ""
    """What a table beside the file says, where the file's header has no unit."""
    has_unit: bool = True
    """Whether the file's header has one."""


class Recording(Protocol):
    """A recording whose samples are read on demand. Its time is true time in seconds from the first
    sample, with whatever was not recorded in between."""

    channels: list[Channel]
    seconds: float
    gaps: tuple[Gap, ...]
    points: dict[str, np.ndarray]
    """Label -> [3] metres in the head frame, of the channels the file has a place for."""
    sphere: Sphere
    """The head that these positions are flattened about."""
    cut_short: bool
    """Whether the file ends before its header says."""

    def microvolts(self, channels: list[int], start: float, end: float) -> np.ndarray:
        """float32 [C, T] from `start` to `end` seconds, 0 where nothing was recorded."""
        ...


def open_recording(file: Path) -> Recording:
    """Open a file and read its header (of a table, everything), and the tables beside it.

    Raises:
        UnreadableError: says the cause.
    """
    suffix = file.suffix.lower()
    kind: type[_EdfRecording | _TableRecording | _MneRecording] = _MneRecording
    if suffix in EDF_KINDS:
        kind = _EdfRecording
    elif suffix in TABLE_KINDS:
        kind = _TableRecording
    return with_sidecars(kind(file), file)


class _EdfRecording:
    def __init__(self, file: Path) -> None:
        self._file = EdfFile(file)
        self._signals = [signal for signal in self._file.signals if signal.samples]
        self.channels = [
            Channel(
                s.label, self._file.sfreq(s), s.lowpass, _scale_problem(s), has_unit=bool(s.unit)
            )
            for s in self._signals
        ]
        self.seconds = self._file.seconds
        self.points: dict[str, np.ndarray] = {}
        self.sphere = HEAD
        self.gaps = self._file.gaps
        self.cut_short = self._file.cut_short

    def microvolts(self, channels: list[int], start: float, end: float) -> np.ndarray:
        signals = [
            replace(self._signals[i], unit=self.channels[i].unit or self._signals[i].unit)
            for i in channels
        ]
        return self._file.read(signals, start, end)


def _scale_problem(signal: Signal) -> str | None:
    if not signal.has_scale:
        return "a channel whose header gives no scale"
    return None if signal.microvolts else unknown_unit(signal.unit)


def unknown_unit(unit: str) -> str:
    """The reason for a channel whose unit is no unit of potential."""
    if not unit:
        return "a channel without a unit in the header (write uV there)"
    return f"a channel in {unit!r}, which is no known unit (known: uV, mV, nV, V)"


class _TableRecording:
    def __init__(self, file: Path) -> None:
        self._file = TableFile(file)
        self._units = self._file.units
        self.channels = [
            Channel(
                label,
                self._file.sfreq,
                problem=unknown_unit(unit) if unit and microvolts_per(unit) is None else None,
                has_unit=bool(unit),
            )
            for label, unit in zip(self._file.labels, self._units, strict=True)
        ]
        self.seconds = self._file.seconds
        self.gaps = self._file.gaps
        self.points: dict[str, np.ndarray] = {}
        self.sphere = HEAD
        self.cut_short = self._file.cut_short

    def microvolts(self, channels: list[int], start: float, end: float) -> np.ndarray:
        units = [self._units[i] or self.channels[i].unit for i in channels]
        return self._file.read(channels, units, start, end)


class _MneRecording:
    cut_short = False

    def __init__(self, file: Path) -> None:
        self._raw = _read_raw(file)
        raw = self._raw
        self._sfreq = float(raw.info["sfreq"])
        self.seconds = raw.n_times / self._sfreq
        lowpass = lowpass_of_raw(raw)
        self.channels, self._names, self._scale = [], [], []
        others = set()
        self._slower = own_rates(raw)
        told = units_of_raw(raw)
        for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True):
            # MNE calls a channel of BrainVision "misc" where it does not know the unit's spelling.
            if kind != "eeg" and not (kind == "misc" and name in told):
                others.add(kind)
                continue
            unit, given = told.get(name, ("V", 1.0))
            scale = microvolts_per(unit)
            problem = unknown_unit(unit) if scale is None else None
            bad = name in raw.info["bads"]
            self.channels.append(
                Channel(name, self._sfreq, lowpass[name], problem, bad, has_unit=bool(unit))
            )
            self._names.append(name)
            self._scale.append((scale or 0.0, given))
        if not self.channels:
            kinds = ", ".join(sorted(others)) or "none"
            raise UnreadableError(
                f"no channel of type EEG (the types are: {kinds}); set the types and save it again"
            )
        self.gaps = gaps_of_raw(raw)
        self.points, self.sphere = info_points(raw.info)

    def microvolts(self, channels: list[int], start: float, end: float) -> np.ndarray:
        first, last = round(start * self._sfreq), round(end * self._sfreq)
        picks = [self._raw.ch_names.index(self._names[i]) for i in channels]
        last = min(last, self._raw.n_times)
        # A part is filled up as if the channel began and ended there, and that rings: all of it.
        whole = any(self._names[i] in self._slower for i in channels)
        span = (0, self._raw.n_times) if whole else (first, last)
        try:
            data = self._raw.get_data(picks=picks, start=span[0], stop=span[1], verbose="error")
            data = data[:, first - span[0] : last - span[0]]
        except Exception as cause:  # a damaged file shows here, because samples are read late
            raise UnreadableError("cannot be read by MNE", one_line(cause)) from cause
        scales = []
        for i in channels:
            scale, given = self._scale[i]
            scales.append((microvolts_per(self.channels[i].unit) or scale) / given)
        data *= np.array(scales)[:, None]
        return np.ascontiguousarray(data, dtype=np.float32)


def _read_raw(file: Path) -> mne.io.BaseRaw:
    import mne

    try:
        return mne.io.read_raw(file, preload=False, verbose="error")
    except Exception as cause:  # each of MNE's readers has its own errors
        raise _cause(file, cause) from cause


def _cause(file: Path, error: Exception) -> UnreadableError:
    """What is wrong with a file that MNE does not open, in words that say what to do."""
    text = str(error)
    kind = file.suffix.lower()
    head = b""
    if file.is_file():
        with open(file, "rb") as opened:
            head = opened.read(128)
    if isinstance(error, TypeError) and "unexpected keyword" in text:
        # MNE hands its options to a reader that is not one of recordings.
        return UnreadableError(f"a {kind} that MNE does not read as a continuous recording")
    if kind == ".set" and (head.startswith(b"MATLAB 7.3") or head.startswith(b"\x89HDF")):
        return UnreadableError(
            "a .set in MATLAB's version 7.3 format, which MNE reads only where pymatreader and "
            "h5py are installed: install them, or save it in EEGLAB with -v6 or -v7",
            _short(text, file),
        )
    if kind == ".set" and "number of trials" in text:
        return UnreadableError(
            "a .set of epochs, and clips are cut from a continuous recording: give that one",
            _short(text, file),
        )
    if isinstance(error, FileNotFoundError):
        return UnreadableError(
            "a file that belongs to the recording is missing: it was renamed, or not copied along",
            _short(text, file),
        )
    return UnreadableError("cannot be read by MNE", one_line(error))


def _short(text: str, file: Path) -> str:
    """A message on one line, without the folder."""
    line = " ".join(text.split()).replace(f"{file.resolve().parent}/", "")
    return line.replace(f"{file.parent}/", "")[:200] or "no message"
