"""Tilted faces are turned upright; upright ones are cut out as ever."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.deploy.vision.crop import cut_square, cut_turned, square_around
from neurogaze_fast.deploy.vision.detect import CenterFace
from neurogaze_fast.deploy.vision.faces_in_picture import FaceFinder
from neurogaze_fast.deploy.vision.upright import square_of, tilt, upright_square

ANGLES = (10, 20, 30, 45)
OWN_TILT = 4.5
"""Degrees by which she holds her head, which is too little to be turned."""


@pytest.fixture(scope="module")
def detector():
    return CenterFace(threads=1)


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(skimage.data.astronaut()[0:300, 90:390])


def turned(photo, angle):
    """By `angle` degrees clockwise."""
    return np.asarray(photo.rotate(-angle, Image.Resampling.BICUBIC, fillcolor=(120, 120, 120)))


def apart(one, other):
    return np.abs(one.astype(int) - other.astype(int)).mean()


def test_an_upright_face_is_cut_out_as_ever(detector, photo):
    image = np.asarray(photo)
    found = FaceFinder(detector).find(image, 48)
    assert found.faces.shape == (1, 48, 48, 3)
    plain = prepare_face(cut_square(image, *square_around(found.boxes[0], 0.05)), 48)
    np.testing.assert_array_equal(found.faces[0], plain)


@pytest.mark.parametrize("angle", [*ANGLES, -30])
def test_a_tilted_face_looks_as_if_it_were_upright(detector, photo, angle):
    (upright,) = FaceFinder(detector).find(np.asarray(photo), 48).faces
    image = turned(photo, angle)
    (found,) = FaceFinder(detector).locate(image).squares
    assert found[3] == pytest.approx(angle + OWN_TILT, abs=4)
    (face,) = FaceFinder(detector).find(image, 48).faces
    (as_it_is,) = FaceFinder(detector, upright=False).find(image, 48).faces
    assert apart(face, upright) < 30
    assert apart(face, upright) < 0.8 * apart(as_it_is, upright)


def test_its_expression_is_that_of_the_upright_face(detector, photo):
    from neurogaze_fast.deploy.shipped import open_model

    engine = open_model(None, threads=1)
    size = engine.input_size
    pictures = [np.asarray(photo), *(turned(photo, angle) for angle in ANGLES)]
    faces = np.concatenate([FaceFinder(detector).find(p, size).faces for p in pictures])
    probabilities, _ = engine.run(faces)
    assert len(set(probabilities.argmax(axis=1))) == 1
    assert np.abs(probabilities[1:] - probabilities[0]).max() < 0.2


def test_a_turned_square_holds_what_lies_in_it():
    image = np.zeros((100, 120, 3), np.uint8)
    image[40:60, 50:80] = 200
    cut = cut_turned(image, np.array([65, 50, 40, 90.0]))
    assert cut.shape == (40, 40, 3)
    bright = cut.mean(axis=2) > 100
    assert (bright.any(axis=1).sum(), bright.any(axis=0).sum()) == (30, 20)  # it stands now
    np.testing.assert_array_equal(
        cut_turned(image, np.array([65, 50, 40, 0.0])), cut_square(image, 45, 30, 40)
    )


def test_the_picture_goes_on_where_a_turned_square_leaves_it():
    image = np.full((50, 50, 3), 70, np.uint8)
    assert (cut_turned(image, np.array([5, 5, 60, 33.0])) == 70).all()


def test_where_it_is_not_found_again_the_box_is_turned():
    class Nothing:
        detail = "blind"

        def detect(self, image):
            return np.zeros((0, 15), np.float32)

    box = np.array([20, 20, 60, 60])
    points = np.array([[30, 30], [45, 40], [0, 0], [0, 0], [0, 0]], float)
    angle = np.degrees(np.arctan2(10, 15))
    assert tilt(points[None])[0] == pytest.approx(angle)
    square = upright_square(np.zeros((90, 90, 3), np.uint8), box, points, 0.05, Nothing())
    np.testing.assert_allclose(square, [*square_of(box, 0.05)[:3], angle])
    points[1] = 45, 31  # 3.8 degrees are no tilt
    square = upright_square(np.zeros((90, 90, 3), np.uint8), box, points, 0.05, Nothing())
    np.testing.assert_array_equal(square, square_of(box, 0.05))
