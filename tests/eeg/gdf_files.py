"""Writes GDF 1.25 and 2.0, the channels each at a rate of its own."""

import numpy as np


def write_gdf(path, data, sfreq, labels, *, prefilter="", units="uV", second=False, scale=1.0):
    """`data`: a list of [T] in microvolts; `sfreq`: Hz, one each; records of 1 s.

    `units`: one or one each, texts as bytes or str, and in GDF 2 codes; `scale`: microvolts of it.
    """
    count, records = len(data), len(data[0]) // sfreq[0]
    units = units if isinstance(units, list) else [units] * count
    low, high = -(2**15), 2**15 - 1
    limits = [np.full(count, value / scale, "<f8").tobytes() for value in (-3276.8, 3276.7)]
    digital = "<f8" if second else "<i8"
    limits += [np.full(count, value, digital).tobytes() for value in (low, high)]
    names = b"".join(label.encode().ljust(16) for label in labels)
    rates = np.array(sfreq, "<i4").tobytes() + np.full(count, 3, "<i4").tobytes()
    with open(path, "wb") as file:
        if second:
            head = b"GDF 2.00".ljust(184, b"\0") + np.array([count + 1], "<u2").tobytes()
            file.write(head.ljust(236, b"\0"))
            file.write(np.array([records], "<i8").tobytes())
            file.write(np.array([1, 1], "<u4").tobytes() + np.array([count, 0], "<u2").tobytes())
            texts = [unit if isinstance(unit, str) else "" for unit in units]
            file.write(names + b" " * 80 * count)
            file.write(b"".join(text.encode().ljust(6, b"\0") for text in texts))
            codes = [0 if isinstance(unit, str) else unit for unit in units]
            file.write(np.array(codes, "<u2").tobytes() + b"".join(limits) + bytes(68 * count))
            file.write(bytes(12 * count) + rates + bytes((12 + 20) * count))
        else:
            file.write(b"GDF 1.25" + b"X X".ljust(80) + b"X".ljust(80) + b"2020010110000000")
            file.write(np.array([256 * (count + 1)], "<i8").tobytes() + bytes(24 + 20))
            file.write(np.array([records], "<i8").tobytes())
            file.write(np.array([1, 1, count], "<u4").tobytes() + names + b" " * 80 * count)
            texts = [unit.encode() if isinstance(unit, str) else unit for unit in units]
            file.write(b"".join(text.ljust(8) for text in texts) + b"".join(limits))
            file.write(prefilter.encode().ljust(80) * count + rates + bytes(32 * count))
        for record in range(records):
            for x, rate in zip(data, sfreq, strict=True):
                part = np.rint(np.asarray(x[record * rate : (record + 1) * rate]) * 10)
                file.write(np.clip(part, low, high).astype("<i2").tobytes())
        file.write(bytes(1) if not second else bytes(8))  # no events
