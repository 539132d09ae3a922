"""Scoring a run on its own set and on others: files, duplicates, temperatures, refusals."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast import evaluate as evaluate_command
from neurogaze_fast.artifacts import sha256_bytes
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError, ConfigError, DataError, OutputExistsError
from neurogaze_fast.evaluation import evaluate_set, run_record
from neurogaze_fast.evaluation.config import EvaluateConfig
from neurogaze_fast.evaluation.training_images import TrainingImages, save_training_images
from neurogaze_fast.faces.faceset import FaceSet, FaceSplit
from tests.faces.encoded_sets import folder_split
from tests.helpers import write_set

FILES = {
    "metrics.json", "report.html", "confusion.png", "reliability.png", "circumplex.png",
    "scores.tex", "predictions.csv",
}  # fmt: skip


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures take most of the time, and one test looks at them."""
    monkeypatch.setattr(evaluate_set, "draw_split", lambda *given: None)


def evaluated(run, out, **options):
    return evaluate_command.evaluate(EvaluateConfig(run, out=out, **options))


def split_of(name, emotions, *, seed=0, affect=None):
    """A split in memory with one-hot votes, as readers of single labels make them."""
    votes = np.zeros((len(emotions), 10), np.uint8)
    votes[np.arange(len(emotions)), emotions] = 10
    images = np.random.default_rng(seed).integers(0, 256, (len(emotions), 48, 48), np.uint8)
    rows = np.arange(1, len(emotions) + 1)
    names = np.array([f"{name}{row}.png" for row in rows])
    return FaceSplit(name, images, votes, names, rows, affect)


def test_everything_is_written_and_agrees(finished, tmp_path, capsys):
    out = tmp_path / "out"
    metrics = evaluated(finished, out)
    assert {path.name for path in out.iterdir()} == FILES
    assert json.loads((out / "metrics.json").read_text()) == metrics
    trained = json.loads((finished / "metrics.json").read_text())
    assert metrics["valid"] == trained["valid"]
    assert metrics["data"]["same_as_training"] is True
    assert metrics["data"]["kind"] == "ferplus"
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "name", "label", "predicted", *EMOTIONS, "valence", "arousal"]
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == pytest.approx(metrics["valid"]["8way"]["accuracy"])
    shares = np.array([[float(row[e]) for e in EMOTIONS] for row in rows])
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert [EMOTIONS[i] for i in shares.argmax(1)] == [row["predicted"] for row in rows]
    assert f"Written to {out}" in capsys.readouterr().out
    again = evaluated(finished, out, json=True)  # its own earlier work is replaced
    assert json.loads(capsys.readouterr().out) == again == metrics


def test_mirror_images_can_be_scored_with_any_run(finished, no_pictures, tmp_path):
    own = evaluated(finished, tmp_path / "own")
    each = {flip: evaluated(finished, tmp_path / str(flip), flip=flip) for flip in (True, False)}
    assert {flip: metrics["flip"] for flip, metrics in each.items()} == {True: True, False: False}
    assert own["valid"] == each[own["flip"]]["valid"]
    trained = json.loads((finished / "metrics.json").read_text())
    assert trained["once"]["valid"] == each[False]["valid"]
    nll = [metrics["valid"]["calibration"]["before"]["nll"] for metrics in each.values()]
    assert nll[0] != nll[1]


