"""AffectNet in the forms it is passed on in: its own numbering, boxes, valence and arousal."""

import pickle

import numpy as np
import pytest

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.faces.affectnet import read_affectnet
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.load import load_faces, recognised
from neurogaze_fast.faces.write_shards import write_shards
from tests.faces.affectnet_files import HEADER, official, put, row
from tests.faces.encoded_sets import pixels

IN_ORDER = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
"""AffectNet's numbers; FERPlus has surprise before sadness and fear last but one."""


def emotions(split):
    return [EMOTIONS[label] for label in hard_labels(split.votes)]


def npy(root, split, number, expression, valence=None, arousal=None):
    put(root / split / "images" / f"{number}.jpg", pixels(number, 48))
    folder = root / split / "annotations"
    folder.mkdir(exist_ok=True)
    for end, value in (("exp", expression), ("val", valence), ("aro", arousal)):
        if value is not None:
            np.save(folder / f"{number}_{end}.npy", np.array(value))


def test_csv_numbers_are_affectnets_own(tmp_path):
    rows = [row(f"1/{code}.jpg", code) for code in range(8)]
    faces = read_affectnet(official(tmp_path, rows))
    assert emotions(faces["train"]) == IN_ORDER
    assert faces.mapping == {str(code): name for code, name in enumerate(IN_ORDER)}
    assert faces.mapping["6"] == "anger"
    assert (faces.layout, faces.official_split) == ("affectnet csv", True)
    assert faces["train"].images.shape == (8, 48, 48)
    assert faces.present == EMOTIONS
    metadata = faces.provenance()
    assert metadata["mapping"]["3"] == "surprise"
    assert metadata["present"] == list(EMOTIONS)


def test_rows_without_an_emotion_and_without_a_file_are_left_out_and_counted(tmp_path):
    rows = [row("1/a.jpg", 6), row("1/b.jpg", 8, -2, -2), row("1/c.jpg", 9, -2, -2),
            row("1/d.jpg", 10, -2, -2), row("1/e.jpg", 10, -2, -2), row("2/missing.jpg", 1),
            row("2/f.jpg", 0)]  # fmt: skip
    faces = read_affectnet(official(tmp_path, rows))
    assert faces.left_out == {
        "train": {
            "labelled none (8)": 1,
            "labelled uncertain (9)": 1,
            "labelled non-face (10)": 2,
            "image file missing": 1,
        }
    }
    assert emotions(faces["train"]) == ["anger", "neutral"]
    assert faces["train"].rows.tolist() == [1, 7]
    assert faces.present == ("neutral", "anger")


def test_a_face_listed_twice_counts_once(tmp_path):
    rows = [row("1/a.jpg", 6), row("1/b.jpg", 1), row("1\\a.jpg", 6), row("1/x/../A.JPG", 6),
            row("1/c.jpg", 8), row("1/c.jpg", 8), row("1/missing.jpg", 1), row("1/soft.jpg", 6),
            row("1/missing.jpg", 1), row("1/a.jpg", 6, box=",,,"),
            row("1/a.jpg", 6, box="2,2,46,46")]  # fmt: skip
    root = official(tmp_path, rows)
    images = tmp_path / "Manually_Annotated_Images" / "1"
    (images / "A.JPG").unlink()
    (images / "soft.jpg").unlink()
    (images / "soft.jpg").symlink_to("a.jpg")
    faces = read_affectnet(root)
    assert faces["train"].rows.tolist() == [1, 2]
    assert faces.left_out == {
        "train": {"listed twice": 7, "labelled none (8)": 1, "image file missing": 1}
    }


def test_two_faces_in_one_image_are_two(tmp_path):
    rows = [row("1/a.jpg", 6, box="0,0,20,20"), row("1/a.jpg", 1, box="25,20,20,20"),
            row("1/a.jpg", 6, box="1,0,20,20")]  # fmt: skip
    faces = read_affectnet(official(tmp_path, rows))
    assert emotions(faces["train"]) == ["anger", "happiness"]
    assert faces.left_out == {"train": {"listed twice": 1}}


def test_a_face_under_two_labels_or_in_both_files_is_as_in_a_manifest(tmp_path):
    rows = [row("1/a.jpg", 6), row("1/b.jpg", 1), row("1/a.jpg", 4), row("1/d.jpg", 8),
            row("1/d.jpg", 2)]  # fmt: skip
    official(tmp_path, rows)
    official(tmp_path, [row("1/b.jpg", 1), row("1/e.jpg", 0)], "validation.csv")
    with pytest.raises(DataError) as error:
        read_affectnet(tmp_path)
    for words in ("lists 3 image(s)", "1/a.jpg: different labels, anger in row 1 of training.csv, "
                  "fear in row 3 of training.csv", "none (8) in row 4 of training.csv, sadness in",
                  "different splits, train in row 2 of training.csv, valid in row 1 of validation",
                  "--on-conflict drop"):  # fmt: skip
        assert words in str(error.value)
    first = load_faces("affectnet", tmp_path, on_conflict="first")
    assert first["train"].rows.tolist() == [1, 2]
    assert first["valid"].rows.tolist() == [2]
    reason = "listed with different labels or splits"
    assert first.left_out == {
        "train": {reason: 2, "labelled none (8)": 1}, "valid": {reason: 1},
    }  # fmt: skip
    dropped = load_faces("affectnet", tmp_path, on_conflict="drop")
    assert list(dropped.splits) == ["valid"]
    assert dropped.left_out == {"train": {reason: 5}, "valid": {reason: 1}}


