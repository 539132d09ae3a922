"""Every trap of FERPlus as people have it, in both layouts."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.ferplus import FOLDERS, read_ferplus
from neurogaze_fast.faces.ferplus_votes import read_votes
from neurogaze_fast.faces.labels import VOTE_COLUMNS
from tests.helpers import write_set


def replace_line(path, row, line):
    """Replace data row `row` (1-based) of a csv with a header; None removes it."""
    lines = path.read_text().splitlines(keepends=True)
    lines[row : row + 1] = [] if line is None else [line + "\n"]
    path.write_text("".join(lines))


def write_png_layout(folder, images, votes, usage, names, *, label_csv=True):
    """The folders Microsoft's script writes, with its headerless label.csv in each."""
    split_folder = dict(zip(("Training", "PublicTest"), list(FOLDERS.values())[:2], strict=True))
    for image, row, use, name in zip(images, votes, usage, names, strict=True):
        where = folder / split_folder[use]
        where.mkdir(parents=True, exist_ok=True)
        if name:
            Image.fromarray(image).save(where / name)
        if label_csv:
            with open(where / "label.csv", "a", newline="") as file:
                csv.writer(file).writerow([name, "(0, 0, 48, 48)", *map(int, row)])
    return folder


@pytest.fixture
def names():
    # Numbers lag behind the row, as in the real file: joining by name would be wrong.
    return [f"fer{i - i // 9:07d}.png" if i % 9 else "" for i in range(120)]


@pytest.fixture
def csv_set(drawn, names, tmp_path):
    images, votes, usage = drawn
    return write_set(tmp_path / "csv", images, votes, usage, names)


# --- the csv layout ------------------------------------------------------------------------------


def test_rows_are_joined_by_position_and_never_by_name(csv_set, drawn, names):
    images, votes, _ = drawn
    faces = read_ferplus(csv_set)
    assert faces.layout == "csv"
    assert list(faces.splits) == ["train", "valid"]
    for split in faces.splits.values():
        np.testing.assert_array_equal(split.images, images[split.rows - 1])
        np.testing.assert_array_equal(split.votes, votes[split.rows - 1])
        assert list(split.names) == [names[row - 1] for row in split.rows]


def test_rows_without_a_name_are_left_out_and_counted(csv_set, names):
    faces = read_ferplus(csv_set)
    assert faces.left_out["train"] == {"no image name": names[:80].count("")}
    assert len(faces["train"]) == 80 - names[:80].count("")


def test_all_zero_image_is_no_image(drawn, tmp_path):
    images, votes, usage = drawn
    images = images.copy()
    images[[3, 90]] = 0  # the same zero image in both splits is no duplicate either
    faces = read_ferplus(write_set(tmp_path, images, votes, usage))
    assert faces.left_out["train"] == {"all-zero image": 1}
    assert 4 not in faces["train"].rows
    assert 91 not in faces["valid"].rows
    assert not [d for d in faces.duplicates if d["row"] == 91]


def test_a_name_given_twice_keeps_both_rows(drawn, tmp_path):
    images, votes, usage = drawn
    names = [f"fer{i:07d}.png" for i in range(120)]
    names[10] = names[5]
    faces = read_ferplus(write_set(tmp_path, images, votes, usage, names))
    assert len(faces["train"]) == 80
    np.testing.assert_array_equal(faces["train"].images[10], images[10])


def test_a_row_with_nine_votes_is_kept(drawn, tmp_path):
    images, votes, usage = drawn
    votes = votes.copy()
    votes[0] = [9, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    faces = read_ferplus(write_set(tmp_path, images, votes, usage))
    assert faces["train"].votes[0].sum() == 9


def test_duplicates_across_splits_are_found_by_pixels(drawn, tmp_path):
    images, votes, usage = drawn
    images = images.copy()
    images[85], images[86] = images[7], images[85 + 2]  # one from train, one within valid
    faces = read_ferplus(write_set(tmp_path, images, votes, usage))
    assert faces.duplicates == [
        {
            "split": "valid",
            "row": 86,
            "name": "fer0000085.png",
            "train_row": 8,
            "train_name": "fer0000007.png",
        }
    ]
    np.testing.assert_array_equal(np.flatnonzero(faces.is_duplicate("valid")), [5])
    assert not faces.is_duplicate("train").any()


def test_votes_file_with_bom_and_crlf_reads_the_same(csv_set):
    expected = read_votes(csv_set / "fer2013new.csv").votes
    path = csv_set / "fer2013new.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(read_votes(path).votes, expected)


def test_missing_vote_column_is_named(csv_set):
    path = csv_set / "fer2013new.csv"
    path.write_text(path.read_text().replace("contempt", "scorn", 1))
    with pytest.raises(DataError, match=r"fer2013new\.csv lacks the column\(s\) contempt; found"):
        read_ferplus(csv_set)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Training,fer0000001.png,4,0,0", "row 2: found 5 fields, expected 12"),
        ("Training,fer0000001.png,4,0,0,1,3,x,0,0,0,0", "row 2: disgust has 'x' votes"),
        ("Training,fer0000001.png,4,0,0,1,3,-2,0,0,0,0", "row 2: disgust has '-2' votes"),
        ("Training,fer0000001.png,4,0,0,1,3,300,0,0,0,0", "row 2: disgust has '300' votes"),
        (f"Training,fer0000001.png,4,0,0,1,3,{'9' * 5000},0,0,0,0", "row 2: disgust has '9999"),
        ("Training,fer0000001.png,4,0,0,1,3,nan,0,0,0,0", "row 2: disgust has 'nan' votes"),
        ("Training,fer0000001.png,4,0,0,1,3,inf,0,0,0,0", "row 2: disgust has 'inf' votes"),
        ("Training,fer0000001.png,0,0,0,0,0,0,0,0,0,0", "row 2: all ten vote counts are zero"),
        ("Testing,fer0000001.png,4,0,0,1,3,2,0,0,0,0", "row 2: Usage is 'Testing'"),
    ],
)
def test_bad_vote_rows_name_file_and_row(csv_set, line, message):
    replace_line(csv_set / "fer2013new.csv", 2, line)
    with pytest.raises(DataError, match=r"fer2013new\.csv, " + message):
        read_ferplus(csv_set)


