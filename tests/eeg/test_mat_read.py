"""Our reader gives what scipy's gives, in one pass and without holding the file in memory."""

import io
import subprocess
import sys

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from neurogaze_fast.eeg import mat_read
from neurogaze_fast.eeg.dreamer import SITES
from neurogaze_fast.eeg.mat_read import read_mat, read_mats
from tests.eeg.mat_content import content


def assert_same(ours, theirs):
    """Equal in nesting, shape, names and numbers; what we do not read is None."""
    if ours is None:
        assert not isinstance(theirs, np.ndarray) or np.iscomplexobj(theirs)
        return
    assert ours.shape == theirs.shape or theirs.size == ours.size == 0
    if theirs.dtype.names:
        assert ours.dtype.names == theirs.dtype.names
        for one, other in zip(ours.reshape(-1), theirs.reshape(-1), strict=True):
            for name in theirs.dtype.names:
                assert_same(one[name], other[name])
    elif theirs.dtype == object:
        for one, other in zip(ours.reshape(-1), theirs.reshape(-1), strict=True):
            assert_same(one, other)
    elif theirs.dtype.kind == "U":
        assert ours.tolist() == theirs.tolist()
    else:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("small", [0, 1 << 16])
def test_equals_scipys(tmp_path, compressed, small, monkeypatch):
    monkeypatch.setattr(mat_read, "SMALL", small)
    values = {k: v for k, v in content().items() if k not in ("empty", "sparse")}
    values["large"] = np.random.default_rng(0).standard_normal((300, 140))
    values["deep"] = {"cells": np.array([[np.eye(40, dtype=np.int16), "text"]], object)}
    path = tmp_path / "a.mat"
    savemat(path, values, do_compression=compressed)
    expected = loadmat(path)
    for name in values:
        assert_same(read_mat(path, name), expected[name])
    assert read_mat(path, "absent") is None


@pytest.mark.parametrize("segment", [1 << 12, 16 << 20])
def test_large_matrices_of_several_variables_lie_in_segments(tmp_path, monkeypatch, segment):
    """Smaller than a segment, larger than one, of sizes that are no multiple of 8."""
    monkeypatch.setattr(mat_read, "SEGMENT", segment)
    monkeypatch.setattr(mat_read, "SMALL", 100)
    generator = np.random.default_rng(1)
    values = {
        f"v{n}": generator.integers(0, 255, (n * 101 + 1, 3)).astype(np.uint8) for n in range(1, 40)
    }
    savemat(tmp_path / "a.mat", values, do_compression=True)
    found = read_mats(tmp_path / "a.mat")
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_more_large_matrices_than_a_process_may_open_files(tmp_path, monkeypatch):
    """DREAMER has 1656 of them, and 1024 open files is the usual limit."""
    import resource

    monkeypatch.setattr(mat_read, "SMALL", 100)
    cells = np.empty((1, 400), object)
    for at in range(400):
        cells[0, at] = np.full((40, 3), at, np.int16)
    savemat(tmp_path / "a.mat", {"cells": cells})
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    try:
        found = read_mat(tmp_path / "a.mat", "cells")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [cell[0, 0] for cell in found[0]] == list(range(400))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_file_ten_times_as_long_takes_no_more_memory(tmp_path):
    """Peak memory of reading every clip of a small and of a large DREAMER.mat."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from neurogaze_fast.eeg.dreamer import read_dreamer\n"
        "count = sum(1 for _ in read_dreamer(Path(sys.argv[1])))\n"
        "peak = [l for l in open('/proc/self/status') if l.startswith('VmHWM')][0]\n"
        "print(count, peak.split()[1])\n"
    )
    peaks = []
    for clips in (1, 12):
        electrodes = np.empty((1, 14), object)
        electrodes[0] = SITES
        data = np.empty((1, 6), object)
        generator = np.random.default_rng(0)
        film = generator.integers(3000, 5000, (128 * 240, 14)).astype(np.float32)
        for person in range(6):
            films = np.empty((clips, 1), object)
            for clip in range(clips):
                films[clip, 0] = film
            score = np.full((clips, 1), 3.0)
            data[0, person] = {
                "EEG": {"baseline": films, "stimuli": films},
                "ScoreValence": score,
                "ScoreArousal": score,
            }
        buffer = io.BytesIO()
        savemat(buffer, {"DREAMER": {"Data": data, "EEG_SamplingRate": 128,
                                     "EEG_Electrodes": electrodes}})  # fmt: skip
        path = tmp_path / f"{clips}.mat"
        path.write_bytes(buffer.getvalue())
        said = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert int(said[0]) == 6 * clips
        peaks.append(int(said[1]) / 1024)
    size = (tmp_path / "12.mat").stat().st_size / 2**20
    assert size > 200
    assert peaks[1] - peaks[0] < 60, peaks  # one person is held at a time
