"""CK+ in its forms: its own numbers, frames by number, people in one split only."""

import numpy as np
import pytest

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.faces.ckplus import read_ckplus, subject_of
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.load import load_faces, recognised
from tests.faces.encoded_sets import encode, pixels

IN_ORDER = ["neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"]


def emotions(split):
    return [EMOTIONS[label] for label in hard_labels(split.votes)]


def sequence(root, person, number, frames, code=None, images="cohn-kanade-images",
             labels="Emotion", side=48):  # fmt: skip
    """A sequence with these frame numbers; the empty label folder is there in any case."""
    folder = root / images / person / number
    folder.mkdir(parents=True)
    for frame in frames:
        image = np.full((side, side), frame, np.uint8)
        (folder / f"{person}_{number}_{frame:08d}.png").write_bytes(encode(image))
    label = root / labels / person / number
    label.mkdir(parents=True, exist_ok=True)
    if code is not None:
        text = f"   {code:.7e}\n"
        (label / f"{person}_{number}_{frames[-1]:08d}_emotion.txt").write_text(text)
    return folder


def points(root, person, number, frame, corners):
    folder = root / "Landmarks" / person / number
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"   {x:.7e}   {y:.7e}\n" for x, y in corners)
    (folder / f"{person}_{number}_{frame:08d}_landmarks.txt").write_text(lines)


def ck48(root, people, frames=(7, 8, 9)):
    for person in range(people):
        for number, name in enumerate(("anger", "contempt", "happy", "surprise")):
            for frame in frames:
                path = root / name / f"S{person:03d}_{number:03d}_{frame:08d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(pixels(person * 100 + number * 10 + frame, 48)))
    return root


def test_official_numbers_are_its_own(tmp_path):
    for code in range(8):
        sequence(tmp_path, f"S{code:03d}", "001", [1, 2, 3, 4], code)
    whole = read_ckplus(tmp_path)["all"]
    first = {name.split("/")[1]: emotion
             for name, emotion in zip(whole.names, emotions(whole), strict=True)}  # fmt: skip
    assert [first[f"S{code:03d}"] for code in range(8)] == IN_ORDER
    faces = read_ckplus(tmp_path)
    assert faces.mapping == {str(code): name for code, name in enumerate(IN_ORDER)}
    assert faces.mapping["1"] == "anger"
    assert not faces.official_split
    assert "frames whole, without landmarks" in faces.layout


def test_the_last_three_frames_by_number_and_the_first_as_neutral(tmp_path):
    folder = sequence(tmp_path, "S005", "001", [2, 9, 11, 100, 30], 3)
    # Not padded: by name, 100 comes before 30.
    for file in list(folder.iterdir()):
        frame = int(file.stem.split("_")[-1])
        file.rename(folder / f"S005_001_{frame}.png")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "cohn-kanade-images" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cohn-kanade-images" / "__MACOSX").mkdir()
    whole = read_ckplus(tmp_path)["all"]
    assert whole.images[:, 0, 0].tolist() == [11, 30, 100]
    assert emotions(whole) == ["disgust"] * 3
    faces = read_ckplus(tmp_path, neutral_frames=True)
    assert faces["all"].images[:, 0, 0].tolist() == [2, 11, 30, 100]
    assert emotions(faces["all"]) == ["neutral", "disgust", "disgust", "disgust"]
    assert faces.mapping == {"3": "disgust", "first frame": "neutral"}


def test_a_short_sequence_has_no_neutral_frame_beside_its_peak(tmp_path):
    sequence(tmp_path, "S005", "001", [1, 2, 3], 1)
    assert len(read_ckplus(tmp_path, neutral_frames=True)["all"]) == 3


def test_unlabelled_sequences_are_left_out_and_counted(tmp_path):
    sequence(tmp_path, "S005", "001", [1, 2, 3], 1)
    sequence(tmp_path, "S005", "002", [1, 2, 3])
    sequence(tmp_path, "S010", "003", [1, 2, 3])
    (tmp_path / "Emotion" / "S011" / "001").mkdir(parents=True)
    (tmp_path / "Emotion" / "S011" / "001" / "S011_001_00000003_emotion.txt").write_text("1")
    faces = read_ckplus(tmp_path)
    assert len(faces["all"]) == 3
    reasons = [reason for counts in faces.left_out.values() for reason in counts.items()]
    assert sum(n for reason, n in reasons if reason == "sequence without a label") == 2
    assert sum(n for reason, n in reasons if reason == "label without images") == 1


