"""Folders of image files: emotions by name, splits by name, nothing by position."""

from typing import get_args

import numpy as np
import pytest

from neurogaze_fast.config import Faces
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.faces.folder import read_folder
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.load import load_faces, recognised
from neurogaze_fast.faces.naming import ALIASES, emotion_named
from neurogaze_fast.pictures import decode_grey
from tests.faces.encoded_sets import SIDE, encode, pixels, write_folder


def put(root, split, folder, name, image=None, kind="PNG"):
    path = root / split / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels(1) if image is None else image, kind))
    return path


def test_rows_are_the_sorted_files_with_the_emotion_of_their_folder(tmp_path):
    write_folder(tmp_path, {"train": 20, "valid": 9, "test": 8})
    faces = read_folder(tmp_path)
    assert {name: len(split) for name, split in faces.splits.items()} == {
        "train": 20,
        "valid": 9,
        "test": 8,
    }
    assert (faces.layout, faces.synthetic, faces.left_out["train"]) == ("folder", False, {})
    train = faces["train"]
    assert train.names.tolist() == sorted(train.names.tolist())
    np.testing.assert_array_equal(train.rows, np.arange(1, 21))
    for name, votes, label, image in zip(
        train.names, train.votes, hard_labels(train.votes), train.images, strict=True
    ):
        assert name.split("/")[0] == EMOTIONS[label]
        assert votes.sum() == votes[label] == 10
        data = (tmp_path / "train" / name).read_bytes()
        np.testing.assert_array_equal(image, decode_grey(data, SIDE))
    index, targets = train.labelled("majority")
    assert len(index) == 20
    assert (targets.max(1) == 1).all()


def test_names_in_any_case_and_their_aliases(tmp_path):
    for folder, split in {"Happy": "train", "HAPPINESS": "train", "Angry": "val"}.items():
        put(tmp_path, split, folder, "a.png")
    faces = read_folder(tmp_path)
    assert hard_labels(faces["train"].votes).tolist() == [1, 1]
    assert hard_labels(faces["valid"].votes).tolist() == [EMOTIONS.index("anger")]
    assert {emotion_named(alias) for alias in ALIASES} == set(EMOTIONS)
    assert emotion_named("0") is None


@pytest.mark.parametrize("folder", ["0", "4", "happyish", "smile"])
def test_a_folder_that_names_no_emotion_is_refused(tmp_path, folder):
    put(tmp_path, "train", "happy", "a.png")
    put(tmp_path, "train", folder, "a.png")
    with pytest.raises(DataError, match=rf"'{folder}'.*neutral, happiness.*happy"):
        read_folder(tmp_path)


def test_other_files_are_counted_and_what_systems_leave_is_not(tmp_path):
    put(tmp_path, "train", "fear", "B.JPEG", kind="JPEG")
    put(tmp_path, "train", "fear", "a.Png")
    put(tmp_path, "train", ".ipynb_checkpoints", "a.png")
    (tmp_path / "train" / "fear" / "notes.txt").write_text("x")
    (tmp_path / "train" / "labels.csv").write_text("x")
    faces = read_folder(tmp_path)
    assert faces["train"].names.tolist() == ["fear/B.JPEG", "fear/a.Png"]
    assert faces.left_out == {"train": {"no picture by its name": 2}}


def test_the_side_is_that_of_most_images_or_the_one_asked_for(tmp_path):
    for number in range(5):
        put(tmp_path, "train", "sad", f"{number}.png", np.zeros((40, 24), np.uint8) + 9)
    put(tmp_path, "train", "sad", "9.png", pixels(1, 64))
    put(tmp_path, "test", "sad", "9.png", pixels(1, 64))
    faces = read_folder(tmp_path)
    assert (faces["train"].side, faces["test"].side) == (40, 40)
    assert faces["train"].images.shape == (6, 40, 40)
    assert read_folder(tmp_path, 20)["test"].images.shape == (1, 20, 20)


def test_reading_decodes_nothing(tmp_path):
    write_folder(tmp_path, {"train": 3})
    put(tmp_path, "train", "anger", "x.png").write_bytes(b"no image")
    assert len(read_folder(tmp_path)["train"]) == 4


def test_what_is_no_folder_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds none of the folders train"):
        read_folder(tmp_path)
    (tmp_path / "train" / "happy").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds no picture"):
        read_folder(tmp_path)
    put(tmp_path, "train", "happy", "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="None of the first 1 files"):
        read_folder(tmp_path)
    put(tmp_path, "val", "happy", "a.png")
    put(tmp_path, "validation", "happy", "a.png")
    with pytest.raises(DataError, match="val and validation"):
        read_folder(tmp_path)


def test_duplicates_are_found(tmp_path):
    write_folder(tmp_path, {"train": 9})
    put(tmp_path, "valid", "fear", "other.png", pixels(77))
    put(tmp_path, "valid", "fear", "same.png", read_folder(tmp_path)["train"].images[3])
    faces = read_folder(tmp_path)
    (found,) = faces.duplicates
    assert found["name"] == "fear/same.png"
    assert found["train_name"] == faces["train"].names[3]
    assert faces.is_duplicate("valid").tolist() == [False, True]


def test_kinds_are_recognised_and_need_data(tmp_path, small_set):
    write_folder(tmp_path / "set", {"test": 1})
    assert recognised(tmp_path / "set") == "folder"
    assert recognised(small_set) == "ferplus"
    assert load_faces(None, tmp_path / "set", 20)["test"].side == 20
    for kind in set(get_args(Faces)) - {"demo"}:
        with pytest.raises(ConfigError, match=f"--faces {kind} needs --data"):
            load_faces(kind, None)
    (tmp_path / "album").mkdir()
    (tmp_path / "album/me.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds me\.jpg.*--faces affectnet.*folder"):
        load_faces(None, tmp_path / "album")


def test_pictures_of_every_kind_are_read_whatever_their_names_say(tmp_path):
    image = pixels(3)
    for number, (name, kind) in enumerate([("a.webp", "WEBP"), ("b.bmp", "BMP"), ("c.tif", "TIFF"),
                                           ("d.gif", "GIF"), ("e.jpg", "WEBP"), ("f.png", "GIF"),
                                           ("g.jpeg", "PNG")]):  # fmt: skip
        options = {"lossless": True} if kind == "WEBP" else {}
        file = tmp_path / "train" / EMOTIONS[number] / name
        file.parent.mkdir(parents=True)
        file.write_bytes(encode(image, kind, **options))
    faces = read_folder(tmp_path)
    assert faces.left_out == {"train": {}}
    np.testing.assert_array_equal(faces["train"].images, np.stack([image] * 7))