def test_files_of_different_length_are_refused(csv_set):
    replace_line(csv_set / "fer2013new.csv", 120, None)
    with pytest.raises(DataError, match=r"120 rows but .* has 119"):
        read_ferplus(csv_set)


def test_files_in_another_order_are_refused(csv_set):
    path = csv_set / "fer2013new.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "".join(lines[81:]) + "".join(lines[1:81]))
    with pytest.raises(DataError, match=r"row 1: Usage is 'Training' but .*'PublicTest'"):
        read_ferplus(csv_set)


def test_file_without_usage_is_refused(csv_set):
    path = csv_set / "fer2013.csv"
    text = path.read_text().replace(",Usage", "", 1)
    path.write_text(text.replace(",Training", "").replace(",PublicTest", ""))
    with pytest.raises(DataError, match="no Usage column"):
        read_ferplus(csv_set)


def test_missing_votes_file_is_named(csv_set):
    (csv_set / "fer2013new.csv").unlink()
    with pytest.raises(DataError, match=r"fer2013new\.csv cannot be read"):
        read_ferplus(csv_set)


def test_votes_file_that_is_no_text_is_named(csv_set):
    (csv_set / "fer2013new.csv").write_bytes(b"Usage,\xff\xfe\n")
    with pytest.raises(DataError, match=r"fer2013new\.csv is not text"):
        read_ferplus(csv_set)


def test_folder_with_something_else_says_what_it_found(tmp_path):
    (tmp_path / "icml_face_data.csv").write_text("x")
    with pytest.raises(DataError, match=r"holds icml_face_data\.csv.*fer2013new\.csv"):
        read_ferplus(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_ferplus(tmp_path / "nowhere")


def test_missing_split_is_named(csv_set):
    with pytest.raises(DataError, match="no 'test' split; found train, valid"):
        read_ferplus(csv_set)["test"]


# --- the PNG layout ------------------------------------------------------------------------------


@pytest.mark.parametrize("label_csv", [True, False])
def test_png_folders_give_the_same_set_as_the_csv(csv_set, drawn, names, tmp_path, label_csv):
    folder = write_png_layout(tmp_path / "png", *drawn, names, label_csv=label_csv)
    if not label_csv:
        shutil.copy(csv_set / "fer2013new.csv", folder)
    png, expected = read_ferplus(folder), read_ferplus(csv_set)
    assert png.layout == "png"
    assert png.sha256 == expected.sha256
    for split in ("train", "valid"):
        np.testing.assert_array_equal(png[split].names, expected[split].names)
        assert png.left_out[split] == expected.left_out[split]


def test_png_of_a_name_given_twice_belongs_to_the_last_row(drawn, tmp_path):
    images, votes, usage = drawn
    names = [f"fer{i:07d}.png" for i in range(120)]
    names[10] = names[5]
    faces = read_ferplus(write_png_layout(tmp_path, images, votes, usage, names))
    assert faces.left_out["train"] == {"name given twice": 1}
    at = list(faces["train"].names).index(names[5])
    np.testing.assert_array_equal(faces["train"].images[at], images[10])
    np.testing.assert_array_equal(faces["train"].votes[at], votes[10])


def test_missing_and_unlabelled_png_files_are_counted(drawn, tmp_path):
    names = [f"fer{i:07d}.png" for i in range(120)]
    folder = write_png_layout(tmp_path, *drawn, names)
    train = folder / "FER2013Train"
    (train / names[3]).rename(train / "other.png")
    faces = read_ferplus(folder)
    assert faces.left_out["train"] == {"image file missing": 1, "image without votes": 1}
    assert len(faces["train"]) == 79


def test_colour_png_of_a_grey_face_reads_the_same(drawn, tmp_path):
    names = [f"fer{i:07d}.png" for i in range(120)]
    folder = write_png_layout(tmp_path, *drawn, names)
    file = folder / "FER2013Train" / names[0]
    Image.open(file).convert("RGB").save(file)
    np.testing.assert_array_equal(read_ferplus(folder)["train"].images[0], drawn[0][0])


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "FER2013Train").mkdir()
    with pytest.raises(DataError, match=r"FER2013Train holds no PNG image"):
        read_ferplus(tmp_path)


