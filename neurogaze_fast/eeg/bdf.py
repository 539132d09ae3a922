"""BioSemi's data format (BDF): EDF with 24-bit samples. Its header's sizes, and a writer.

A header of 256 bytes, 256 more per channel, then records: in each the samples of channel 0, of
channel 1 and so on, as 3-byte little-endian integers. MNE reads the samples; what is here is what
MNE does not say (it reads a truncated file without complaint) or cannot do (write 24 bits).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = b"\xffBIOSEMI"
DIGITAL_MIN, DIGITAL_MAX = -(2**23), 2**23 - 1
EEG_RANGE = (-262144, 262143)
"""Microvolts, as BioSemi's own files have it: 31.25 nV per step."""


@dataclass(frozen=True)
class Channel:
    """One channel of a file to write."""

    name: str
    unit: str
    """Such as "uV"; "Boolean" for Status."""
    physical: tuple[int, int]
    """What the smallest and the largest digital value stand for."""


def bdf_defect(path: Path) -> str | None:
    """Why a file is no whole BDF, in a few words; None: header and size agree.

    A header that says -1 records (a recording that was never stopped) is whole as it is.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(256)
        if head[: len(MAGIC)] != MAGIC:
            return "not a BDF file"
        try:
            header, records, channels = int(head[184:192]), int(head[236:244]), int(head[252:256])
            file.seek(256 + 216 * channels)
            counts = file.read(8 * channels)
            per_record = sum(int(counts[8 * i : 8 * i + 8]) for i in range(channels))
        except (ValueError, OSError):
            return "damaged BDF header"
    if channels < 1 or header != 256 * (channels + 1) or per_record < 1 or records < -1:
        return "damaged BDF header"
    if records >= 0 and size < header + 3 * per_record * records:
        return "truncated BDF"
    return None


def write_bdf(
    path: Path, channels: list[Channel], digital: np.ndarray, sfreq: int, *, recording: str
) -> None:
    """Write `digital` int32 [C, T] with records of one second, T a multiple of `sfreq`.

    Args:
        path: The file.
        channels: C of them; names up to 16 characters.
        digital: Samples in steps, within 24 bits.
        sfreq: Sampling frequency, Hz.
        recording: Up to 80 ASCII characters, kept in the header.
    """
    count, samples = digital.shape
    records = samples // sfreq
    low, high = zip(*(channel.physical for channel in channels), strict=True)
    # Fixed fields, so that the same samples give the same bytes.
    fixed: list[tuple[object, int]] = [("", 80), (recording, 80), ("01.01.00", 8), ("00.00.00", 8)]
    fixed += [(256 * (count + 1), 8), ("24BIT", 44), (records, 8), (1, 8), (count, 4)]
    columns: list[tuple[list[object], int]] = [
        ([channel.name for channel in channels], 16),
        ([""] * count, 80),
        ([channel.unit for channel in channels], 8),
        (list(low), 8),
        (list(high), 8),
        ([DIGITAL_MIN] * count, 8),
        ([DIGITAL_MAX] * count, 8),
        ([""] * count, 80),
        ([sfreq] * count, 8),
        ([""] * count, 32),
    ]
    text = "".join(str(value).ljust(width) for value, width in fixed)
    text += "".join(str(value).ljust(width) for values, width in columns for value in values)
    blocks = digital.reshape(count, records, sfreq).transpose(1, 0, 2)
    bytes4 = np.ascontiguousarray(blocks, "<i4").view(np.uint8).reshape(-1, 4)
    with open(path, "wb") as file:
        file.write(MAGIC + text.encode("ascii"))
        file.write(np.ascontiguousarray(bytes4[:, :3]).data)