def test_training_leaves_what_evaluate_needs(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["temperature"] > 0
    assert metrics["training_images"]["of"] == "pixels"
    assert metrics["training_images"]["n"] == 80
    valid = metrics["valid"]
    assert valid["duplicates"] == {"known": True, "n": 0}
    assert len(valid["calibration"]["temperature"]) == 2
    assert valid["calibration"]["source"].startswith("each of two halves of valid")
    assert valid["vote_ceiling"]["accuracy"] > 0.5
    assert {"intervals", "recall_intervals"} <= valid["8way"].keys()


def test_another_set_with_real_files(finished, no_pictures, drawn, tmp_path):
    """FERPlus files of which three valid rows are images the run was trained with."""
    images, votes, usage = drawn
    images = 255 - images
    images[[81, 85, 90]] = drawn[0][[3, 5, 7]]
    data = write_set(tmp_path / "data", images, votes, usage)
    metrics = evaluated(finished, tmp_path / "out", data=data)
    assert metrics["data"]["same_as_training"] is False
    scores = metrics["valid"]
    assert scores["duplicates"] == {"known": True, "n": 3}
    assert scores["without_duplicates"]["n"] == scores["n"] - 3
    trained = json.loads((finished / "metrics.json").read_text())
    assert scores["calibration"]["temperature"] == trained["temperature"]
    assert scores["calibration"]["source"] == "fitted on valid of the set trained on"
    assert (
        "% data sha256 " + metrics["data"]["sha256"]
        in (tmp_path / "out" / "scores.tex").read_text()
    )


def test_a_set_without_official_split_and_with_missing_classes(
    finished, no_pictures, tmp_path, monkeypatch, capsys
):
    affect = np.array([[0.6, 0.1], [np.nan, np.nan], [-0.4, 0.5], [0.2, 0.7]], np.float32)
    parts = {
        "train": split_of("train", [1, 4, 4, 2], affect=affect),
        "test": split_of("test", [2, 6, 1], seed=1),
    }
    faces = FaceSet(
        parts, "/somewhere", "made up", False, official_split=False,
        mapping={"Happy": "happiness", "6": "anger"},
    )  # fmt: skip
    monkeypatch.setattr(run_record, "load_faces", lambda kind, data, side, **others: faces)
    metrics = evaluated(finished, tmp_path / "out", faces="folder", data=tmp_path)
    scores = metrics["all"]
    assert scores["n"] == 7
    assert scores["present"] == ["happiness", "surprise", "anger", "fear"]
    assert scores["n_by_emotion"] == {"happiness": 2, "surprise": 2, "anger": 2, "fear": 1}
    assert "vote_ceiling" not in scores, "one label an image is no vote of raters"
    assert scores["valence_arousal"]["n"] == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "Happy = happiness, 6 = anger" in out
    assert "no image of neutral, sadness, disgust, contempt" in out
    assert "used for nothing but this scoring" in out
    metrics = evaluated(finished, tmp_path / "test", faces="folder", data=tmp_path, split="test")
    assert metrics["test"]["valence_arousal"] is None


def test_training_images_are_found_among_files_of_any_kind_and_damaged_ones_are_left_out(
    finished, no_pictures, drawn, tmp_path, capsys
):
    trained = drawn[0]
    for name, image, options in (
        ("a.png", trained[3], {}), ("b.jpg", trained[5], {"format": "WEBP", "lossless": True}),
        ("c.bmp", trained[7], {}), ("d.png", trained[9].astype(np.uint16) * 257, {}),
        ("e.png", 255 - trained[3], {}), ("f.png", 255 - trained[5], {}),
    ):  # fmt: skip
        folder = tmp_path / "data" / "valid" / ("happiness" if name < "d" else "anger")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name, **options)
    (folder / "z.jpg").write_text("<html>Access denied</html>")
    options = {"data": tmp_path / "data", "faces": "folder", "split": "valid"}
    metrics = evaluated(finished, tmp_path / "out", **options)
    assert metrics["valid"]["n"] == 6
    assert metrics["valid"]["duplicates"] == {"known": True, "n": 4}
    assert metrics["data"]["left_out"] == {"valid": {"damaged image": 1}}
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 rows of valid were left out: damaged image" in printed
    assert "anger/z.jpg: no picture that can be read: it is an HTML page" in printed
    for number in range(2):
        (folder / f"y{number}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of the 9 valid images cannot be used"):
        evaluated(finished, tmp_path / "many", **options)


