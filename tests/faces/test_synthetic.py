"""The demo face set: the same bytes always, the real files' formats, faces worth learning from."""

import csv
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import OutputExistsError
from neurogaze_fast.faces import synthetic
from neurogaze_fast.faces.face_drawing import draw
from neurogaze_fast.faces.ferplus import read_ferplus
from neurogaze_fast.faces.synthetic import (
    COPY_EVERY,
    NO_FACE_EVERY,
    PROTOTYPES,
    SYNTHETIC_MARKER,
    UNITS,
    VOTE_COLUMNS,
    draw_faces,
    write_demo_faces,
)

SIZES = {"train": 340, "valid": 120, "test": 30}
NF = VOTE_COLUMNS.index("NF")


@pytest.fixture(scope="module")
def train():
    return draw_faces("train", 1500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "faces"
    write_demo_faces(out, **SIZES)
    return out


@pytest.fixture(scope="module")
def rows(folder):
    """The data rows of both files, as text."""
    with open(folder / "fer2013.csv", newline="") as pixels, open(folder / "fer2013new.csv") as new:
        pixel_rows, vote_rows = list(csv.reader(pixels)), list(csv.reader(new))
    return SimpleNamespace(
        pixel_header=pixel_rows[0],
        pixels=pixel_rows[1:],
        vote_header=vote_rows[0],
        votes=vote_rows[1:],
    )


def labels(votes):
    return votes.argmax(1)


def test_an_image_depends_on_seed_split_and_index_alone(train):
    for count in (1, 13, 300):  # within a chunk, across chunks, across blocks
        images, votes = draw_faces("train", count)
        np.testing.assert_array_equal(images, train[0][:count])
        np.testing.assert_array_equal(votes, train[1][:count])


def test_the_bytes_are_the_same_on_every_machine(train):
    images, votes = train
    digest = hashlib.sha256(images[:256].tobytes() + votes[:256].tobytes()).hexdigest()
    assert digest == "453817a06f7436e79dd3b0916d6f704ff7568fa1dc023de57ca22fbf1c3a9f76"


def test_splits_and_seeds_share_no_image(train):
    drawn = {image.tobytes() for image in train[0][:200] if image.any()}
    for images, _ in (draw_faces("valid", 200), draw_faces("train", 200, seed=1)):
        assert drawn.isdisjoint(image.tobytes() for image in images if image.any())


def test_nothing_is_an_empty_answer():
    images, votes = draw_faces("test", 0)
    assert images.shape == (0, 48, 48)
    assert votes.shape == (0, 10)


def test_votes_sum_to_ten_and_every_class_occurs_often_enough(train):
    images, votes = train
    assert images.dtype == votes.dtype == np.uint8
    assert (votes.sum(1) == 10).all()
    share = np.bincount(labels(votes), minlength=10)[:8] / len(votes)
    assert share.min() > 0.04
    assert share.max() < 0.3


def test_images_use_the_grey_range_and_differ_in_light(train):
    faces = train[0][(train[1][:, NF] < 10)]
    assert faces.min() == 0
    assert faces.max() == 255
    assert faces.std(axis=(1, 2)).min() > 5  # no face is a flat patch
    assert faces.mean(axis=(1, 2)).std() > 20


def appearances(count, seed=5):
    """Appearances without an expression, and their grain."""
    words = np.random.Philox(seed).random_raw((count, synthetic._WORDS))
    grain = np.random.default_rng(seed).uniform(-1, 1, (count, 48, 48)).astype(np.float32)
    draws = synthetic._Draws(words)
    synthetic.sample_expression(draws)
    return synthetic.sample_appearance(draws), grain


def test_votes_follow_the_intensity_drawn():
    words = np.random.Philox(3).random_raw((4000, synthetic._WORDS))
    draws = synthetic._Draws(words)
    units, opinion = synthetic.sample_expression(draws)
    np.testing.assert_allclose(opinion.sum(1), 1)
    votes = synthetic.sample_votes(draws, opinion, np.zeros(len(words)))
    smile = units[12][:, 0, 0]
    happy = votes[:, EMOTIONS.index("happiness")]
    weak, strong = (smile > 0.25) & (smile < 0.4), smile > 0.8
    assert happy[strong].mean() > 6
    assert happy[weak].mean() < happy[strong].mean() - 2
    assert votes[weak, 0].mean() > 2 * votes[strong, 0].mean()
    # Where the drawing is clear the raters nearly agree; a blend splits them.
    peak = np.sort(opinion, axis=1)
    clear, blended = peak[:, -1] > 0.95, (peak[:, -1] < 0.75) & (opinion[:, 0] < 0.05)
    assert votes[clear].max(1).mean() > 8
    assert votes[blended].max(1).mean() < 7.5
    assert (votes.argmax(1)[clear] == opinion.argmax(1)[clear]).mean() > 0.97


def test_hidden_faces_make_raters_unsure():
    words = np.random.Philox(4).random_raw((2000, synthetic._WORDS))
    opinion = np.eye(8)[np.arange(2000) % 8]
    unknown = [
        synthetic.sample_votes(synthetic._Draws(words), opinion, np.full(2000, hidden))[:, 8].mean()
        for hidden in (0.0, 0.5)
    ]
    assert unknown[1] > 3 * unknown[0]


def frontal(count):
    """Appearances that look straight ahead, evenly lit, with nothing in front of the face."""
    p, grain = appearances(count)
    for name in ("yaw", "roll", "pitch", "shift_x", "shift_y", "light_x", "gaze_x", "parting"):
        setattr(p, name, np.zeros_like(p.yaw))
    p.has_bar = p.moustache = p.beard = p.noise = np.zeros_like(p.yaw)
    return p, grain


def express(p, grain, name):
    """`name` at full strength on every face, float32 [B, 48, 48]."""
    shape = (len(grain), 1, 1)
    p.au = {unit: np.full(shape, PROTOTYPES[name].get(unit, 0), np.float32) for unit in UNITS}
    return draw(p, grain).astype(np.float32)


def test_expressions_are_visible_on_the_same_face():
    """What an expression changes on a frontal face tells which it is, even to a linear model."""
    from sklearn.linear_model import RidgeClassifier

    p, grain = frontal(60)
    faces = np.stack([express(p, grain, name).reshape(60, -1) for name in EMOTIONS])
    changes = faces[1:] - faces[0]
    changes /= np.linalg.norm(changes, axis=2, keepdims=True)
    truth = np.repeat(np.arange(7), 30)
    model = RidgeClassifier(alpha=1.0).fit(changes[:, :30].reshape(210, -1), truth)
    assert model.score(changes[:, 30:].reshape(210, -1), truth) > 0.9


def test_contempt_is_one_sided():
    p, grain = frontal(40)

    def asymmetry(name):
        mouth = express(p, grain, name)[:, 28:44]
        return np.abs(mouth - mouth[:, :, ::-1]).mean(axis=(1, 2))

    assert (asymmetry("contempt") > asymmetry("happiness") + 1).mean() > 0.9


def test_a_linear_model_on_pixels_fails(train):
    """Pose, light and identity hide the expression from it (0.29 with all 4,000 images)."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import f1_score

    parts = []
    for images, votes in (train, draw_faces("valid", 500)):
        keep = labels(votes) < 8
        parts.append((images[keep].reshape(keep.sum(), -1).astype(np.float32), labels(votes)[keep]))
    (x, y), (valid_x, valid_y) = parts
    mean, std = x.mean(0), x.std(0)
    model = RidgeClassifier(alpha=3e3, class_weight="balanced").fit((x - mean) / std, y)
    assert f1_score(valid_y, model.predict((valid_x - mean) / std), average="macro") < 0.4


def test_pixel_file_has_kaggles_format(folder, rows):
    assert (folder / "fer2013.csv").read_bytes().startswith(b"emotion,pixels,Usage\n")
    assert b"\r" not in (folder / "fer2013.csv").read_bytes()
    assert b'"' not in (folder / "fer2013.csv").read_bytes()
    usage = ["Training"] * 340 + ["PublicTest"] * 120 + ["PrivateTest"] * 30
    assert [row[2] for row in rows.pixels] == usage
    images = np.array([row[1].split(" ") for row in rows.pixels], dtype=int)
    assert images.shape == (490, 2304)
    drawn, _ = draw_faces("train", 340)
    np.testing.assert_array_equal(images[:340], drawn.reshape(340, -1))


def test_vote_file_has_microsofts_format(rows):
    assert rows.vote_header == ["Usage", "Image name", *VOTE_COLUMNS]
    assert [row[0] for row in rows.votes] == [row[2] for row in rows.pixels]
    votes = np.array([row[2:] for row in rows.votes], dtype=int)
    assert (votes.sum(1) == 10).all()
    codes = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    for row, name in zip(rows.pixels, np.array(VOTE_COLUMNS)[votes.argmax(1)], strict=True):
        assert int(row[0]) == (codes.index(name) if name in codes else 6)


def test_rows_without_a_face_have_no_name_and_numbers_lag(rows):
    votes = np.array([row[2:] for row in rows.votes], dtype=int)
    names = [row[1] for row in rows.votes]
    empty = [i for i, name in enumerate(names) if not name]
    assert empty == np.flatnonzero(votes[:, NF] == 10).tolist()
    assert len(empty) >= sum(size // NO_FACE_EVERY for size in SIZES.values())
    assert [name for name in names if name] == [f"fer{i:07d}.png" for i in range(490 - len(empty))]
    black = [i for i, row in enumerate(rows.pixels) if not row[1].strip("0 ")]
    assert black
    assert set(black) < set(empty)


def test_some_valid_and_test_rows_repeat_a_training_row(rows):
    training = {row[1] for row in rows.pixels[:340]}
    for start, stop in ((340, 460), (460, 490)):
        named = [i for i in range(start, stop) if rows.votes[i][1]]
        copies = [i for i in named if rows.pixels[i][1] in training]
        assert [i - start for i in copies] == list(range(7, stop - start, COPY_EVERY))


def test_the_projects_reader_reads_it_and_calls_it_synthetic(folder):
    faces = read_ferplus(folder)
    assert faces.synthetic
    images, votes = draw_faces("train", 340)
    named = votes[:, NF] < 10
    np.testing.assert_array_equal(faces["train"].images, images[named])
    np.testing.assert_array_equal(faces["train"].votes, votes[named])


def test_writing_twice_gives_the_same_bytes(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    write_demo_faces(empty, **SIZES)
    for name in ("fer2013.csv", "fer2013new.csv", SYNTHETIC_MARKER):
        assert (empty / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]
    assert "SYNTHETIC" in (empty / SYNTHETIC_MARKER).read_text()


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "fer2013.csv").write_text("somebody's own")
    with pytest.raises(OutputExistsError, match="nothing was written"):
        write_demo_faces(tmp_path, train=2, valid=0, test=0)
    assert [path.name for path in tmp_path.iterdir()] == ["fer2013.csv"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    write = synthetic._write

    def stop_before_the_marker(path, lines):
        if path.name == SYNTHETIC_MARKER:
            raise KeyboardInterrupt
        write(path, lines)

    monkeypatch.setattr(synthetic, "_write", stop_before_the_marker)
    with pytest.raises(KeyboardInterrupt):
        write_demo_faces(tmp_path / "faces", train=2, valid=1, test=1)
    assert list(tmp_path.iterdir()) == []
