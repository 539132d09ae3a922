"""Writes EDF, EDF+, BDF and BDF+ with every field of the header free to be odd."""

from pathlib import Path

import numpy as np

SITES = tuple("AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split())
NOTES_BYTES = 120


def write_edf(
    path,
    data,
    sfreq,
    labels=SITES,
    *,
    units="uV",
    prefilter="",
    physical=(-3276.8, 3276.7),
    onsets=None,
    notes=(),
    discontinuous=True,
    bdf=False,
    pad=b" ",
    **fields,
):
    """`data`: a list of [T] in `units`; `sfreq`, `units` and `physical` for all or one each.

    `onsets`: the time stamp of each record of 1 s (EDF+); `notes`: (record, onset, duration, text).
    `fields` replace header fields: version, start, header_bytes, reserved, records.
    """
    count = len(data)
    each = {
        name: list(value) if isinstance(value, list) else [value] * count
        for name, value in (("sfreq", sfreq), ("units", units), ("physical", physical))
    }
    width, low, high = (3, -(2**23), 2**23 - 1) if bdf else (2, -(2**15), 2**15 - 1)
    records = int(len(data[0]) // each["sfreq"][0])
    columns = [
        np.clip(np.rint((x - p[0]) / (p[1] - p[0]) * (high - low) + low), low, high)
        for x, p in zip(data, each["physical"], strict=True)
    ]
    kind = "BDF" if bdf else "EDF"
    text = onsets is not None
    signals = [
        (label, "", unit, *p, low, high, prefilter, rate, "")
        for label, unit, p, rate in zip(
            labels, each["units"], each["physical"], each["sfreq"], strict=True
        )
    ]
    if text:
        samples = NOTES_BYTES // width
        signals.append((f"{kind} Annotations", "", "", -1, 1, low, high, "", samples, ""))

    def field(value, size):
        raw = value if isinstance(value, bytes) else str(value).encode("utf-8")
        return (raw + pad * size)[:size]

    head = {
        "version": b"\xffBIOSEMI" if bdf else "0",
        "patient": "X X X X",
        "recording": "Startdate 01-JAN-2020 X X X",
        "date": "01.01.20",
        "start": "10.00.00",
        "header_bytes": 256 * (len(signals) + 1),
        "reserved": f"{kind}+{'D' if discontinuous else 'C'}" if text else "",
        "records": records,
        "duration": 1,
        "count": len(signals),
    } | fields
    sizes = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
    with open(path, "wb") as file:
        for value, size in zip(head.values(), sizes, strict=True):
            file.write(field(value, size))
        for number, size in enumerate((16, 80, 8, 8, 8, 8, 8, 80, 8, 32)):
            file.writelines(field(signal[number], size) for signal in signals)
        for record in range(records):
            for column, rate in zip(columns, each["sfreq"], strict=True):
                part = column[record * rate : (record + 1) * rate].astype("<i4")
                file.write(part.view(np.uint8).reshape(-1, 4)[:, :width].tobytes())
            if text:
                lists = f"+{onsets[record]:g}\x14\x14\x00"
                for at, onset, duration, what in notes:
                    if at == record:
                        lists += f"+{onset:g}\x15{duration:g}\x14{what}\x14\x00"
                file.write(lists.encode().ljust(NOTES_BYTES, b"\x00")[:NOTES_BYTES])
    return Path(path)