def test_valence_and_arousal_are_kept_and_minus_two_is_not_annotated(tmp_path):
    rows = [row("1/a.jpg", 6, -0.5, 0.75), row("1/b.jpg", 1, -2, -2)]
    split = read_affectnet(official(tmp_path, rows))["train"]
    assert split.valence_arousal.dtype == np.float32
    np.testing.assert_array_equal(split.valence_arousal, [[-0.5, 0.75], [np.nan, np.nan]])
    picked = split.subset(np.array([1, 0]))
    np.testing.assert_array_equal(picked.valence_arousal[1], [-0.5, 0.75])
    only_bare = official(tmp_path / "bare", [row("1/a.jpg", 6, -2, -2)])
    assert read_affectnet(only_bare)["train"].valence_arousal is None
    with pytest.raises(DataError, match=r"row 1: arousal is '7'.*\[-1, 1\]"):
        read_affectnet(official(tmp_path / "scale", [row("1/a.jpg", 6, 0, 7)]))


def test_file_lists_in_their_folder_a_bom_other_capitals_and_no_header(tmp_path):
    lists = tmp_path / "Manually_Annotated_file_lists"
    official(lists, [row("1\\a.jpg", 6)], header="\ufeff" + HEADER.upper(),
             images="../Manually_Annotated/Manually_Annotated_Images")  # fmt: skip
    official(lists, [row("9/b.jpg", 4), row("9/c.jpg", 7)], "validation.csv", header="",
             images="../Manually_Annotated/Manually_Annotated_Images")  # fmt: skip
    (lists / "automatically_annotated.csv").write_text(HEADER + "\nx.jpg,,,,,,1,0,0\n")
    faces = read_affectnet(tmp_path)
    assert emotions(faces["train"]) == ["anger"]
    assert emotions(faces["valid"]) == ["fear", "contempt"]
    assert faces["valid"].rows.tolist() == [1, 2]
    assert str(tmp_path) not in faces["valid"].names[0]  # or the set's hash would tell machines
    assert faces["valid"].images.shape == (2, 48, 48)
    assert recognised(tmp_path) == "affectnet"


def test_an_image_larger_than_the_box_is_cut_to_it(tmp_path):
    image = np.zeros((80, 100), np.uint8)
    image[20:68, 30:78] = 200
    rows = [row("1/a.png", 6, box="30,20,48,48"), row("1/b.png", 6, box="-5,-5,300,300"),
            row("1/c.png", 6, box=",,,"), row("1/d.png", 6, box="90,70,48,48")]  # fmt: skip
    official(tmp_path, rows)
    for name in "abcd":
        put(tmp_path / "Manually_Annotated_Images" / "1" / f"{name}.png", image, "PNG")
    split = read_affectnet(tmp_path, 48)["train"]
    assert (split.images[0] == 200).all()
    assert split.images[1].min() == split.images[2].min() == 0  # the box covers it; none
    assert split.images[3].max() == 0  # a box over the edge is cut at the edge
    assert split.pixel_hashes[1] == split.pixel_hashes[2] != split.pixel_hashes[0]


def test_shards_keep_what_was_cut_out(tmp_path):
    rows = [row("1/a.jpg", 6, box="4,8,32,32"), row("1/b.jpg", 1, box="0,0,32,32")]
    faces = read_affectnet(official(tmp_path / "set", rows))
    assert faces["train"].side == 32
    write_shards(faces, tmp_path / "shards")
    back = load_faces(None, tmp_path / "shards")["train"]
    np.testing.assert_array_equal(back.images, faces["train"].images)
    np.testing.assert_array_equal(back.votes, faces["train"].votes)
    copy = pickle.loads(pickle.dumps(faces["train"]))  # as worker processes get it
    np.testing.assert_array_equal(copy.decode(0), back.images[0])


def test_damaged_csv_files_are_refused_by_row(tmp_path):
    good = row("1/a.jpg", 6)
    for number, (bad, message) in enumerate([
        (row("1/b.jpg", 11), "row 2: the expression is 11; AffectNet's expressions are 0 to 10"),
        (row("1/b.jpg", "happy"), "row 2: the expression is 'happy', expected a whole number"),
        ("1/b.jpg,0,0", "row 2: found 3 fields, expected 9"),
        (row("1/b.jpg", 6, box="0,0,wide,48"), "row 2: face_width is 'wide'"),
        (row("1/b.jpg", 6, box="0,0,1e30,48"), "row 2: the face's box is 0, 0, 10+.*no place"),
    ]):  # fmt: skip
        root = official(tmp_path / str(number), [good, bad])
        with pytest.raises(DataError, match=message):
            read_affectnet(root)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "training.csv").write_text(f"{HEADER}\n{good}\n")
    with pytest.raises(DataError, match=r"names images such as 1/a\.jpg, but none of the first"):
        read_affectnet(tmp_path / "empty")