def test_other_folder_names_and_nesting_are_found(tmp_path):
    images = "extended-cohn-kanade-images/cohn-kanade-images"
    sequence(tmp_path, "s005", "001", [1, 2, 3], 1, images, "Emotion_labels/Emotion")
    points(tmp_path, "s005", "001", 9, [(0, 0), (1, 1)])  # of another frame
    assert len(read_ckplus(tmp_path)["all"]) == 3
    assert recognised(tmp_path) == "ckplus"


def test_frames_are_cut_to_the_face_where_landmarks_are(tmp_path):
    folder = sequence(tmp_path, "S005", "001", [1, 2, 3], 1)
    image = np.zeros((200, 300), np.uint8)
    image[57:122, 117:182] = 255  # side 65 = 1.3 x 50, centre 150, 95 - 0.1 x 50 (and half a pixel)
    for frame in (1, 2, 3):
        (folder / f"S005_001_{frame:08d}.png").write_bytes(encode(image))
        points(tmp_path, "S005", "001", frame, [(125, 75), (175, 115), (150, 90)])
    faces = read_ckplus(tmp_path, 64)
    assert "cut to the face by landmarks" in faces.layout
    assert faces["all"].images.mean() > 240
    (tmp_path / "Landmarks/S005/001/S005_001_00000002_landmarks.txt").write_text("1 2 3")
    with pytest.raises(DataError, match=r"00000002_landmarks\.txt holds no list of points"):
        read_ckplus(tmp_path, 64)


def test_damaged_labels_are_refused(tmp_path):
    sequence(tmp_path, "S005", "001", [1, 2, 3], 1)
    file = tmp_path / "Emotion/S005/001/S005_001_00000003_emotion.txt"
    for text in ("", "happy", "8", "2.5", "nan"):
        file.write_text(text)
        with pytest.raises(DataError, match=r"_emotion\.txt holds '.*', expected a number"):
            read_ckplus(tmp_path)
    file.write_text("1")
    file.with_name("S005_001_00000002_emotion.txt").write_text("3")
    with pytest.raises(DataError, match=r"2 labels that differ: \[1, 3\]"):
        read_ckplus(tmp_path)


def test_images_without_the_labels_folder_and_the_other_way_round(tmp_path):
    sequence(tmp_path / "a", "S005", "001", [1, 2, 3])
    with pytest.raises(DataError, match=r"but no labels \(Emotion\)"):
        read_ckplus(tmp_path / "a")
    sequence(tmp_path / "b", "S005", "001", [1, 2, 3], 1)
    for file in (tmp_path / "b" / "cohn-kanade-images").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="but no images"):
        read_ckplus(tmp_path / "b")
    sequence(tmp_path / "c", "S005", "001", [1, 2, 3], 1)
    sequence(tmp_path / "c", "S005", "001", [1, 2, 3], 1, images="copy", labels="Emotion")
    with pytest.raises(DataError, match="holds CK\\+ image sequences more than once"):
        read_ckplus(tmp_path / "c")


def test_nobody_is_in_two_splits(tmp_path):
    faces = read_ckplus(ck48(tmp_path / "CK+48", 30, (7,)))
    people = {
        name: {subject_of(file.split("/")[1]) for file in split.names}
        for name, split in faces.splits.items()
    }
    assert set(people) == {"train", "valid", "test"}
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 30
    assert len(people["train"]) > max(len(people["valid"]), len(people["test"]))
    before = {person: split for split, members in people.items() for person in members}
    later = read_ckplus(ck48(tmp_path / "CK+48", 40, (7,)))
    for name, split in later.splits.items():
        for file in split.names:
            assert before.get(file.split("/")[1][:4], name) == name


