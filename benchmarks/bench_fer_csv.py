"""fer2013.csv into arrays: the native reader, the Python reader, and pandas with numpy.

    pytest benchmarks/bench_fer_csv.py

reads the folder of $NEUROGAZE_FERPLUS, or without it a file of random pixels (marked synthetic).
Every reader must give the same bytes. The file is in the page cache: each is run once before its
clock starts. In extra_info, `first_read_s` is one read after the cache was told to forget the file,
and `times_pandas` the median ratio of turns, pandas and the reader one after the other, so that a
busy moment of the machine hits both.
"""

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurogaze_fast.environment import cpu_model
from neurogaze_fast.faces.fer_csv import USAGES, FerCsv, native_status, read_fer_csv

CORES = len(os.sched_getaffinity(0))
TURNS = 5
SYNTHETIC_ROWS = 4096  # 34 MB


def read_with_pandas(path):
    """The fastest usual idiom.

    np.fromstring on each row's text. On the same rows np.array(text.split(), np.uint8) takes about
    five times as long and np.loadtxt as long; one call on all rows joined is no faster.
    """
    table = pd.read_csv(path)
    pixels = np.stack([np.fromstring(text, np.uint8, sep=" ") for text in table.pixels])
    usage = table.Usage.map({name: code for code, name in enumerate(USAGES)})
    return FerCsv(
        pixels.reshape(-1, 48, 48),
        table.emotion.to_numpy(np.int8),
        usage.to_numpy(np.uint8),
    )


@pytest.fixture(scope="session")
def fer_csv(tmp_path_factory):
    """The csv file, whether it is synthetic, and what is in it according to pandas."""
    folder = os.environ.get("NEUROGAZE_FERPLUS")
    if folder:
        path = Path(folder) / "fer2013.csv"
    else:
        path = tmp_path_factory.mktemp("bench") / "fer2013.csv"
        write_synthetic(path)
    return path, not folder, read_with_pandas(path)


def write_synthetic(path):
    pixels = np.random.default_rng(0).integers(0, 256, (SYNTHETIC_ROWS, 2304), dtype=np.uint8)
    with path.open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for row, values in enumerate(pixels):
            file.write(f"{row % 7},{' '.join(map(str, values))},{USAGES[row % 3]}\n")


def first_read_seconds(path, threads):
    """One read after asking the system to drop the file from its cache; None where it cannot."""
    if not hasattr(os, "posix_fadvise"):
        return None
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return round(seconds(lambda: read_fer_csv(path, threads=threads)), 3)


def seconds(read):
    begin = time.perf_counter()
    read()
    return time.perf_counter() - begin


@pytest.mark.benchmark(group="fer_csv", warmup=True, warmup_iterations=1, min_rounds=5)
@pytest.mark.parametrize(
    ("impl", "threads"),
    [
        ("pandas+numpy", 1),
        ("python fallback", 1),
        ("native", 1),
        pytest.param("native", CORES, marks=pytest.mark.skipif(CORES == 1, reason="one core")),
    ],
)
def test_read(benchmark, monkeypatch, fer_csv, impl, threads):
    path, synthetic, expected = fer_csv
    first_read = None
    if impl == "native":
        if not native_status()[0]:
            pytest.skip(native_status()[1])
        first_read = first_read_seconds(path, threads)
    else:
        monkeypatch.setenv("NEUROGAZE_NATIVE", "0")

    def read():
        return read_with_pandas(path) if "pandas" in impl else read_fer_csv(path, threads=threads)

    data = benchmark(read)
    turns = [seconds(lambda: read_with_pandas(path)) / seconds(read) for _ in range(TURNS)]
    for name, values in vars(expected).items():
        assert getattr(data, name).tobytes() == values.tobytes(), name
    megabytes = path.stat().st_size / 1e6
    benchmark.extra_info |= {
        "impl": impl,
        "threads": threads,
        "rows": len(data.usage),
        "megabytes": round(megabytes, 1),
        "synthetic": synthetic,
        "cpu": cpu_model(),
        "first_read_s": first_read,
        "times_pandas": round(statistics.median(turns), 2),
    }
    if benchmark.stats:  # none with --benchmark-disable
        benchmark.extra_info["MB/s"] = round(megabytes / benchmark.stats.stats.median, 1)
