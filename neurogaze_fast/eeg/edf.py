"""EDF, EDF+, BDF and BDF+: headers as recorders really write them, time stamps, samples.

A header of 256 bytes, 256 more per signal, then records of equal length; in each the samples of
signal 0, of signal 1 and so on, as 16-bit (BDF: 24-bit) little-endian integers. In EDF+ one signal
holds annotations as text, and the first of each record is the record's own time. EDF+D and BDF+D
may leave time out between records. (Kemp & Olivan 2003; the BDF variant is BioSemi's.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from neurogaze_fast.eeg.bdf import MAGIC
from neurogaze_fast.eeg.edf_time import Note, Piece, notes_of, pieces_of
from neurogaze_fast.eeg.gaps import BREAK, NOT_RECORDED, Gap, gap_of_annotation
from neurogaze_fast.eeg.prefilter import lowpass_of
from neurogaze_fast.eeg.units import microvolts_per

_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_STATUS = ("status", "trigger")
RESUMED = 1 << 16
"""The bit of Status that BioSemi sets where a recording is resumed."""


class UnreadableError(Exception):
    """Why a recording cannot be read: a reason that groups, and what to add in this case."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Signal:
    """One signal of the header."""

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[float, float]
    prefilter: str
    samples: int
    """Per record."""
    offset: int
    """Of its first byte in a record."""

    @property
    def lowpass(self) -> float | None:
        """Hz, as the header says it; None where it says none."""
        return lowpass_of(self.prefilter)

    @property
    def microvolts(self) -> tuple[float, float] | None:
        """(gain, offset) from a digital value to microvolts; None: the header has no scale."""
        unit = microvolts_per(self.unit)
        low, high = self.physical
        if unit is None or not self.has_scale:
            return None
        gain = (high - low) / (self.digital[1] - self.digital[0])
        return gain * unit, (low - gain * self.digital[0]) * unit

    @property
    def has_scale(self) -> bool:
        return self.digital[0] != self.digital[1] and self.physical[0] != self.physical[1]