def test_ck48_is_found_by_its_files_names(tmp_path):
    data = ck48(tmp_path / "CK+48", 3)
    (data / "contempt" / ".DS_Store").write_bytes(b"x")
    for place in (data, tmp_path):
        assert recognised(place) == "ckplus"
    faces = load_faces("ckplus", tmp_path)
    assert len(faces["all"]) == 36
    assert faces.layout == "ck+48, splits drawn by person"
    assert faces.present == ("happiness", "surprise", "anger", "contempt")
    assert faces.mapping == {"anger": "anger", "contempt": "contempt", "happy": "happiness",
                             "surprise": "surprise"}  # fmt: skip
    assert sum(n for counts in faces.left_out.values() for n in counts.values()) == 1
    with pytest.raises(DataError, match="no sequences to take neutral frames from"):
        read_ckplus(data, neutral_frames=True)


def test_capitals_do_not_make_another_person():
    assert subject_of("s005_001_00000011.png") == subject_of("S005_003_00000001.png") == "S005"


def extended(path, rows):
    lines = [f"{code},{' '.join([str(level)] * 2304)},{usage}" for code, level, usage in rows]
    path.write_text("emotion,pixels,Usage\n" + "\n".join(lines) + "\n")


def test_ckextended_has_the_numbers_of_fer2013(tmp_path):
    names = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt"]
    rows = [(code, 10 + code, "Training") for code in range(8)]
    others = [(6, 0, "Training"), (0, 99, "PublicTest"), (7, 98, "PrivateTest")]
    extended(tmp_path / "ckextended.csv", rows + others)
    faces = read_ckplus(tmp_path)
    assert emotions(faces["train"]) == names
    assert faces["train"].images[:, 5, 5].tolist() == list(range(10, 18))
    assert emotions(faces["valid"]) == ["anger"]
    assert emotions(faces["test"]) == ["contempt"]
    assert faces.left_out["train"] == {"all-zero image": 1}
    assert (faces.mapping["0"], faces.mapping["6"]) == ("anger", "neutral")
    assert not faces.official_split
    assert faces["all"].rows.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert recognised(tmp_path) == "ckplus"
    for row in [(8, 1, "Training"), (0, 256, "Training"), (0, 1, "Train.")]:
        extended(tmp_path / "ckextended.csv", [rows[0], row])
        with pytest.raises(DataError, match="row 2: found emotion"):
            read_ckplus(tmp_path)
    (tmp_path / "ckextended.csv").write_text("emotion,Usage\n")
    with pytest.raises(DataError, match="expected emotion, pixels, Usage"):
        read_ckplus(tmp_path)


def test_an_image_twice_in_ckextended_counts_once_or_contradicts(tmp_path):
    alike = [(0, 10, "Training"), (3, 20, "PublicTest"), (0, 10, "Training")]
    extended(tmp_path / "ckextended.csv", alike)
    faces = read_ckplus(tmp_path)
    assert faces["all"].rows.tolist() == [1, 2]
    assert faces.left_out == {"train": {"listed twice": 1}, "valid": {}}
    extended(tmp_path / "ckextended.csv", [*alike, (2, 10, "Training"), (3, 20, "Training")])
    with pytest.raises(DataError) as error:
        read_ckplus(tmp_path)
    for words in ("lists 2 image(s)", "the image of row 1: different labels, anger in row 1, anger "
                  "in row 3, fear in row 4;", "the image of row 2: different splits"):  # fmt: skip
        assert words in str(error.value)
    first = load_faces("ckplus", tmp_path, on_conflict="first")
    assert first["all"].rows.tolist() == [1, 2]
    with pytest.raises(DataError, match="no row with an image"):
        load_faces("ckplus", tmp_path, on_conflict="drop")


def test_what_is_no_ckplus_is_refused_and_data_is_needed(tmp_path):
    with pytest.raises(ConfigError, match=r"--faces ckplus needs --data DIR, .*cohn-kanade-images"):
        load_faces("ckplus", None)
    with pytest.raises(DataError, match=r"holds nothing\. CK\+ is cohn-kanade-images"):
        load_faces("ckplus", tmp_path)


def test_neutral_frames_are_for_ckplus_alone(tmp_path):
    with pytest.raises(ConfigError, match="--neutral-frames is for --faces ckplus, not manifest"):
        load_faces("manifest", tmp_path, neutral_frames=True)
