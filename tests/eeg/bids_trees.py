"""Recordings and tables of small BIDS trees."""

import numpy as np

from neurogaze_fast.eeg.preprocess import COMMON_SITES
from tests.eeg.trials import noise

RATE = 128


def tsv(path, header, *rows):
    """A table; the header is a list, or names separated by spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = header.split() if isinstance(header, str) else header
    lines = ["\t".join(row) for row in (names, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recording(path, seed=0, seconds=60, sine=None, unit="uV"):
    """14 sites of noise in the format of the path's suffix; `sine`: (site, Hz) of 30 uV on top."""
    from neurogaze_fast.eeg.bdf import EEG_RANGE, Channel, write_bdf

    path.parent.mkdir(parents=True, exist_ok=True)
    signal = noise(seed, seconds=seconds, sfreq=RATE)
    if sine:
        time = np.arange(signal.shape[1]) / RATE
        signal[COMMON_SITES.index(sine[0])] += 30 * np.sin(2 * np.pi * sine[1] * time)
    if path.suffix == ".vhdr":
        _brain_vision(path, signal)
    elif path.suffix == ".bdf":
        channels = [Channel(name, unit, EEG_RANGE) for name in COMMON_SITES]
        write_bdf(path, channels, _digital(signal, 2**23, EEG_RANGE), RATE, recording="test")
    else:
        _edf(path, signal, unit)


def _digital(signal, half, limits):
    step = (limits[1] - limits[0]) / (2 * half - 1)
    return (np.rint((signal - limits[0]) / step) - half).astype(np.int32)


def _brain_vision(path, signal):
    stem = path.stem
    signal.T.astype("<f4").tofile(path.with_suffix(".eeg"))
    channels = "\n".join(f"Ch{i}={name},,1,uV" for i, name in enumerate(COMMON_SITES, start=1))
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={stem}.eeg\nMarkerFile={stem}.vmrk\nDataFormat=BINARY\n"
        f"DataOrientation=MULTIPLEXED\nNumberOfChannels={len(signal)}\n"
        f"SamplingInterval={1e6 / RATE}\n\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n\n"
        f"[Channel Infos]\n{channels}\n"
    )
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={stem}.eeg\n\n[Marker Infos]\nMk1=New Segment,,1,1,0,0\n"
    )


def _edf(path, signal, unit):
    """European data format, a record a second."""
    count, low, high = len(signal), -500, 500
    records = signal.shape[1] // RATE

    def column(values, width):
        return "".join(f"{value!s:<{width}}" for value in values)

    header = column(["0"], 8) + column(["X", "X"], 80) + "01.01.2001.01.01"[:8] + "00.00.00"
    header += column([256 * (count + 1)], 8) + column([""], 44) + column([records, 1], 8)
    header += column([count], 4) + column(COMMON_SITES, 16) + column([""] * count, 80)
    header += column([unit] * count, 8) + column([low] * count, 8) + column([high] * count, 8)
    header += column([-32768] * count, 8) + column([32767] * count, 8)
    header += column([""] * count, 80) + column([RATE] * count, 8) + column([""] * count, 32)
    digital = _digital(signal, 32768, (low, high)).astype("<i2")
    blocks = digital.reshape(count, records, RATE).transpose(1, 0, 2)
    path.write_bytes(header.encode("ascii") + blocks.tobytes())