class EdfFile:
    """One file, its header read; samples are read on demand.

    Raises:
        UnreadableError: it is no EDF or BDF, its header is damaged, it holds no samples, or its
            records run backwards in time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            head = file.read(256)
            self.bytes_per_sample = 3 if head[:1] == MAGIC[:1] else 2
            self.kind = "BDF" if self.bytes_per_sample == 3 else "EDF"
            try:
                self._read_header(head, file.read(256 * max(0, _whole(head[252:256]))))
            except ValueError as cause:
                raise UnreadableError(self._no_header(head)) from cause
        size = path.stat().st_size - self._data_at
        self.records = size // self._record_bytes
        self.cut_short = self.records < self._records_said
        """Whether the header promises more records than there are."""
        if self.records < 1:
            raise UnreadableError(f"an {self.kind} without samples")
        self.pieces, self._annotations = self._time()

    @property
    def seconds(self) -> float:
        """From the first sample to the last, with the gaps."""
        last = self.pieces[-1]
        return last.start + last.count * self.record_seconds

    def sfreq(self, signal: Signal) -> float:
        """Hz: this signal's own."""
        return signal.samples / self.record_seconds

    def read(self, signals: list[Signal], start: float, end: float) -> np.ndarray:
        """float32 [C, T], microvolts, 0 where nothing was recorded.

        Args:
            signals: with a scale, and all of one sampling frequency.
            start: seconds from the first sample.
            end: likewise; T is round(end sfreq) - round(start sfreq).
        """
        per_record, sfreq = signals[0].samples, self.sfreq(signals[0])
        first, last = round(start * sfreq), round(end * sfreq)
        out = np.zeros((len(signals), max(0, last - first)), np.float32)
        for piece in self.pieces:
            at = round(piece.start * sfreq)  # of the piece's first sample
            low, high = max(first, at), min(last, at + piece.count * per_record)
            if low >= high:
                continue
            records = slice((low - at) // per_record, -(-(high - at) // per_record))
            skip = low - at - records.start * per_record
            for row, signal in zip(out, signals, strict=True):
                gain, offset = signal.microvolts or (0.0, 0.0)
                rows = slice(piece.first + records.start, piece.first + records.stop)
                digital = self._digital(signal, rows)[skip : skip + high - low]
                row[low - first : high - first] = digital * gain + offset
        return out

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Time between pieces, and what annotations and the Status channel say."""
        found = []
        for before, after in zip(self.pieces, self.pieces[1:], strict=False):
            end = before.start + before.count * self.record_seconds
            found.append(Gap(end, after.start, NOT_RECORDED))
        for note in self._annotations:
            gap = gap_of_annotation(note.text, note.start, note.duration)
            found += [gap] if gap else []
        return (*found, *self._resumptions())

    @property
    def signals(self) -> list[Signal]:
        """All but annotations and triggers."""
        return [
            signal
            for signal in self._signals
            if not _is_annotation(signal) and signal.label.casefold() not in _STATUS
        ]

    def _read_header(self, head: bytes, rest: bytes) -> None:
        """Everything the header says.

        Raises:
            ValueError: a field that is needed is no number, or the sizes contradict one another.
        """
        count = _whole(head[252:256])
        fields, at = [], 0
        for width in _WIDTHS:
            column = rest[at : at + width * count]
            fields.append([column[width * i : width * (i + 1)] for i in range(count)])
            at += width * count
        self.record_seconds = _number(head[244:252])
        self._records_said = _whole(head[236:244])
        self._continuous = not re.match(rb"[EB]DF\+D", head[192:236].strip(b" \0"))
        self._data_at = _whole(head[184:192])
        if count < 1 or len(rest) < 256 * count or self._data_at < 256 * (count + 1):
            raise ValueError("sizes")
        labels, _, units, low, high, lowest, highest, filters, samples, _ = fields
        self._signals, offset = [], 0
        for i in range(count):
            per_record = _whole(samples[i])
            if per_record < 0:
                raise ValueError("samples")
            self._signals.append(
                Signal(
                    _text(labels[i]),
                    _text(units[i]),
                    (_number(low[i]), _number(high[i])),
                    (_number(lowest[i]), _number(highest[i])),
                    _text(filters[i]),
                    per_record,
                    offset,
                )
            )
            offset += per_record * self.bytes_per_sample
        self._record_bytes = offset
        if not offset or not 0 < self.record_seconds < float("inf"):
            raise ValueError("records")

    def _no_header(self, head: bytes) -> str:
        version = head[:8].decode("latin-1").strip(" \0\xa0")
        if len(head) < 256 or (head[:8] != MAGIC and version not in ("0", "")):
            kind = self.path.suffix[1:].upper()
            return f"not {'a BDF' if kind == 'BDF' else 'an EDF'} file"
        return f"damaged {self.kind} header"

    @cached_property
    def _bytes(self) -> np.ndarray:
        """uint8 [records, bytes of a record], mapped."""
        shape = (self.records, self._record_bytes)
        return np.memmap(self.path, np.uint8, "r", offset=self._data_at, shape=shape)

    def _digital(self, signal: Signal, records: slice) -> np.ndarray:
        """float64 [T]: a signal's values in the file's own steps."""
        width = self.bytes_per_sample
        part = self._bytes[records, signal.offset : signal.offset + signal.samples * width]
        data = np.ascontiguousarray(part).reshape(-1, width)
        if width == 2:
            return data.view("<i2")[:, 0].astype(np.float64)
        wide = np.zeros((len(data), 4), np.uint8)
        wide[:, 1:] = data  # into the upper bytes, so that the sign comes along
        return (wide.view("<i4")[:, 0] >> 8).astype(np.float64)

    def _texts(self) -> list[list[Note]] | None:
        """The annotations of every record; None: there is no such signal."""
        signals = [signal for signal in self._signals if _is_annotation(signal)]
        if not signals:
            return None
        width = self.bytes_per_sample
        columns = [(s.offset, s.offset + s.samples * width) for s in signals]
        return [
            [
                note
                for first, last in columns
                for note in notes_of(bytes(self._bytes[i, first:last]))
            ]
            for i in range(self.records)
        ]

    def _time(self) -> tuple[list[Piece], list[Note]]:
        """Where in time the records lie, and what annotations say, in the same time."""
        texts = self._texts()
        if texts is None:
            return [Piece(0.0, 0, self.records)], []
        finest = max((signal.samples for signal in self.signals), default=1) or 1
        slack = max(1.5 * self.record_seconds / finest, 1e-3)
        stamps = [next((note.start for note in notes if not note.text), None) for notes in texts]
        try:
            pieces = pieces_of(stamps, self.record_seconds, slack)
        except ValueError as cause:
            if not self._continuous:
                raise UnreadableError("its records' time stamps are damaged", str(cause)) from cause
            # Some programs write EDF+C with stamps that say nothing.
            pieces = [Piece(0.0, 0, self.records)]
        zero = next((stamp for stamp in stamps if stamp is not None), 0.0)
        said = [note for notes in texts for note in notes if note.text]
        return pieces, [replace(note, start=note.start - zero) for note in said]

    def _resumptions(self) -> list[Gap]:
        """Breaks where BioSemi's Status channel says that the recording was resumed."""
        status = [s for s in self._signals if s.label.casefold() in _STATUS and s.samples]
        if self.kind != "BDF" or not status:
            return []
        found, sfreq = [], self.sfreq(status[0])
        for piece in self.pieces:
            bits = self._digital(status[0], slice(piece.first, piece.first + piece.count))
            times = piece.start + resumptions(bits) / sfreq
            found += [Gap(time, time, BREAK) for time in times.tolist()]
        return found


def resumptions(status: np.ndarray) -> np.ndarray:
    """int64 [N]: the samples of Status [T], but the first, at which a recording was resumed."""
    resumed = (status.astype(np.int64) & RESUMED) != 0
    return np.flatnonzero(resumed[1:] & ~resumed[:-1]) + 1


def _is_annotation(signal: Signal) -> bool:
    return signal.label in ("EDF Annotations", "BDF Annotations")


def _text(field: bytes) -> str:
    try:
        return field.decode("utf-8").strip(" \0")
    except UnicodeDecodeError:
        return field.decode("latin-1").strip(" \0")


def _number(field: bytes) -> float:
    value = float(field.decode("latin-1").replace("\0", " ").strip(" \xa0").replace(",", "."))
    if not np.isfinite(value):
        raise ValueError("not finite")
    return value


def _whole(field: bytes) -> int:
    value = _number(field)
    if value != int(value):
        raise ValueError("not whole")
    return int(value)