@pytest.mark.parametrize("kind", [str, int, float, bytes])
def test_npy_tree_holds_strings_or_numbers(tmp_path, kind):
    def value(number):
        return str(number).encode() if kind is bytes else kind(number)

    npy(tmp_path, "train_set", 10, value(6), value(-1), value(1))
    npy(tmp_path, "train_set", 9, value(3), value(-2), value(-2))
    npy(tmp_path, "val_set", 1, value(2))
    npy(tmp_path, "val_set", 2, value(8))
    put(tmp_path / "val_set" / "images" / "3.jpg")
    (tmp_path / "val_set" / "annotations" / "4_exp.npy").write_bytes(b"")
    (tmp_path / "val_set" / "images" / "._1.jpg").write_bytes(b"x")
    put(tmp_path / "val_set" / "images" / "1.png", kind="PNG")
    faces = read_affectnet(tmp_path)
    assert faces["train"].names.tolist() == ["train_set/images/9.jpg", "train_set/images/10.jpg"]
    assert emotions(faces["train"]) == ["surprise", "anger"]
    np.testing.assert_array_equal(faces["train"].valence_arousal, [[np.nan, np.nan], [-1, 1]])
    assert emotions(faces["valid"]) == ["sadness"]
    assert faces["valid"].valence_arousal is None
    assert faces.left_out == {
        "train": {},
        "valid": {
            "no picture by its name": 1,
            "second image of one annotation": 1,
            "image without annotation": 1,
            "annotation without image": 1,
            "labelled none (8)": 1,
        },
    }
    assert faces.layout == "affectnet npy"
    assert recognised(tmp_path) == "affectnet"


def test_npy_annotations_that_are_none_are_refused_and_nothing_is_unpickled(tmp_path):
    npy(tmp_path, "train_set", 1, 6)
    path = tmp_path / "train_set" / "annotations" / "1_exp.npy"
    for content in (np.array([1, 2]), np.array({"a": 1}, dtype=object)):
        np.save(path, content, allow_pickle=True)
        with pytest.raises(DataError, match=r"1_exp\.npy is not an annotation"):
            read_affectnet(tmp_path)
    np.save(path, np.array("6.5"))
    with pytest.raises(DataError, match=r"1_exp\.npy is '6\.5', expected a whole number"):
        read_affectnet(tmp_path)


def test_class_folders_by_number_or_name(tmp_path):
    for code in range(8):
        put(tmp_path / "n" / "train" / str(code) / "a.jpg", pixels(code, 48))
    put(tmp_path / "n" / "train" / "9" / "a.jpg")
    put(tmp_path / "n" / "val" / "Sad" / "a.jpg")
    put(tmp_path / "n" / "val" / "06" / "a.jpg")
    faces = read_affectnet(tmp_path)  # one folder too high
    assert emotions(faces["train"]) == IN_ORDER
    assert faces.mapping == {
        **{str(code): name for code, name in enumerate(IN_ORDER)}, "06": "anger", "Sad": "sadness",
    }  # fmt: skip
    assert faces.left_out["train"] == {"labelled uncertain (9)": 1}
    assert faces.layout == "affectnet class folders"
    assert faces.official_split
    put(tmp_path / "n" / "train" / "11" / "a.jpg")
    with pytest.raises(DataError, match="'11'"):
        read_affectnet(tmp_path)


def test_class_folders_without_splits_are_drawn(tmp_path):
    for number in range(60):
        put(tmp_path / str(number % 8) / f"{number}.png", pixels(number, 16), "PNG")
    faces = read_affectnet(tmp_path)
    assert not faces.official_split
    assert faces.layout == "affectnet class folders, splits drawn by image"
    assert len(faces["all"]) == 60
    assert set(faces.splits) == {"train", "valid", "test"}
    assert len(faces["train"]) > 30
    places = {name: split.name for split in faces.splits.values() for name in split.names}
    put(tmp_path / "0" / "another.png", pixels(99, 16), "PNG")
    (tmp_path / "0" / "0.png").unlink()
    later = read_affectnet(tmp_path)
    moved = {name: split.name for split in later.splits.values() for name in split.names}
    assert {name: moved[name] for name in places if name != "0/0.png"} == {
        name: split for name, split in places.items() if name != "0/0.png"
    }


def test_what_is_no_affectnet_is_refused_and_data_is_needed(tmp_path):
    with pytest.raises(ConfigError, match=r"--faces affectnet needs --data DIR, .*training\.csv"):
        load_faces("affectnet", None)
    with pytest.raises(DataError, match=r"does not exist.*training\.csv or validation\.csv"):
        load_faces("affectnet", tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds notes\.txt"):
        load_faces("affectnet", tmp_path)
    for name in ("a", "b"):
        official(tmp_path / name, [row("1/a.jpg", 6)])
    with pytest.raises(DataError, match="holds AffectNet more than once"):
        load_faces("affectnet", tmp_path)