def test_folder_without_votes_is_refused(drawn, tmp_path):
    names = [f"fer{i:07d}.png" for i in range(120)]
    folder = write_png_layout(tmp_path, *drawn, names, label_csv=False)
    with pytest.raises(DataError, match=r"has no votes: neither .*label\.csv nor"):
        read_ferplus(folder)


def test_folder_whose_images_the_votes_do_not_name_is_refused(drawn, csv_set, tmp_path):
    names = [f"other{i}.png" for i in range(120)]
    folder = write_png_layout(tmp_path / "p", *drawn, names, label_csv=False)
    shutil.copy(csv_set / "fer2013new.csv", folder)
    with pytest.raises(DataError, match="none of its 80 images is named"):
        read_ferplus(folder)


def damage_png(file, damage):
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "not an image":
        file.write_bytes(b"GIF89a")
    else:
        Image.fromarray(np.zeros((64, 48), np.uint8)).save(file)


@pytest.mark.parametrize("damage", ["truncated", "not an image", "wrong size"])
def test_a_damaged_png_is_left_out_and_named_and_many_are_refused(drawn, tmp_path, damage):
    names = [f"fer{i:07d}.png" for i in range(120)]
    folder = write_png_layout(tmp_path, *drawn, names)
    damage_png(folder / "FER2013Valid" / names[100], damage)
    faces = read_ferplus(folder)
    assert faces.left_out == {"train": {}, "valid": {"damaged image": 1}}
    assert len(faces["valid"]) == 39
    assert names[100] not in faces["valid"].names
    assert any(f"FER2013Valid/{names[100]}: " in note for note in faces.notes)
    damage_png(folder / "FER2013Valid" / names[101], damage)
    with pytest.raises(DataError, match=f"2 of the 40 images cannot be used: .*{names[100]}"):
        read_ferplus(folder)


def test_every_kind_of_png_gives_the_same_pixels(drawn, tmp_path):
    images, votes, usage = drawn
    names = [f"fer{i:07d}.png" for i in range(120)]
    folder = write_png_layout(tmp_path, images, votes, usage, names)
    train = folder / "FER2013Train"
    Image.fromarray(images[0].astype(np.uint16) * 257).save(train / names[0])
    Image.fromarray(images[1]).convert("LA").save(train / names[1])
    Image.fromarray(images[2]).convert("P").save(train / names[2])
    Image.fromarray(images[3]).save(train / names[3], format="WEBP", lossless=True)
    np.testing.assert_array_equal(read_ferplus(folder)["train"].images, images[:80])


@pytest.mark.parametrize("place", ["beside", "above"])
def test_where_the_two_votes_files_disagree_the_published_one_wins_and_it_is_said(
    drawn, tmp_path, place
):
    images, votes, usage = drawn
    names = [f"fer{i:07d}.png" for i in range(120)]
    other = votes.copy()
    other[[3, 7, 100]] = np.roll(votes[[3, 7, 100]], 1, axis=1)
    folder = write_png_layout(tmp_path / "data", images, other, usage, names)
    alone = read_ferplus(folder)
    np.testing.assert_array_equal(alone["train"].votes, other[:80])
    (note,) = alone.notes
    assert note.startswith("The votes are those of label.csv in FER2013Train, FER2013Valid.")
    write_set(tmp_path / "csv", images, votes, usage, names)
    shutil.copy(tmp_path / "csv" / "fer2013new.csv", folder if place == "beside" else tmp_path)
    faces = read_ferplus(folder)
    assert faces.sha256 == read_ferplus(tmp_path / "csv").sha256
    train, valid = faces.provenance()["notes"]
    assert f"give 2 of the images different votes, such as {names[3]}, {names[7]}" in train
    assert f"give 1 of the images different votes, such as {names[100]}" in valid
    assert "FER2013Valid" in valid


def test_votes_files_that_agree_need_no_note(drawn, csv_set, names, tmp_path):
    folder = write_png_layout(tmp_path / "png", *drawn, names)
    shutil.copy(csv_set / "fer2013new.csv", folder)
    assert read_ferplus(folder).notes == []


def test_label_csv_with_a_short_row_names_it(drawn, tmp_path):
    names = [f"fer{i:07d}.png" for i in range(120)]
    folder = write_png_layout(tmp_path, *drawn, names)
    path = folder / "FER2013Train" / "label.csv"
    path.write_text(path.read_text() + 'x.png,"(0, 0, 48, 48)",1\n')
    with pytest.raises(DataError, match=r"label\.csv, row 81: found 3 fields, expected 12"):
        read_ferplus(folder)


def test_vote_columns_are_the_emotions_then_unknown_and_nf():
    assert VOTE_COLUMNS[8:] == ("unknown", "NF")
