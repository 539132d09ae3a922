"""What MNE's Raw says of its recording besides samples: lost time, and what filters let through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.eeg.gaps import Gap, gap_of_annotation
from neurogaze_fast.eeg.gdf import gdf_units

if TYPE_CHECKING:
    import mne


def gaps_of_raw(raw: mne.io.BaseRaw) -> tuple[Gap, ...]:
    """What the annotations of a recording in MNE say, in seconds from its first sample."""
    notes = raw.annotations
    channels = getattr(notes, "ch_names", None)
    # ERPLAB writes -99 into a .set where EEGLAB itself writes "boundary".
    eeglab = any(str(name).casefold().endswith(".set") for name in raw.filenames)
    found = []
    for number, text in enumerate(notes.description):
        joined = eeglab and text in ("-99", "-99.0")
        of = tuple(channels[number]) if channels is not None else ()
        start = float(notes.onset[number]) - raw.first_time  # onsets count from MNE's first sample
        lasts = float(notes.duration[number])
        gap = gap_of_annotation("boundary" if joined else str(text), start, lasts, of)
        found += [gap] if gap else []
    return tuple(found)


def lowpass_of_raw(raw: mne.io.BaseRaw) -> dict[str, float | None]:
    """Hz up to which each channel holds something, as the file says it; None: it does not say.

    MNE fills the slower channels of EDF, BDF and GDF up to the rate of the fastest, and half of its
    own rate is where such a channel ends.
    """
    limit = float(raw.info["lowpass"] or 0) or np.inf
    slower = own_rates(raw)
    ends = {name: min(limit, slower.get(name, np.inf) / 2) for name in raw.ch_names}
    return {name: end if np.isfinite(end) else None for name, end in ends.items()}


def own_rates(raw: mne.io.BaseRaw) -> dict[str, float]:
    """Hz of the channels that were filled up to the rate of a faster one."""
    found: dict[str, float] = {}
    for header in raw._raw_extras:
        if not isinstance(header, dict) or "n_samps" not in header:
            continue  # a format whose channels all have one rate
        seconds = header["record_length"][0] / header["record_length"][1]
        rates = np.asarray(header["n_samps"], float)[header["sel"]] / seconds
        for name, rate in zip(header["ch_names"], rates.tolist(), strict=True):
            if rate < rates.max():
                found[name] = min(rate, found.get(name, rate))
    return found


def units_of_raw(raw: mne.io.BaseRaw) -> dict[str, tuple[str, float]]:
    """Name -> (unit, what MNE multiplies values in it by), of channels MNE may not give in volts.

    Raises:
        ValueError: a GDF's header does not hold its units.
    """
    path = raw.filenames[0]
    if path is not None and Path(path).suffix.lower() == ".gdf":
        factors = raw._raw_extras[0]["units"]
        named = zip(raw.ch_names, gdf_units(Path(path)), factors, strict=True)
        return {name: (unit, float(factor)) for name, unit, factor in named}
    units = getattr(raw, "_orig_units", None) or {}
    kinds = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    # BrainVision's: units whose spelling MNE does not know.
    return {
        name: (str(units[name]), 1.0) for name, kind in kinds if kind == "misc" and units.get(name)
    }
