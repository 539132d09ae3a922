"""Memory of prepare eeg: that of a person and of a block of maps, however many recordings."""

import subprocess
import sys

import pytest

pytest.importorskip("mne")

from neurogaze_fast.eeg.synthetic_dreamer import write_demo_dreamer
from tests.eeg.bids_trees import recording

CODE = """
import resource, sys
from neurogaze_fast import prepare
from neurogaze_fast.eeg import assemble
assemble.SHARD_WINDOWS = 8  # a smaller block, so that a small set fills it
prepare.main(sys.argv[1:])
print("KIB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SIZE = 256
"""Pixels: a window's maps take 4 x 256 x 256 x 2 bytes, 512 KiB."""


def peak(*argv):
    """(MiB at most, windows)."""
    said = subprocess.run(
        [sys.executable, "-c", CODE, "eeg", "--size", str(SIZE), *map(str, argv)],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    (windows,) = [int(line.split()[0]) for line in said if " maps of " in line]
    return int(said[-1].split()[1]) / 1024, windows


def sources(tmp_path, people):
    """A DREAMER.mat of so many people, and a recording each of as many others."""
    mat, root = tmp_path / f"{people}.mat", tmp_path / f"set-{people}"
    write_demo_dreamer(mat, subjects=people, clips=1, seconds=30, baseline_seconds=10)
    rows = ["file,subject,clip,start_s,end_s,valence,arousal"]
    for number in range(people):
        recording(root / f"{number}.edf", seed=number % 4, seconds=30)
        rows.append(f"{number}.edf,{number},k,0,30,0.5,0.5")
    (root / "clips.csv").write_text("\n".join(rows))
    given = ["--dreamer", mat, "--recording", root, "--ratings", root / "clips.csv"]
    return [*given, "--out", tmp_path / f"out-{people}"]


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB there")
def test_four_times_as_many_people_take_no_more_memory(tmp_path):
    small, windows = peak(*sources(tmp_path, 2))
    large, more = peak(*sources(tmp_path, 8))
    assert more > 3.9 * windows
    maps = (more - windows) * 4 * SIZE * SIZE * 2 / 2**20
    print(f"{small:.0f} and {large:.0f} MiB, {maps:.0f} MiB more of maps")
    assert maps > 100
    assert large - small < maps / 3  # what lies waiting in the allocator varies
