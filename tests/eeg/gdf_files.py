"""Writes GDF 1.25, the channels each at a rate of its own."""

import numpy as np


def write_gdf(path, data, sfreq, labels, *, prefilter=""):
    """`data`: a list of [T] in microvolts; `sfreq`: Hz, one each; records of 1 s."""
    count, records = len(data), len(data[0]) // sfreq[0]
    low, high = -(2**15), 2**15 - 1
    with open(path, "wb") as file:
        file.write(b"GDF 1.25" + b"X X".ljust(80) + b"X".ljust(80) + b"2020010110000000")
        file.write(np.array([256 * (count + 1)], "<i8").tobytes() + bytes(24 + 20))
        file.write(np.array([records], "<i8").tobytes() + np.array([1, 1, count], "<u4").tobytes())
        file.writelines(label.encode().ljust(16) for label in labels)
        file.write(b" " * 80 * count + b"uV".ljust(8) * count)
        for value in (-3276.8, 3276.7):
            file.write(np.full(count, value, "<f8").tobytes())
        for value in (low, high):
            file.write(np.full(count, value, "<i8").tobytes())
        file.write(prefilter.encode().ljust(80) * count)
        file.write(np.array(sfreq, "<i4").tobytes() + np.full(count, 3, "<i4").tobytes())
        file.write(bytes(32 * count))
        for record in range(records):
            for x, rate in zip(data, sfreq, strict=True):
                part = np.rint(np.asarray(x[record * rate : (record + 1) * rate]) * 10)
                file.write(np.clip(part, low, high).astype("<i2").tobytes())
        file.write(bytes(1))  # no events
