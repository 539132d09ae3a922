"""Tables of images: headers and delimiters people use, labels by name, contradictions refused."""

import json

import numpy as np
import pytest

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.file_finder import FileFinder
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.listed import drawn_split
from neurogaze_fast.faces.load import load_faces, recognised
from neurogaze_fast.faces.manifest import HEADERS, read_face_manifest
from tests.faces.encoded_sets import encode, memory_split, pixels, write_folder


def emotions(split):
    return [EMOTIONS[label] for label in hard_labels(split.votes)]


def put(root, *names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(pixels(number, 24)))


def table(root, *lines, name="faces.csv", encoding="utf-8"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return root / name


@pytest.fixture
def three(tmp_path):
    put(tmp_path, "a.png", "b.png", "c.png")
    return tmp_path


@pytest.mark.parametrize("path", HEADERS["path"])
@pytest.mark.parametrize("label", HEADERS["name"] + HEADERS["id"])
def test_every_header_alias_in_any_case(three, path, label):
    csv = table(three, f"{path.upper()},{label.title()},split",
                "a.png,Happy,train", "b.png,angry,Val", "c.png,SADNESS,PrivateTest")  # fmt: skip
    faces = read_face_manifest(csv)
    assert [emotions(faces[name]) for name in ("train", "valid", "test")] == [
        ["happiness"], ["anger"], ["sadness"],
    ]  # fmt: skip
    assert faces.mapping == {"Happy": "happiness", "SADNESS": "sadness", "angry": "anger"}
    assert faces.official_split
    assert faces.left_out == {"train": {}, "valid": {}, "test": {}}


@pytest.mark.parametrize(
    ("delimiter", "encoding"), [(",", "utf-8-sig"), (";", "utf-8"), (";", "utf-8-sig"),
                                ("\t", "utf-8")]
)  # fmt: skip
def test_delimiters_and_a_byte_order_mark(three, delimiter, encoding):
    lines = ["path,label_name,usage,note", '"a.png",fear,Training,"x, y; z"', "", "b.png,joy,test,"]
    if delimiter != ",":
        lines = [line.replace(",", delimiter).replace("; y", ", y") for line in lines]
    faces = read_face_manifest(table(three, *lines, encoding=encoding))
    assert emotions(faces["train"]) == ["fear"]
    assert emotions(faces["test"]) == ["happiness"]
    assert faces["test"].rows.tolist() == [3]


def test_a_folder_with_one_csv_will_do(three):
    table(three, "image_path,label_name,split", "a.png,fear,train")
    assert recognised(three) == "manifest"
    assert len(load_faces(None, three)["train"]) == 1
    table(three, "x", name="other.csv")
    with pytest.raises(DataError, match=r"holds faces\.csv, other\.csv\. Point --data at the csv"):
        read_face_manifest(three)
    assert recognised(three) != "manifest"
    assert recognised(three / "faces.csv") == "manifest"
    with pytest.raises(DataError, match="does not exist"):
        read_face_manifest(three / "nowhere.csv")
    with pytest.raises(ConfigError, match="--faces manifest needs --data"):
        load_faces("manifest", None)


@pytest.mark.parametrize("content", [
    {"0": "anger", "1": "Happy", "7": "Uncertain"}, {"anger": 0, "happiness": 1, "none": 7},
])  # fmt: skip
def test_numbers_need_a_class_map(three, content):
    csv = table(three, "img,label,split", "a.png,1,train", "b.png,0.0,train", "c.png,7,train")
    with pytest.raises(DataError) as error:
        read_face_manifest(csv)
    assert "such as 1 in row 1" in str(error.value)
    assert 'class_map.json that says what they are: {"0": "neutral"' in str(error.value)
    assert "label_name" in str(error.value)
    (three / "class_map.json").write_text(json.dumps(content))
    faces = read_face_manifest(csv)
    assert emotions(faces["train"]) == ["happiness", "anger"]
    assert faces.mapping == {"0.0": "anger", "1": "happiness"}
    assert faces.left_out == {"train": {"labelled 7": 1}}


@pytest.mark.parametrize(("content", "message"), [
    ("[1]", "is no class map"), ("{", "is no class map"), ('{"0": "grin"}', "calls 0 'grin'"),
    ('{"fear": 0, "happy": 0}', "calls 0 both 'fear' and 'happy'"),
    ('{"x": "fear"}', "is no class map"), ('{"0": "fear"}', r"'1' \(row 2\)"),
    ('{"fear": null}', "is no class map"),
])  # fmt: skip
def test_a_class_map_that_explains_nothing_is_refused(three, content, message):
    csv = table(three, "img,label", "a.png,0", "b.png,1")
    (three / "class_map.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_face_manifest(csv)


def test_names_win_over_numbers_and_must_agree_with_them(three):
    lines = ["img,label_id,label_name,split", "a.png,3,anger,train", "b.png,3,Angry,train",
             "c.png,0,fear,train"]  # fmt: skip
    faces = read_face_manifest(table(three, *lines))
    assert emotions(faces["train"]) == ["anger", "anger", "fear"]
    with pytest.raises(DataError, match=r"label 3\.0 is anger in row 1 but fear in row 3"):
        read_face_manifest(table(three, *lines[:-1], "c.png,3.0,fear,train"))


def test_unknown_names_are_listed_and_no_emotion_is_left_out(three):
    put(three, "d.png", "e.png", "f.png")
    csv = table(three, "img,label,split", "a.png,fear,train", "b.png,None,train",
                "c.png,Non-Face,train", "d.png,uncertain,train", "e.png,NF,train",
                "f.png,,train")  # fmt: skip
    faces = read_face_manifest(csv)
    assert emotions(faces["train"]) == ["fear"]
    assert faces.left_out["train"] == {
        "labelled None": 1, "labelled Non-Face": 1, "labelled uncertain": 1, "labelled NF": 1,
        "no label": 1,
    }  # fmt: skip
    csv = table(three, "img,label", "a.png,fear", "b.png,grin", "c.png,smirk", "d.png,grin")
    with pytest.raises(DataError, match=r"2 label\(s\).*'grin' \(row 2\), 'smirk' \(row 3\)"):
        read_face_manifest(csv)
    csv = table(three, "img,label,split", "a.png,none,train")
    with pytest.raises(DataError, match="no row with an image and one of the emotions"):
        read_face_manifest(csv)


def test_missing_files_few_are_left_out_many_are_refused(tmp_path):
    names = [f"images/{number}.png" for number in range(100)]
    put(tmp_path, *names[:99])
    lines = ["img,label,split", *(f"{name},fear,train" for name in names)]
    faces = read_face_manifest(table(tmp_path, *lines))
    assert faces.left_out == {"train": {"image file missing": 1}}
    assert len(faces["train"]) == 99
    (tmp_path / names[3]).unlink()
    with pytest.raises(DataError) as error:
        read_face_manifest(table(tmp_path, *lines))
    assert "2 of 100 image files that are not there: images/3.png (row 4), images/99.png" in str(
        error.value
    )


def test_paths_stay_below_the_csv_unless_absolute(tmp_path):
    root = tmp_path / "set"
    put(tmp_path, "outside.png", "set/in/a.png")
    table(root, "img,label,split", "../outside.png,fear,train")
    with pytest.raises(DataError, match=r"row 1: '\.\./outside\.png' leads out of the csv's"):
        read_face_manifest(root)
    csv = table(root, "img,label,split", "in/../in\\a.png,fear,train",
                f"{tmp_path / 'outside.png'},joy,train")  # fmt: skip
    split = read_face_manifest(csv)["train"]
    assert split.names.tolist() == ["in/a.png", str(tmp_path / "outside.png")]
    assert split.images.shape == (2, 24, 24)
    csv = table(root, "img,label,split", f"{root / 'in' / 'a.png'},fear,train")
    assert read_face_manifest(csv)["train"].names.tolist() == ["in/a.png"]
    with pytest.raises(DataError, match="1 of 1 image files that are not there"):
        read_face_manifest(table(root, "img,label,split", f"{tmp_path / 'no.png'},fear,train"))


def test_unicode_names_composed_or_not(tmp_path):
    put(tmp_path, "Gesichter/fro\u0308hlich 1.png", "表情/喜.png")
    csv = table(tmp_path, "img,label,split", "Gesichter/fr\u00f6hlich 1.png,joy,train",
                "表情/喜.png,happy,train")  # fmt: skip
    assert read_face_manifest(csv)["train"].images.shape == (2, 24, 24)


def test_repeats_that_agree_count_once(three):
    head = "img,label,split"
    csv = table(three, head, "a.png,joy,train", "./a.png,happy,train", "b.png,fear,train")
    faces = read_face_manifest(csv)
    assert faces["train"].rows.tolist() == [1, 3]
    assert faces.left_out == {"train": {"listed twice": 1}}


def contradictory(root):
    """a.png under two labels, b.png in two splits, c.png twice alike."""
    return table(root, "img,label,split", "a.png,joy,train", "b.png,fear,train", "a.png,fear,train",
                 "c.png,sad,test", "b.png,fear,test", "c.png,sad,test")  # fmt: skip


def test_contradictions_are_refused_and_all_of_them_named(three):
    with pytest.raises(DataError) as error:
        read_face_manifest(contradictory(three))
    for words in ("lists 2 image(s)", "a.png: different labels, happiness in row 1, fear in row 3",
                  "b.png: different splits, train in row 2, test in row 5",
                  "--on-conflict drop", "--on-conflict first"):  # fmt: skip
        assert words in str(error.value)
    assert "c.png" not in str(error.value)


def test_contradictions_are_dropped_or_settled_by_the_first_row(three):
    csv, reason = contradictory(three), "listed with different labels or splits"
    dropped = load_faces("manifest", csv, on_conflict="drop")
    assert {name: part.names.tolist() for name, part in dropped.splits.items()} == {
        "test": ["c.png"]
    }
    assert dropped.left_out == {"train": {reason: 3}, "test": {reason: 1, "listed twice": 1}}
    first = load_faces("manifest", csv, on_conflict="first")
    assert first["train"].names.tolist() == ["a.png", "b.png"]
    assert emotions(first["train"]) == ["happiness", "fear"]
    assert first.left_out == {"train": {reason: 1}, "test": {reason: 1, "listed twice": 1}}
    with pytest.raises(ConfigError, match=r"for --faces manifest, .*, not folder"):
        load_faces("folder", three, on_conflict="drop")


OTHER_NAMES = ("./in/a.png", "in/../in/a.png", "in\\a.png", "IN/A.PNG", "hard.png", "soft.png",
               "linked/a.png", "chain.png", "{root}/in/a.png", "{root}/linked/../in/a.png",
               "{root}/hard.png")  # fmt: skip


@pytest.fixture
def linked(tmp_path):
    put(tmp_path, "in/a.png", "in/b.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "in" / "a.png")
    (tmp_path / "soft.png").symlink_to("in/a.png")
    (tmp_path / "chain.png").symlink_to(tmp_path / "soft.png")
    (tmp_path / "linked").symlink_to("in", target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("relative", [False, True])
def test_one_file_under_two_names_is_one_image(linked, name, relative, monkeypatch):
    monkeypatch.chdir(linked.parent)
    other = name.format(root=linked)
    head, first, other_file = "img,label,split", "in/a.png,joy,train", "in/b.png,fear,train"
    csv = table(linked, head, first, other_file, f"{other},joy,train")
    csv = csv.relative_to(linked.parent) if relative else csv
    faces = read_face_manifest(csv)
    assert faces["train"].rows.tolist() == [1, 2]
    assert faces.left_out == {"train": {"listed twice": 1}}
    table(linked, head, first, other_file, f"{other},fear,train")
    with pytest.raises(DataError, match=r"in/a\.png: different labels, happiness in row 1, fear"):
        read_face_manifest(csv)
    table(linked, head, first, other_file, f"{other},joy,test")
    with pytest.raises(DataError, match="different splits, train in row 1, test in row 3"):
        read_face_manifest(csv)
    assert read_face_manifest(csv, on_conflict="first")["train"].rows.tolist() == [1, 2]
    assert read_face_manifest(csv, on_conflict="drop")["train"].rows.tolist() == [2]


def test_the_other_name_is_said(linked):
    csv = table(linked, "img,label,split", "in/a.png,joy,train", "soft.png,fear,train")
    with pytest.raises(DataError, match=r"fear in row 2 \(as soft\.png\)"):
        read_face_manifest(csv)


def test_splits_drawn_by_two_names_do_not_contradict(linked):
    csv = table(linked, "img,label", *(f"{name.format(root=linked)},joy" for name in OTHER_NAMES))
    faces = read_face_manifest(csv)
    assert sum(map(len, faces.splits.values())) == 1
    twice = sum(counts.get("listed twice", 0) for counts in faces.left_out.values())
    assert twice == len(OTHER_NAMES) - 1


def test_copies_are_images_of_their_own_even_where_a_folder_lists_no_numbers(linked, monkeypatch):
    (linked / "copy.png").write_bytes((linked / "in" / "a.png").read_bytes())
    names = ("in/a.png", "in/b.png", "copy.png", "soft.png")
    csv = table(linked, "img,label,split", *(f"{name},joy,train" for name in names))
    for inode in (FileFinder.inode, lambda finder, file: (1, 0xFFFFFFFF)):
        monkeypatch.setattr(FileFinder, "inode", inode)
        faces = read_face_manifest(csv)
        assert faces["train"].rows.tolist() == [1, 2, 3]
        assert faces.left_out == {"train": {"listed twice": 1}}


FORMS = {
    "line ends of old Macs": lambda t: t.replace("\n", "\r").encode(),
    "line ends of Windows": lambda t: t.replace("\n", "\r\n").encode("utf-8-sig"),
    "sep=": lambda t: ("sep=;\n" + t.replace(",", ";")).encode(),
    "tab in UTF-16": lambda t: t.replace(",", "\t").encode("utf-16"),
    "bar": lambda t: t.replace(",", "|").encode(),
    "trailing commas": lambda t: t.replace("\n", ",\n").encode(),
    "backslashes": lambda t: t.replace("faces/", "faces\\").encode(),
    "case of Windows": lambda t: t.replace("faces/", "Faces/").replace(".png", ".PNG").encode(),
    "paragraph mark in a note": lambda t: t.replace("note", "a\u2028b").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_tables_as_spreadsheets_write_them(tmp_path, form):
    put(tmp_path, "faces/a.png", "faces/b.png")
    csv = tmp_path / "faces.csv"
    csv.write_bytes(FORMS[form]("path,label_name,split,remark\nfaces/a.png,fear,train,note\n"
                                "faces/b.png,joy,train,\n"))  # fmt: skip
    assert recognised(csv) == "manifest"
    faces = read_face_manifest(csv)
    assert faces["train"].names.tolist() == ["faces/a.png", "faces/b.png"]
    assert emotions(faces["train"]) == ["fear", "happiness"]
    assert faces["train"].images.shape == (2, 24, 24)


def test_a_name_in_another_case_is_taken_only_where_one_file_can_be_meant(tmp_path):
    put(tmp_path, "A.png", "a.PNG", "b.png")
    csv = table(tmp_path, "img,label,split", "a.PNG,fear,train", "B.PNG,fear,train")
    assert read_face_manifest(csv)["train"].names.tolist() == ["a.PNG", "b.png"]
    with pytest.raises(DataError, match=r"1 of 1 image files that are not there: a\.png"):
        read_face_manifest(table(tmp_path, "img,label,split", "a.png,fear,train"))


def test_split_words_are_known_or_refused(three):
    for word in ("dev", ""):
        csv = table(three, "img,label,subset", "a.png,joy,train", f"b.png,fear,{word}")
        with pytest.raises(DataError, match=f"row 2: the split is '{word}', expected train"):
            read_face_manifest(csv)


def test_without_a_split_column_people_stay_together(tmp_path):
    names = [f"{person}/{number}.png" for person in "abcdefghijklmnop" for number in range(3)]
    put(tmp_path, *names)
    csv = table(tmp_path, "img,label,person",
                *(f"{name},fear,{name[0]}" for name in names))  # fmt: skip
    faces = read_face_manifest(csv)
    assert not faces.official_split
    assert faces.layout == "csv manifest, splits drawn by subject"
    people = [{file[0] for file in split.names} for split in faces.splits.values()]
    assert sum(map(len, people)) == 16
    for name, split in faces.splits.items():
        assert {drawn_split(file[0]) for file in split.names} == {name}
    csv = table(tmp_path, "img,label", *(f"{name},fear" for name in names))
    assert read_face_manifest(csv).layout == "csv manifest, splits drawn by image"


def test_shares_of_drawn_splits():
    drawn = [drawn_split(f"person {number}") for number in range(4000)]
    assert 0.67 < drawn.count("train") / 4000 < 0.73
    assert 0.13 < drawn.count("valid") / 4000 < 0.17
    assert drawn_split("S005") == drawn_split("s005")
    assert drawn_split("fro\u0308hlich") == drawn_split("fr\u00f6hlich")


def test_valence_and_arousal(three):
    csv = table(three, "img;label;split;Valence;AROUSAL", "a.png;fear;train;-0,5;1",
                "b.png;joy;train;;-2", "c.png;sad;test;;")  # fmt: skip
    faces = read_face_manifest(csv)
    np.testing.assert_array_equal(
        faces["train"].valence_arousal, np.array([[-0.5, 1], [np.nan, np.nan]], np.float32)
    )
    assert faces["test"].valence_arousal is None
    whole = faces["all"].valence_arousal
    np.testing.assert_array_equal(np.isnan(whole).all(1), [False, True, True])
    with pytest.raises(DataError, match="row 1: valence is '5'"):
        read_face_manifest(table(three, "img,label,valence", "a.png,fear,5"))
    plain = read_face_manifest(table(three, "img,label,split", "a.png,fear,train"))
    rated = read_face_manifest(
        table(three, "img,label,split,valence,arousal", "a.png,fear,train,0,0")
    )
    assert plain.sha256 != rated.sha256


@pytest.mark.parametrize(("lines", "message"), [
    (["photo,label", "a.png,fear"], "no column for the images.*image_path, path"),
    (["img,mood", "a.png,fear"], "no column for the labels.*label_name, class_name"),
    (["img,label"], "has a header but no row"),
    (["img,label", "a.png,fear,1"], "line 2: found 3 fields, expected 2"),
    (["img,label", ",fear"], "row 1: there is no image path"),
    ([""], "is empty"),
])  # fmt: skip
def test_damaged_tables_are_refused(three, lines, message):
    with pytest.raises(DataError, match=message):
        read_face_manifest(table(three, *lines))


def test_bytes_that_are_no_text_are_refused(three):
    csv = table(three, "img,label", "f\u00f6.png,fear", encoding="latin-1")
    with pytest.raises(DataError, match="is not text in UTF-8"):
        read_face_manifest(csv)


# --- the union of the splits, for any set --------------------------------------------------------


def test_all_is_every_row_and_each_can_be_told(tmp_path, small_set):
    write_folder(tmp_path, {"train": 5, "valid": 3})
    faces = load_faces("folder", tmp_path)
    whole = faces["all"]
    assert (whole.name, len(whole)) == ("all", 8)
    assert len(set(whole.rows.tolist())) == 8  # both splits count from 1
    assert whole.names[5] == "valid/" + faces["valid"].names[0]
    np.testing.assert_array_equal(
        whole.images, np.concatenate([faces["train"].images, faces["valid"].images])
    )
    np.testing.assert_array_equal(whole.read(6), faces["valid"].read(1))
    assert whole.describe(6).endswith(f"({tmp_path / 'valid' / str(faces['valid'].names[1])})")
    np.testing.assert_array_equal(whole.subset(np.array([6])).images, faces["valid"].images[1:2])
    assert faces.is_duplicate("all").tolist() == [False] * 8
    assert faces.present == EMOTIONS[:5]
    assert faces.sha256 == load_faces("folder", tmp_path).sha256

    plus = load_faces("ferplus", small_set)
    assert len(plus["all"]) == 120
    assert (plus.official_split, plus.mapping) == (True, {})
    assert "mapping" not in plus.provenance()
    assert set(plus["all"].rows) == set(plus["train"].rows) | set(plus["valid"].rows)
    np.testing.assert_array_equal(plus["all"].images[80:], plus["valid"].images)


def test_all_of_one_split_is_that_split_and_of_none_is_refused():
    only = FaceSet({"test": memory_split([encode(pixels(1))], 3)}, "memory", "folder", False)
    assert only["all"].rows.tolist() == only["test"].rows.tolist()
    with pytest.raises(DataError, match="no 'all' split"):
        FaceSet({}, "nothing", "folder", False)["all"]


def test_class_folders_without_split_folders_are_drawn_by_image(tmp_path):
    put(tmp_path, *(f"Happy/{number}.png" for number in range(40)), "sad/x.png", "unknown/y.png")
    assert recognised(tmp_path) == "folder"
    faces = load_faces(None, tmp_path, 20)
    assert len(faces["all"]) == 41
    assert not faces.official_split
    assert faces.mapping == {"Happy": "happiness", "sad": "sadness"}
    assert faces.left_out[drawn_split("unknown/y.png")] == {"labelled unknown": 1}
    assert {split.side for split in faces.splits.values()} == {20}
