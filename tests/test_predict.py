"""predict as a user runs it: pictures, folders, videos, damage, and what is written."""

import csv
import json
import os
import re
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from neurogaze_fast import predict as command
from neurogaze_fast.deploy.vision.annotate import annotate
from neurogaze_fast.deploy.vision.results import COLUMNS
from neurogaze_fast.deploy.vision.video import VideoReader, VideoWriter
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.faces.synthetic import draw_faces
from tests.deploy.vision.fakes import BrightnessEngine, FixedDetector


def run(*words, engine=None, detector=None):
    config = command.parse([str(word) for word in words])
    return command.predict(config, engine=engine or BrightnessEngine(), detector=detector)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def demo(tmp_path):
    """Ten drawn faces as PNG files."""
    images, _ = draw_faces("valid", 10)
    (tmp_path / "demo").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"demo/{number}.png")
    return tmp_path / "demo", images


def test_crops_without_detection(demo, tmp_path, capsys):
    folder, images = demo
    engine = BrightnessEngine(48)
    summary = run(folder, "--no-detect", "--out", tmp_path / "out", engine=engine)
    assert engine.batches == [10]  # together, not one by one
    assert (summary.pictures, summary.faces, summary.without_face) == (10, 10, 0)
    rows = table(tmp_path / "out/results.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [row["label"] for row in rows] == [EMOTIONS[int(i.mean()) // 32] for i in images]
    assert (rows[0]["left"], rows[0]["right"], rows[0]["score"]) == ("0.0", "48.0", "")
    assert {(row["frame"], row["face"]) for row in rows} == {("0", "0")}
    for row in rows:
        assert sum(float(row[name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-5)
        assert float(row[row["label"]]) == pytest.approx(0.7)
        assert abs(float(row["valence"])) <= 1
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert found["about"]["engine"] == "fake engine"
    assert found["about"]["detector"] is None
    assert [face["source"] for face in found["faces"]] == [row["source"] for row in rows]
    assert found["faces"][0]["score"] is None
    assert found["summary"]["pictures"] == 10
    copies = sorted((tmp_path / "out/demo").iterdir())
    assert len(copies) == 10
    assert min(Image.open(copies[0]).size) >= 240  # large enough for its text
    printed = capsys.readouterr().out
    assert "10 pictures and 0 video frames" in printed
    assert "WARNING" not in printed


def test_the_astronaut_is_found_cut_out_and_drawn(tmp_path):
    photo = skimage.data.astronaut()[24:280, 128:384]
    Image.fromarray(photo).save(tmp_path / "astronaut.png")
    run(tmp_path / "astronaut.png", "--out", tmp_path / "out")
    (row,) = table(tmp_path / "out/results.csv")
    box = np.array([float(row[name]) for name in ("left", "top", "right", "bottom")])
    np.testing.assert_allclose(box, [53, 34, 142, 154], atol=8)
    assert float(row["score"]) > 0.8
    drawn = np.asarray(Image.open(tmp_path / "out/astronaut.png"))
    changed = (drawn != photo).any(axis=2)
    assert changed[94, int(box[0]) - 3 : int(box[0]) + 4].any()  # the box's left edge
    assert not changed[60:140, 70:120].any()  # and her face can still be seen


def test_damage_is_named_and_the_rest_goes_on(demo, tmp_path, capsys):
    folder, _ = demo
    (folder / "3.png").write_bytes(b"")
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:200])
    (folder / "film.mp4").write_bytes(b"no film")
    (folder / "notes.txt").write_text("hello")
    out = tmp_path / "out"
    summary = run(folder, tmp_path / "missing.jpg", "--no-detect", "--out", out)
    assert summary.pictures == 8
    printed = capsys.readouterr().out
    for name, reason in [
        ("3.png", "the file is empty"), ("5.png", "truncated"), ("film.mp4", "no video"),
        ("notes.txt", "by its name"), ("missing.jpg", "no such file"),
    ]:  # fmt: skip
        assert f"{name}: " in printed
        assert reason in printed
    skipped = json.loads((out / "results.json").read_text())["summary"]["skipped"]
    assert len(skipped) == 5


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="Of 2 files none could be read"):
        run(tmp_path / "x.png", tmp_path / "y.png", "--no-detect", "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="nothing to look at: name pictures"):
        run("--no-detect")
    with pytest.raises(ConfigError, match=r"--camera 0 and .*x\.png were both given"):
        run(tmp_path / "x.png", "--camera", "0")


def test_small_and_many_faces_are_counted(tmp_path):
    Image.new("RGB", (200, 100), (100, 100, 100)).save(tmp_path / "x.jpg")
    detector = FixedDetector(
        [0, 0, 60, 60, 0.9], [70, 0, 130, 60, 0.8], [140, 0, 190, 60, 0.7], [0, 70, 10, 80, 0.6]
    )
    out = tmp_path / "out"
    summary = run(tmp_path / "x.jpg", "--out", out, "--max-faces", "2", detector=detector)
    assert summary.faces == 2
    assert [row["left"] for row in table(out / "results.csv")] == ["0.0", "70.0"]
    left_out = json.loads((out / "results.json").read_text())["summary"]["left_out"]
    assert left_out == {"small": 1, "many": 1}


def test_an_input_is_never_overwritten(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    with pytest.raises(ConfigError, match=r"would replace .*Give another --out"):
        run(tmp_path / "x.png", "--no-detect", "--out", tmp_path)
    assert (tmp_path / "x.png").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("x.png --csv x.png", "one of the files to read"),
        ("x.png --json x.png", "one of the files to read"),
        ("x.png.part --csv x.png", "x.png.part is one of the files to read"),
        ("x.png --model model.onnx --csv model.onnx", "one of the files to read"),
        ("x.png --csv r.txt --json r.txt", "written by this run already"),
        ("x.png --csv r.part --json r", "r.part is written by this run already"),
        ("x.png --csv out/x.png", "written by this run already"),
        ("x.png --json out", "a folder"),
    ],
)
def test_results_replace_nothing_that_is_read_or_written(tmp_path, monkeypatch, words, found):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"model")
    Image.new("RGB", (64, 64)).save("x.png")
    Image.new("RGB", (64, 64)).save("x.png.part", "PNG")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(ConfigError, match=f"cannot be written to .*{re.escape(found)}"):
        run(*words.split(), "--no-detect", "--out", "out")
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_names_that_are_no_utf8_are_shown_and_written(tmp_path, capsys, monkeypatch):
    if sys.platform != "linux":
        pytest.skip("file names are Unicode here")
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"bad\xff.png")).write_bytes(b"no picture")
    Image.new("RGB", (64, 64)).save(folder / os.fsdecode(b"good\xff.png"))
    with VideoWriter(folder / os.fsdecode(b"film\xff.mp4"), 10) as video:
        video.write(np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr("neurogaze_fast.console.QUIET_S", 0)
    summary = run(folder, "--no-detect", "--out", tmp_path / "out")
    assert (summary.pictures, summary.videos) == (1, 1)
    printed = capsys.readouterr().out
    assert r"bad\udcff.png: no picture" in printed
    assert r"frames of film\udcff.mp4: 1 of 1" in printed
    sources = [row["source"] for row in table(tmp_path / "out/results.csv")]
    assert [source.rpartition("/")[2] for source in sources] == [
        r"film\udcff.mp4", r"good\udcff.png",
    ]  # fmt: skip
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert found["summary"]["skipped"][0]["source"] == str(folder / os.fsdecode(b"bad\xff.png"))


def test_a_mistyped_name_keeps_earlier_results(demo, tmp_path, capsys):
    out = tmp_path / "out"
    run(demo[0] / "0.png", "--no-detect", "--out", out)
    assert "1 picture and 0 video frames" in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"results.csv", "results.json"} < set(before)
    (tmp_path / "empty").mkdir()
    for wrong, said in [(demo[0] / "O.png", "Of 1 file none"), (tmp_path / "empty", "Of 0 files")]:
        with pytest.raises(DataError, match=said):
            run(wrong, "--no-detect", "--out", out)
        assert "Written" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    run(demo[0] / "O.png", demo[0] / "1.png", "--no-detect", "--out", out)  # one of two is right
    assert len(table(out / "results.csv")) == 1


