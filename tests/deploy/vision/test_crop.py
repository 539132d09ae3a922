"""The square around a face: where it lies, and what stands where the picture has ended."""

import numpy as np
import pytest

from neurogaze_fast.deploy.vision.crop import cut_square, square_around


def test_margin_lengthens_the_longer_side_around_the_same_centre():
    assert square_around(np.array([40, 20, 60, 70]), 0.2) == (20, 15, 60)
    assert square_around(np.array([40, 20, 60, 70]), 0) == (25, 20, 50)


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [5, 5, 5.2, 5.1], [9, 9, 8, 8]])
def test_an_empty_box_still_gives_a_pixel(box):
    left, top, side = square_around(np.array(box), 0.2)
    assert side == 1
    assert cut_square(np.zeros((10, 10, 3), np.uint8), left, top, side).shape == (1, 1, 3)


def test_inside_the_picture_the_pixels_are_its_own():
    image = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    np.testing.assert_array_equal(cut_square(image, 7, 3, 12), image[3:15, 7:19])


@pytest.mark.parametrize(("left", "top"), [(-4, -6), (22, 15), (-40, 5), (5, 60), (-9, -9)])
def test_beyond_the_edges_the_last_pixels_go_on(left, top):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    around = np.pad(image, ((80, 80), (80, 80), (0, 0)), mode="edge")
    expected = around[80 + top : 80 + top + 16, 80 + left : 80 + left + 16]
    np.testing.assert_array_equal(cut_square(image, left, top, 16), expected)


def test_a_square_larger_than_the_picture():
    cut = cut_square(np.full((4, 6, 3), 9, np.uint8), -10, -10, 30)
    assert cut.shape == (30, 30, 3)
    assert (cut == 9).all()
