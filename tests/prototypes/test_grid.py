"""Cells, edges and targets on the valence/arousal grid."""

import numpy as np
import pytest

from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.prototypes.grid import cell_centres, cell_of, emotion_cells, target_cells


def test_centres_are_row_major_with_arousal_rows():
    centres = cell_centres(5)
    np.testing.assert_allclose(centres[0], [-0.8, -0.8], atol=1e-12)
    np.testing.assert_allclose(centres[1], [-0.4, -0.8], atol=1e-12)
    np.testing.assert_allclose(centres[5], [-0.8, -0.4], atol=1e-12)
    np.testing.assert_allclose(centres[24], [0.8, 0.8], atol=1e-12)


@pytest.mark.parametrize("grid", [2, 5, 7, 9])
def test_each_centre_lies_in_its_cell(grid):
    np.testing.assert_array_equal(cell_of(cell_centres(grid), grid), np.arange(grid * grid))


def test_edges_belong_to_the_upper_cell_and_one_to_the_last():
    edges = np.array([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0])
    points = np.stack([edges, np.full(6, -1.0)], 1)
    np.testing.assert_array_equal(cell_of(points, 5), [0, 1, 2, 3, 4, 4])


def test_five_point_ratings_fill_one_cell_each():
    ratings = (np.arange(1, 6) - 3) / 2
    cells = cell_of(np.array([(v, a) for a in ratings for v in ratings]), 5)
    np.testing.assert_array_equal(cells, np.arange(25))


def test_emotion_cells_are_the_gaussian_of_the_definition():
    q = emotion_cells(5, sigma=0.3)
    fear, centres = np.array(VALENCE_AROUSAL["fear"]), cell_centres(5)
    weight = [np.exp(-((fear - c) ** 2).sum() / (2 * 0.3**2)) for c in centres]
    np.testing.assert_allclose(q[EMOTIONS.index("fear")], weight / np.sum(weight), rtol=1e-6)
    np.testing.assert_allclose(q.sum(1), 1, rtol=1e-6)
    assert len({tuple(row) for row in q.round(6)}) == 8


def test_hard_cells_collide_as_documented():
    hard = emotion_cells(5, hard=True).argmax(1)
    named = dict(zip(EMOTIONS, hard, strict=True))
    assert named["surprise"] == named["fear"]
    assert named["anger"] == named["contempt"]


def test_target_of_mixed_votes_is_the_mixture():
    q = emotion_cells(5)
    shares = np.array([[0.5, 0.5, 0, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(target_cells(shares, q)[0], (q[0] + q[1]) / 2, rtol=1e-6)
