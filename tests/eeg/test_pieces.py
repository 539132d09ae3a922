"""Pieces: what is read together, and how people are dealt out to shards."""

from pathlib import Path

from neurogaze_fast.eeg.pieces import left_out_piece, owners, sharing
from neurogaze_fast.eeg.recording import LeftOut


def test_people_are_dealt_out_in_their_order_and_never_divided():
    people = ["a", "b", None, "a", "c", "b", "d"]
    assert owners(people, 2) == [0, 1, 0, 0, 0, 1, 1]
    assert owners(people, 9) == [0, 1, 0, 0, 2, 1, 3]
    assert set(owners(people, 1)) == {0}


def test_recordings_that_share_a_person_are_one_piece():
    people = {"1": {"a"}, "2": {"b"}, "3": {"c"}, "4": {"b", "d"}, "5": {"d", "a"}, "6": {"c"}}
    assert sharing(people) == [["1", "2", "4", "5"], ["3", "6"]]
    assert sharing({}) == []


def test_what_is_left_out_already_is_nobodys_piece():
    assert left_out_piece("x", []) == []
    out = LeftOut(Path("x"), "y", "z")
    (only,) = left_out_piece("x", [out])
    assert only.person is None
    assert list(only.read()) == [out]
