"""A recording in a table (csv, txt, tsv), as the programs of consumer headsets write them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from neurogaze_fast.delimited import DelimitedTextError
from neurogaze_fast.eeg.bids_sidecar import told_names, told_rate
from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.gaps import BREAK, NOT_RECORDED, Gap, runs
from neurogaze_fast.eeg.table_layout import TableLayout, read_layout
from neurogaze_fast.eeg.table_rows import TableRows, read_rows
from neurogaze_fast.eeg.table_time import find_losses, in_seconds, measured_rate, usual_rate
from neurogaze_fast.eeg.units import microvolts_per

SLOWEST = 20.0
"""Hz: rows that come more slowly are no EEG, but averages of it."""
FASTEST = 5000.0
"""Hz: no headset is as fast; such stamps are in a unit that is not known, as minutes or days."""
TOLERANCE = 0.1
"""By how much of itself the rate that the header says may differ from that of the stamps, which are
irregular."""
HELD = 0.25
"""Share of samples that are the same as the next one, in all channels, from which they are copies
(our choice)."""
_CHECKED = 1 << 16
"""Rows that are compared together."""
_JOINED = 0.5
"""Seconds: empty cells closer together are one gap, because no window fits between."""
_UNIT = re.compile(r"[\[(]\s*([^\[\]()]*v(?:olts?)?)\s*[\])]\s*$", re.IGNORECASE)


class TableFile:
    """One table, read once: its samples lie in a temporary file of 4 bytes each.

    Raises:
        UnreadableError: it has no header, no channel of EEG or no rate; a row or a cell is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._layout = read_layout(path)
        except DelimitedTextError as cause:
            raise UnreadableError("a table that cannot be read", str(cause)) from cause
        self._told_rate = told_rate(path)
        self.labels = _named(self._layout, told_names(path))
        self._columns = self._layout.channels[: len(self.labels)]
        rows = read_rows(path, replace(self._layout, channels=self._columns))
        self._values, self.cut_short = rows.values, rows.cut_short
        _check_held(self._values)
        stamps = self._in_seconds(rows)
        self.sfreq = self._rate(stamps)
        losses = find_losses(len(self._values), self.sfreq, stamps, rows.counter)
        self._at = np.arange(len(self._values)) + np.cumsum(losses.lost)
        """int64 [N]: the number of each row's sample, with those that were lost."""
        self.seconds = float(self._at[-1] + 1) / self.sfreq
        breaks = self._at[losses.breaks & (losses.lost == 0)] / self.sfreq
        self.gaps = (*self._gaps(losses.lost), *(Gap(t, t, BREAK) for t in breaks.tolist()))

    @property
    def units(self) -> list[str]:
        """As the header has them behind the labels ("Fp1 (mV)"); empty where it says none."""
        found = (_UNIT.search(self._layout.header[at]) for at in self._columns)
        return [unit[1] if unit else "" for unit in found]

    def read(self, channels: list[int], units: list[str], start: float, end: float) -> np.ndarray:
        """float32 [C, T] microvolts from `start` to `end` seconds; 0 where nothing was recorded.

        Args:
            channels: which.
            units: of each; empty: microvolts, as all these programs write.
            start: seconds from the first sample.
            end: likewise.
        """
        first, last = round(start * self.sfreq), round(end * self.sfreq)
        out = np.zeros((len(channels), max(0, last - first)), np.float32)
        rows = slice(*np.searchsorted(self._at, (first, last)).tolist())
        values = np.nan_to_num(self._values[rows][:, channels], nan=0.0)
        scale = [microvolts_per(unit) or 1.0 for unit in units]
        out[:, self._at[rows] - first] = (values * np.array(scale, np.float32)).T
        return out

    def _in_seconds(self, rows: TableRows) -> np.ndarray | None:
        if rows.stamps is None:
            return None
        if rows.dated:
            return rows.stamps - rows.stamps[0]
        rate, per_second = self._told_rate or self._layout.rate, self._layout.per_second
        stamps = in_seconds(rows.stamps, rate, per_second)
        if stamps is None:
            raise UnreadableError(
                "a table whose time stamps are numbered 1, 2, 3, ...: milliseconds at 1000 Hz, or "
                "the numbers of the rows? Write the sampling rate into eeg.json beside it, as "
                '{"SamplingFrequency": 128}'
            )
        return stamps

    def _rate(self, stamps: np.ndarray | None) -> float:
        """Hz: as somebody says beside the file, as its header says, or as its stamps run."""
        if self._told_rate is not None:
            return self._told_rate
        measured = None if stamps is None else measured_rate(stamps)
        said = self._layout.rate
        if said is None and measured is None:
            raise UnreadableError(
                "a table that does not say its sampling rate, by a header or time stamps: write "
                'eeg.json beside it, with {"SamplingFrequency": 128}'
            )
        if measured is not None and measured < SLOWEST:
            raise UnreadableError(
                "a table whose rows come too slowly for EEG: record every sample (in Mind Monitor "
                "the recording interval is then called constant)",
                f"{measured:.3g} rows a second",
            )
        if said is None and measured is not None and measured > FASTEST:
            raise UnreadableError(
                "a table whose rows come too fast for EEG: its time stamps are not in seconds, nor "
                "in milli-, micro- or nanoseconds. Write the sampling rate into eeg.json beside "
                'it, as {"SamplingFrequency": 128}',
                f"{measured:.4g} rows a second",
            )
        if said is None or stamps is None or measured is None:
            return said or usual_rate(measured or 0.0)
        fast = measured_rate(stamps, seconds=2.0, share=0.75) or measured
        if abs(fast / said - 1) > TOLERANCE:
            raise UnreadableError(
                "a table whose header says another sampling rate than its time stamps: write the "
                'right one into eeg.json beside it, as {"SamplingFrequency": 128}',
                f"{said:g} Hz, {fast:.4g} rows a second",
            )
        return said

    def _gaps(self, lost: np.ndarray) -> list[Gap]:
        """Rows that are missing, and cells that are empty: in all channels, or in some."""
        found = []
        for row in np.flatnonzero(lost).tolist():
            start, end = (self._at[row] - lost[row]) / self.sfreq, self._at[row] / self.sfreq
            found.append(Gap(float(start), float(end), NOT_RECORDED))
        everywhere = np.ones(len(self._values), bool)
        empty = []
        for channel in range(len(self.labels)):
            one = np.isnan(self._values[:, channel])
            everywhere &= one
            if one.any():
                empty.append((self.labels[channel], one))
        found += self._runs(everywhere, None)
        for label, one in empty:
            found += self._runs(one & ~everywhere, (label,))
        return found

    def _runs(self, mask: np.ndarray, ch_names: tuple[str, ...] | None) -> list[Gap]:
        spans: list[tuple[float, float]] = []
        for first, last in runs(mask):
            start, end = self._at[first] / self.sfreq, (self._at[last - 1] + 1) / self.sfreq
            if spans and start - spans[-1][1] < _JOINED:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return [Gap(float(start), float(end), NOT_RECORDED, ch_names) for start, end in spans]


