"""Faces in every form people hand over, and the one resize."""

import warnings

import numpy as np
import pytest
import skimage.data
from PIL import Image

from neurogaze_fast.deploy import predictor as predictor_module
from neurogaze_fast.deploy.predictor import PhotoWarning, Prediction, Predictor, prepare_face
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.faces.decode import encode_grey
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.pictures import decode_grey
from tests.deploy.small_model import SIZE, colour_faces


@pytest.fixture(scope="module")
def predictor(fitted_run):
    predictor = Predictor(fitted_run, "torch", threads=1, batch=4)
    yield predictor
    predictor.close()


@pytest.fixture(scope="module")
def grey():
    return draw_faces("valid", 6)[0]


def test_resize_is_that_of_training(grey):
    large = np.asarray(Image.fromarray(grey[0]).resize((131, 97), Image.Resampling.BICUBIC))
    for side in (16, 48, 200):
        wanted = decode_grey(encode_grey(large, "PNG"), side)
        found = prepare_face(large, side)
        assert found.shape == (side, side, 3)
        for channel in range(3):
            np.testing.assert_array_equal(found[..., channel], wanted)


def test_colour_is_resized_to_the_same_grey_within_a_level():
    colours = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    wanted = np.asarray(
        Image.fromarray(colours).convert("L").resize((48, 48), Image.Resampling.BILINEAR)
    ).astype(int)
    found = prepare_face(colours, 48) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found - wanted).max() <= 1.5  # two roundings apart


def test_one_face_gives_one_prediction(predictor, grey):
    found = predictor.predict(grey[0])
    assert isinstance(found, Prediction)
    assert list(found.probabilities) == list(EMOTIONS)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert found.label == max(found.probabilities, key=found.probabilities.get)
    values = np.array(list(found.probabilities.values()))
    affect = values @ np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])
    assert (found.valence, found.arousal) == pytest.approx(tuple(affect), abs=1e-5)


def test_every_form_gives_the_same_answer(predictor, grey, tmp_path):
    wanted = predictor.predict(prepare_face(grey[0], 48))
    Image.fromarray(grey[0]).save(tmp_path / "face.png")
    forms = [grey[0], np.repeat(grey[0][..., None], 3, 2), tmp_path / "face.png"]
    forms += [str(tmp_path / "face.png"), grey[0][::-1][::-1]]
    for form in forms:
        found = predictor.predict(form)
        assert found.label == wanted.label
        assert list(found.probabilities.values()) == pytest.approx(
            list(wanted.probabilities.values()), abs=1e-5
        )


def test_many_faces_of_mixed_sizes_keep_their_order(predictor, grey, tmp_path):
    Image.fromarray(grey[3]).save(tmp_path / "face.png")
    mixed = [grey[0], colour_faces(1, 60)[0], grey[2][:40, :44], tmp_path / "face.png", grey[4]]
    found = predictor.predict(mixed)  # five faces, four at a time
    assert [p.label for p in found] == [predictor.predict(face).label for face in mixed]
    stacked = predictor.predict(np.stack([prepare_face(face, SIZE) for face in grey]))
    assert len(stacked) == 6
    assert predictor.predict([]) == []
    assert predictor.predict(np.zeros((0, 9, 9, 3), np.uint8)) == []


def test_probabilities_of_prepared_faces(predictor, grey):
    faces = np.stack([prepare_face(face, SIZE) for face in grey])
    probabilities, affect = predictor.probabilities(faces)
    assert probabilities.shape == (6, 8)
    assert affect.shape == (6, 2)
    one = predictor.predict(faces[5])
    assert list(one.probabilities.values()) == pytest.approx(probabilities[5].tolist(), abs=1e-5)
    assert predictor.probabilities(faces[:0])[0].shape == (0, 8)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 48), np.float32),
        np.zeros((48, 48, 4), np.uint8),
        np.zeros((5, 48, 48), np.uint8),
        np.zeros((0, 48), np.uint8),
        np.zeros(48, np.uint8),
    ],
    ids=["floats", "alpha", "several grey", "empty", "line"],
)
def test_what_is_no_face_is_said(predictor, image):
    with pytest.raises(DataError, match=r"Image 0: A face must be uint8 \[H, W\]"):
        predictor.predict(image)


@pytest.mark.parametrize("image", [None, 3, Image.new("RGB", (8, 8))], ids=["None", "3", "Pillow"])
def test_what_has_no_form_of_a_face_is_said(predictor, image):
    with pytest.raises(DataError, match=r"uint8 array \[H, W\].*of type (NoneType|int|Image)\."):
        predictor.predict(image)


def test_the_wrong_one_of_many_is_named(predictor, grey, tmp_path):
    with pytest.raises(DataError, match="Image 5: A face must be"):
        predictor.predict([*grey[:5], None])
    with pytest.raises(DataError, match=r"absent\.png cannot be read"):
        predictor.predict(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"text\.png is no usable picture"):
        predictor.predict([tmp_path / "text.png"])
    with pytest.raises(ConfigError, match="batch of 0"):
        Predictor(tmp_path, batch=0)


@pytest.fixture
def photo():
    return np.ascontiguousarray(skimage.data.astronaut()[:400])


def test_a_photo_is_searched_and_its_face_is_answered(predictor, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one face: nothing to warn of
        found = predictor.predict(photo)
        by_name = predictor.predict(tmp_path / "photo.png")
    assert found.box == pytest.approx((180, 58, 272, 178), abs=10)
    assert found.quality.value > 0.5
    assert by_name == found
    assert found.label == predictor.predict([photo])[0].label
    whole = prepare_face(photo, SIZE)  # what it was taken for before
    assert not np.array_equal(predictor._prepare(photo, SIZE, 0)[0], whole)
    assert predictor.predict(whole).box is None


def test_a_face_that_fills_its_picture_is_taken_as_it_is(predictor, photo):
    face = photo[55:185, 165:290]
    np.testing.assert_array_equal(predictor._prepare(face, SIZE, 0)[0], prepare_face(face, SIZE))


def test_what_is_said_to_be_a_face_is_not_searched(predictor, photo, monkeypatch):
    monkeypatch.setattr(predictor_module, "_finder", None)  # calling it would fail
    assert predictor.predict(photo[None])[0].box is None
    monkeypatch.setattr(predictor, "_find_faces", False)
    assert predictor.predict(photo).box is None


def test_what_is_made_of_other_photos_is_said(predictor, photo, monkeypatch):
    two = np.hstack((photo, photo))
    with pytest.warns(PhotoWarning, match=r"Image 0, 1024 x 400 pixels, shows 2 faces"):
        assert predictor.predict(two).box is not None
    empty = np.full((200, 300), 90, np.uint8)
    with pytest.warns(PhotoWarning, match="taken for one face as a whole, for no face was found"):
        assert predictor.predict([photo, empty])[1].box is None
    monkeypatch.setattr(predictor_module, "_finder", lambda: None)
    with pytest.warns(PhotoWarning, match="no face detector is installed"):
        predictor.predict(photo)
