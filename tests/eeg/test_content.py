"""What recordings are known by, wherever they lie."""

from pathlib import Path

import pytest

from neurogaze_fast.eeg.content import ENDS, identity, quick_look, whole_hash


def test_a_file_has_one_name_on_every_machine():
    for root in (Path("/data/set"), Path("set"), Path("/mnt/other/copy")):
        roots = {"bids": root, "ratings": root.parent / "r.csv"}
        assert identity(root / "sub-1" / "x.edf", roots) == "bids/sub-1/x.edf"
        assert identity(root.parent / "r.csv", roots) == "ratings/r.csv"
    assert identity(Path("/far/x.edf"), {"bids": Path("/data")}) == "/far/x.edf"


@pytest.mark.parametrize("at", [0, ENDS - 1, -1, -ENDS])
def test_a_quick_look_sees_both_ends_and_the_size(tmp_path, at):
    data = bytearray(5 * ENDS)
    path = tmp_path / "x"
    path.write_bytes(data)
    before = quick_look(path)
    data[at] = 1
    path.write_bytes(data)
    assert quick_look(path) != before
    path.write_bytes(bytes(5 * ENDS + 1))
    assert quick_look(path) != before
    assert quick_look(tmp_path / "absent") == (-1, "")


def test_a_folder_that_is_a_recording_is_known_by_all_its_files(tmp_path):
    folder = tmp_path / "x.mff"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "inner" / "b").write_text("2")
    before = whole_hash(folder), quick_look(folder)
    (folder / "inner" / "b").write_text("3")
    after = whole_hash(folder), quick_look(folder)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert len(after[0]) == 64
