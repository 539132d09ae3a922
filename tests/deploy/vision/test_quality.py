"""Size, sharpness and pose of faces, and how sure an answer is."""

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from neurogaze_fast.deploy.vision.certainty import certainty
from neurogaze_fast.deploy.vision.quality import joined, measure
from neurogaze_fast.faces.synthetic import draw_faces

FRONT = np.array([[-10, -10], [10, -10], [0, 2.18], [-8, 11], [8, 11]], float)
BOX = np.array([[0, 0, 60, 80, 0.9]], np.float32)
FACE = draw_faces("valid", 1)[0][0][..., None].repeat(3, 2)


def of(points=FRONT, face=FACE, box=BOX):
    return measure(face[None], box, points[None])[0]


def test_a_face_from_the_front_has_no_angles():
    quality = of()
    assert (quality.yaw, quality.pitch, quality.roll) == pytest.approx((0, 0, 0), abs=0.2)
    assert quality.pixels == 80


def test_each_angle_is_told_from_the_others():
    for degrees in (-40, 25):
        turn = np.radians(degrees)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        tilted = of(FRONT @ rotation)
        assert tilted.roll == pytest.approx(degrees)
        assert (tilted.yaw, tilted.pitch) == pytest.approx((0, 0), abs=0.2)
        # A head as points in space, turned about the vertical axis: the nose stands out by 11.
        space = np.column_stack((FRONT, [0, 0, 11, 0, 0]))
        seen = np.column_stack(
            (space[:, 0] * np.cos(turn) + space[:, 2] * np.sin(turn), space[:, 1])
        )
        aside = of(seen)
        assert aside.yaw == pytest.approx(degrees, abs=1)
        assert (aside.pitch, aside.roll) == pytest.approx((0, 0), abs=8)


def test_blur_size_pose_and_score_lower_it():
    best = of().value
    blurred = Image.fromarray(FACE).filter(ImageFilter.GaussianBlur(4))
    assert of(face=np.asarray(blurred)).value < best / 2
    assert of(box=BOX * [0.3, 0.3, 0.3, 0.3, 1]).value < best
    assert of(box=BOX * [1, 1, 1, 1, 0.6]).value < best
    aside = FRONT.copy()
    aside[2, 0] += 8
    assert of(aside).value < best
    assert of(np.full((5, 2), np.nan)).value == pytest.approx(best)  # not known is not bad
    assert 0 <= of(face=np.zeros((48, 48, 3), np.uint8)).value <= 0.01


def test_nothing_is_measured_of_nothing():
    none = measure(np.zeros((0, 48, 48, 3), np.uint8), BOX[:0], FRONT[None][:0])
    assert len(none) == 0
    assert certainty(np.zeros(0), none).shape == (0,)


def test_certainty_follows_confidence_and_falls_with_blur():
    quality = measure(FACE[None].repeat(3, 0), BOX.repeat(3, 0), FRONT[None].repeat(3, 0))
    sure = certainty(np.array([0.3, 0.6, 0.95]), quality)
    assert (np.diff(sure) > 0).all()
    # By the formula, for a face that is sharp.
    assert quality.sharpness[0] > 0.01
    assert sure[1] == pytest.approx(1 / (1 + np.exp(-(1.30 * np.log(1.5) + 0.51))))
    soft = Image.fromarray(FACE).filter(ImageFilter.GaussianBlur(4))
    blurred = measure(np.asarray(soft)[None], BOX, FRONT[None])
    assert certainty(np.array([0.6]), blurred)[0] < sure[1]
    assert np.isfinite(certainty(np.array([0.0, 0.5, 1.0]), quality)).all()


def test_the_astronaut_is_a_good_face():
    from neurogaze_fast.deploy.vision.detect import CenterFace
    from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder

    photo = np.ascontiguousarray(skimage.data.astronaut()[0:300, 90:390])
    quality = FaceFinder(CenterFace(threads=1)).find(photo, 48).qualities[0]
    assert quality.value > 0.7
    assert abs(quality.yaw) < 15
    assert abs(quality.roll) < 10


def test_many_pictures_measured_at_once_are_measured_as_one_by_one():
    rng = np.random.default_rng(3)
    counts = (2, 0, 1, 4)
    faces = [rng.integers(0, 255, (n, 24, 24, 3), np.uint8) for n in counts]
    far = np.array([0, 0, 60, 80, 0], np.float32)
    boxes = [far + rng.uniform(0, 1, (n, 5)).astype(np.float32) for n in counts]
    points = [rng.uniform(0, 60, (n, 5, 2)).astype(np.float32) for n in counts]
    each = [measure(*parts) for parts in zip(faces, boxes, points, strict=True)]
    together = measure(*map(np.concatenate, (faces, boxes, points)))
    for ours, theirs in zip(joined(each).each, together.each, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(together) == 7
    assert together[2].pixels == each[2][0].pixels