def test_a_copy_that_cannot_be_written_costs_no_results(tmp_path, monkeypatch, capsys):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    with VideoWriter(tmp_path / "d.mp4", 10) as video:
        for _ in range(5):
            video.write(np.zeros((64, 64, 3), np.uint8))
    out = tmp_path / "out"
    for taken in ("b.png", "d.mp4"):
        (out / taken).mkdir(parents=True)  # a folder of the copy's name
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.mp4")]
    summary = run(*files, "--no-detect", "--out", out)
    assert (summary.pictures, summary.videos, summary.frames) == (3, 1, 5)
    assert len(table(out / "results.csv")) == 8
    assert (out / "c.png").is_file()
    printed = capsys.readouterr().out
    for name in ("b.png", "d.mp4"):
        assert f"{name}: its annotated copy cannot be written (Is a directory)" in printed
    assert not list(out.glob(".part*"))


def test_names_as_long_as_names_can_be(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    names = ["a.jpg", "b" * 251 + ".jpg", "m" * 250 + ".webp", "顔" * 83 + ".bmp", "z.jpg"]
    for name in names:
        Image.new("RGB", (64, 64)).save(source / name)
    with VideoWriter(source / ("v" * 251 + ".mp4"), 10) as video:
        video.write(np.zeros((64, 64, 3), np.uint8))
    summary = run(source, "--no-detect", "--out", tmp_path / "out")
    assert (summary.pictures, summary.videos, summary.skipped) == (5, 1, [])
    assert len(list((tmp_path / "out/in").iterdir())) == 6


def test_a_failure_before_the_first_row_keeps_earlier_results(demo, tmp_path):
    class Broken(BrightnessEngine):
        def _infer(self, faces):
            raise DataError("broken")

    out = tmp_path / "out"
    run(demo[0], "--no-detect", "--out", out)
    before = (out / "results.csv").read_bytes(), (out / "results.json").read_bytes()
    with pytest.raises(DataError, match="broken"):
        run(demo[0], "--no-detect", "--out", out, engine=Broken())
    assert ((out / "results.csv").read_bytes(), (out / "results.json").read_bytes()) == before
    assert not list(out.glob("*.part"))


def test_a_video_keeps_its_frames_and_every_nth_is_looked_at(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 10) as video:
        for number in range(12):
            video.write(np.full((120, 160, 3), 20 * number, np.uint8))
    detector = FixedDetector([40, 40, 90, 100, 0.9])
    summary = run(tmp_path / "x.mp4", "--out", tmp_path / "out", "--every", "3", detector=detector)
    assert (summary.videos, summary.frames, detector.seen) == (1, 4, 5)  # and the last frame
    rows = table(tmp_path / "out/results.csv")
    assert [row["frame"] for row in rows] == ["0", "3", "6", "9"]
    assert [float(row["time_s"]) for row in rows] == [0, 0.3, 0.6, 0.9]
    assert [row["label"] for row in rows] == [EMOTIONS[60 * i // 32] for i in range(4)]
    reader = VideoReader(tmp_path / "out/x.mp4")
    assert (reader.expected, reader.width, reader.fps) == (12, 320, 10)  # small, so enlarged


def test_drawn_faces_make_a_loud_warning(demo, tmp_path, capsys):
    engine = BrightnessEngine(synthetic=True)
    run(demo[0] / "0.png", "--no-detect", "--out", tmp_path / "out", engine=engine)
    printed = " ".join(capsys.readouterr().out.split())
    assert "WARNING This model was trained on DRAWN demo faces." in printed
    assert json.loads((tmp_path / "out/results.json").read_text())["about"]["synthetic"] is True


def test_a_run_gives_what_its_model_computes(demo, tmp_path, monkeypatch):
    import torch

    from neurogaze_fast.student.inference import predict_logits, save_model
    from neurogaze_fast.student.resnet import ResNet

    _, images = demo
    torch.manual_seed(0)
    model = ResNet("resnet18", stem="imagenet").eval()
    metadata = {"size": 32, "synthetic": True}
    save_model(tmp_path / "runs/newest/model.safetensors", model, model.state_dict(), metadata)
    monkeypatch.chdir(tmp_path)
    words = "demo --no-detect --engine torch --threads 1 --model newest"
    config = command.parse(words.split())
    command.predict(config)
    rows = table(tmp_path / "predictions/results.csv")
    found = np.array([[float(row[name]) for name in EMOTIONS] for row in rows])
    logits = predict_logits(model, images, size=32, device=torch.device("cpu"))
    expected = torch.from_numpy(logits).softmax(1).numpy()
    # Pillow's resize rounds to whole levels, training's does not.
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (
        "torch"
        in json.loads((tmp_path / "predictions/results.json").read_text())["about"]["engine"]
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (48, 48), (400, 300)])
@pytest.mark.parametrize("whole", [True, False])
def test_every_size_can_be_annotated(size, whole):
    from neurogaze_fast.deploy.face import Face

    boxes = [(0, 0, *size[::-1]), (-40.0, -40.0, 900.0, 900.0), (5.0, 5.0, 5.2, 5.1)]
    faces = [Face.from_outputs(np.eye(8)[1], np.array([0.67, 0.08]), (*box, 0.9)) for box in boxes]
    image = np.zeros((*size, 3), np.uint8)
    drawn = annotate(image, faces, whole=whole, note="12 ms")
    assert drawn.dtype == np.uint8
    assert drawn.any()
    assert not image.any()  # a copy
    assert annotate(image, [], whole=whole).shape[2] == 3
