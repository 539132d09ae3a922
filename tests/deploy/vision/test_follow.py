"""Identities through crossings, searches every few frames, cuts, and what lies between."""

import itertools

import numpy as np
import pytest
import scipy.optimize

from neurogaze_fast.deploy.vision import tracker as tracking
from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder
from neurogaze_fast.deploy.vision.follow import Follower, searched_every
from neurogaze_fast.deploy.vision.tracker import Tracker, cheapest_pairs, look_of
from tests.deploy.vision.crossings import Crossings, switches
from tests.deploy.vision.fakes import FixedDetector


def followed(images, detector, *, every=5, piece=10**9, fps=25):
    follower = Follower(FaceFinder(detector), fps, search_every=every, piece=piece)
    return [frame for group in follower.frames(images) for frame in group]


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("seed", range(5))
def test_two_persons_who_cross_keep_their_identities(seed, every):
    clip = Crossings(seed)
    frames = followed(clip.images(), clip, every=every)
    assert [frame.number for frame in frames] == list(range(300))
    assert switches(clip, frames) == 0
    assert {i for frame in frames for i in frame.identities} == {1, 2}


def test_without_looks_and_motion_they_would_be_mistaken(monkeypatch):
    monkeypatch.setattr(tracking, "_LOOKS", 0.0)
    monkeypatch.setattr(tracking, "_PERSISTENCE_S", 1e-9)
    found = 0
    for seed in range(5):
        clip = Crossings(seed)
        found += switches(clip, followed(clip.images(), clip))
    assert found > 0


def test_a_face_moves_in_a_line_between_two_searches():
    class Moving(FixedDetector):
        def detect(self, image):
            x = float(image[0, 0, 0])
            return np.array([[x, 10, x + 30, 40, 0.9]], np.float32)

    images = ((n, np.full((60, 200, 3), 0, np.uint8) + np.uint8(4 * n)) for n in range(13))
    frames = followed(images, Moving(), every=4)
    assert [frame.searched for frame in frames] == [n % 4 == 0 for n in range(13)]
    for frame in frames:
        assert frame.at.boxes[0, 0] == pytest.approx(4 * frame.number, abs=1e-3)
        assert frame.identities == [1]


def test_who_comes_or_leaves_between_two_searches_is_there_for_the_nearer_half():
    class Comes(FixedDetector):
        def detect(self, image):
            return self.boxes[: 1 + (image[0, 0, 0] >= 4)].copy()

    images = [(n, np.full((60, 200, 3), n, np.uint8)) for n in range(9)]
    boxes = [10, 10, 40, 40, 0.9], [100, 10, 130, 40, 0.8]
    frames = followed(images, Comes(*boxes), every=4)
    assert [len(frame.identities) for frame in frames] == [1, 1, 1, 2, 2, 2, 2, 2, 2]
    backwards = [(n, image) for n, (_, image) in enumerate(reversed(images))]
    frames = followed(backwards, Comes(*boxes), every=4)
    assert [len(frame.identities) for frame in frames] == [2, 2, 2, 2, 2, 2, 2, 1, 1]


def test_a_cut_ends_identities_and_is_searched_on_both_sides():
    detector = FixedDetector([10, 10, 40, 40, 0.9])
    dark, light = (np.full((60, 200, 3), level, np.uint8) for level in (30, 200))
    frames = followed([(n, dark if n < 7 else light) for n in range(12)], detector, every=5)
    assert [n for n, frame in enumerate(frames) if frame.searched] == [0, 5, 6, 7, 11]
    assert [frame.identities[0] for frame in frames] == [1] * 7 + [2] * 5


def test_a_picture_that_moves_as_a_whole_is_no_cut():
    noise = np.random.default_rng(0).integers(0, 2, (30, 80, 1), np.uint8) * 255
    scene = noise.repeat(8, 0).repeat(8, 1).repeat(3, 2)
    images = [(n, scene[:, 24 * n : 24 * n + 320].copy()) for n in range(8)]
    for _, image in images:
        image[10:40, 10:40] = scene[:30, :30]  # who is seen walks with the camera
    frames = followed(images, FixedDetector([10, 10, 40, 40, 0.9]), every=100)
    assert {frame.identities[0] for frame in frames} == {1}


def test_a_pieces_frames_do_not_depend_on_those_before_but_for_its_state():
    clip = Crossings(3, frames=60)
    images = list(clip.images())
    whole = followed(images, clip, piece=30)
    assert whole[30].before["given"] == 2
    assert [frame.before is not None for frame in whole] == [n in (0, 30) for n in range(60)]
    follower = Follower(FaceFinder(clip), 25, search_every=5, piece=30)
    follower.tracker = Tracker.from_json(whole[30].before)
    rest = [frame for group in follower.frames(images[30:]) for frame in group]
    for ours, theirs in zip(rest, whole[30:], strict=True):
        assert (ours.number, ours.identities) == (theirs.number, theirs.identities)
        np.testing.assert_array_equal(ours.at.squares, theirs.at.squares)


def test_a_face_that_was_away_for_long_is_another():
    looks, box = np.ones((1, 3)) / np.sqrt(3), np.array([[10, 10, 40, 40]])
    tracker = Tracker()
    assert tracker.update(0.0, box, looks) == [1]
    assert tracker.update(1.9, box, looks) == [1]
    assert tracker.update(4.0, box, looks) == [2]
    assert tracker.update(4.1, box[:0], looks[:0]) == []
    assert tracker.update(4.2, box + 400, looks) == [3]  # too far for a tenth of a second


def test_looks_tell_two_faces_apart():
    clip = Crossings()
    one, other = look_of(np.stack(clip.faces))
    brighter = look_of((clip.faces[0] * 0.8).astype(np.uint8)[None])[0]
    assert one @ brighter > 0.99
    assert one @ other < 0.8
    assert look_of(np.zeros((0, 24, 24, 3), np.uint8)).shape == (0, 192)


def test_five_searches_a_second():
    assert [searched_every(fps) for fps in (1, 10, 25, 60)] == [1, 2, 5, 12]


def test_pairs_are_those_of_all_assignments_tried(monkeypatch):
    """As many as can be, and of these the cheapest: against every order of the columns."""
    rng = np.random.default_rng(5)
    weighed = []
    wanted = scipy.optimize.linear_sum_assignment
    monkeypatch.setattr(
        scipy.optimize, "linear_sum_assignment", lambda cost: weighed.append(cost) or wanted(cost)
    )
    for _ in range(400):
        shape = rng.integers(0, 5, 2)
        cost = np.where(rng.random(shape) < 0.4, np.inf, rng.random(shape) * 4)
        pairs = cheapest_pairs(cost)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
        ours = (-len(pairs), sum(cost[pair] for pair in pairs))
        tall = cost if shape[0] <= shape[1] else cost.T
        best = (0, 0.0)
        for order in itertools.permutations(range(tall.shape[1]), tall.shape[0]):
            chosen = tall[np.arange(len(order)), list(order)]
            finite = chosen[np.isfinite(chosen)]
            best = min(best, (-len(finite), float(finite.sum())))
        assert ours == pytest.approx(best)
    assert 20 < len(weighed) < 200  # both ways were taken