def test_files_hashed_by_their_bytes_in_an_older_run_are_compared_with_files_alone(tmp_path):
    files = folder_split(tmp_path / "set", 4)
    save_training_images(tmp_path, files)
    np.save(tmp_path / "training_images.npy", files.content_hashes[1:])  # as they once did
    data = (tmp_path / "training_images.npy").read_bytes()
    older = {"of": "bytes", "n": 3, "sha256": sha256_bytes(data)}
    kept = TrainingImages.load(tmp_path, older)
    found, counted = kept.among(files, np.array([0, 1, 3]))
    assert found.tolist() == [False, True, True]
    assert counted == {"known": True, "n": 2}
    found, counted = kept.among(split_of("valid", [1, 2]), np.array([0, 1]))
    assert not found.any()
    assert counted["known"] is False
    assert "of the training images the bytes were hashed, of this set the pixels" in counted["why"]


def test_a_run_of_an_older_version_is_scored_and_says_what_it_lacks(
    copied, no_pictures, drawn, tmp_path
):
    metrics = json.loads((copied / "metrics.json").read_text())
    for key in ("temperature", "training_images"):
        del metrics[key]
    (copied / "metrics.json").write_text(json.dumps(metrics))
    (copied / "training_images.npy").unlink()
    own = evaluated(copied, tmp_path / "own", split="train")["train"]
    assert own["duplicates"] == {"known": True, "n": own["n"]}, "all of them were trained on"
    assert own["calibration"]["source"] == "fitted on valid"
    images, votes, usage = drawn
    data = write_set(tmp_path / "data", images[80:], votes[80:], usage[80:])
    other = evaluated(copied, tmp_path / "other", data=data)["valid"]
    assert other["duplicates"]["known"] is False
    assert "did not record" in other["duplicates"]["why"]
    assert other["calibration"]["after"] is None
    assert other["calibration"]["source"].startswith("unavailable")


def test_metrics_of_another_model_are_not_used(copied):
    metrics = json.loads((copied / "metrics.json").read_text())
    (copied / "metrics.json").write_text(json.dumps(metrics | {"model_sha256": "0" * 64}))
    assert run_record.read_run(copied).metrics == {}
    (copied / "metrics.json").write_text("[1]")
    with pytest.raises(ArtifactError, match="no JSON object"):
        run_record.read_run(copied)


def test_training_images_that_were_altered_or_lost_are_refused(tmp_path):
    part = split_of("train", [1, 2])
    recorded = save_training_images(tmp_path, part)
    assert recorded["of"] == "pixels"
    kept = TrainingImages.load(tmp_path, recorded)
    assert kept == TrainingImages.of_split(part)
    other = split_of("valid", [1, 2, 3], seed=9)
    other.images[1] = part.images[0]
    found, counted = kept.among(other, np.array([0, 1]))
    assert found.tolist() == [False, True]
    assert counted == {"known": True, "n": 1}
    path = tmp_path / "training_images.npy"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="its hash differs"):
        TrainingImages.load(tmp_path, recorded)
    path.unlink()
    with pytest.raises(ArtifactError, match="which images the model was trained with"):
        TrainingImages.load(tmp_path, recorded)


def test_folders_of_others_are_left_alone(finished, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    other = tmp_path / "other"
    other.mkdir()
    written = {"written_by": "evaluate", "model_sha256": "0" * 64}
    (other / "metrics.json").write_text(json.dumps(written))
    for out in (tmp_path / "mine", tmp_path / "file", other, finished):
        with pytest.raises(OutputExistsError, match="exists and was left alone"):
            evaluated(finished, out)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert json.loads((other / "metrics.json").read_text()) == written


def test_verify_takes_no_split_and_no_out(tmp_path):
    for option in ({"split": "valid"}, {"out": tmp_path}):
        with pytest.raises(ConfigError, match="leave out --split, --out, --groups and --features"):
            EvaluateConfig(tmp_path, verify=True, **option)