def _check_held(values: np.ndarray) -> None:
    """Raises:
    UnreadableError: many samples of [N, C] are there several times in a row.
    """
    changed = np.ones(len(values), bool)
    for first in range(1, len(values), _CHECKED):  # the values are mapped from a file
        part = values[first - 1 : first + _CHECKED]
        same = (part[1:] == part[:-1]) | (np.isnan(part[1:]) & np.isnan(part[:-1]))
        changed[first : first + _CHECKED] = ~same.all(axis=1)
    # A pause or a fallen electrode is one long run; of these there are few.
    held = np.diff(np.flatnonzero(changed))
    if len(held) >= 100 and (held > 1).mean() > HELD:
        raise UnreadableError(
            "a table that has many samples several times, as where a program writes more rows "
            "than the headset sends: record or export each sample once",
            f"{(held > 1).mean():.0%} of the samples are repeated in the next row",
        )


def _named(layout: TableLayout, told: list[str]) -> list[str]:
    """The channels' labels; where the file has numbers, those of channels.tsv, in its order."""
    if not layout.numbered:
        return list(layout.labels)
    count = len(layout.channels)
    if told and (len(told) == count or (not layout.counted and len(told) < count)):
        return told
    rows = f"{count} rows" if layout.counted else "a row for each electrode"
    found = f", found {len(told)}" if told else ""
    raise UnreadableError(
        "a table whose columns have numbers and name no site: write channels.tsv beside it, with "
        "the column name, and in the file's order a row (Fp1, or n/a) for each",
        f"{layout.labels[0]} to {layout.labels[-1]}: {rows}{found}",
    )
