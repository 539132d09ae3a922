"""A video through the whole pipeline: rows, persons, timeline, bounded memory, and going on."""

import csv
import json
import threading

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast import predict as command
from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision import files, film
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.film import FilmOptions, watch_film
from neurogaze_fast.deploy.vision.persons import BINS, PERSONS, Persons
from neurogaze_fast.deploy.vision.resume import NAME
from neurogaze_fast.deploy.vision.smoothing import Smoother
from neurogaze_fast.deploy.vision.timeline import clock, draw_timeline
from neurogaze_fast.deploy.vision.video import VideoReader, VideoWriter
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, Interrupted
from tests.deploy.vision.crossings import Crossings
from tests.deploy.vision.fakes import BrightnessEngine, FixedDetector


def face_of(emotion, identity=1, box=(0.0, 0.0, 20.0, 20.0)):
    probabilities = np.full(8, 0.02)
    probabilities[emotion] = 0.86
    face = Face.from_outputs(probabilities, np.zeros(2), np.array([*box, 0.9]))
    return Face(**{**vars(face), "identity": identity})


def looked(images, detector, **options):
    analyser = Analyser(BrightnessEngine(), detector)
    work = watch_film(images, 25.0, analyser, FilmOptions(**options), pixels=180 * 320)
    return [shown for group in work for shown in group]


def test_two_persons_through_crossings_keep_their_numbers_in_the_answers():
    clip = Crossings(1, frames=100)
    shown = looked(clip.images(), clip)
    assert [s.number for s in shown] == list(range(100))
    numbers = {}
    for s in shown:
        for face in s.faces:
            who = clip.who(s.number, face.box)
            if who is not None:
                numbers.setdefault(who, set()).add(face.identity)
            assert face.smoothed is not None
    assert sorted(map(len, numbers.values())) == [1, 1]
    assert numbers[0] != numbers[1]
    assert shown[50].drawn.shape[2] == 3


def test_every_nth_frame_is_answered_and_the_others_keep_its_answer():
    images = [(n, np.full((60, 100, 3), 8 * n, np.uint8)) for n in range(24)]
    shown = looked(images, FixedDetector([10, 10, 40, 40, 0.9]), every=4)
    assert [s.number for s in shown if s.looked] == [0, 4, 8, 12, 16, 20]
    assert [s.faces[0].label for s in shown] == [EMOTIONS[8 * (n - n % 4) // 32] for n in range(24)]


def test_hours_take_the_memory_of_minutes():
    persons = Persons()
    for second in range(4 * 3600):
        persons.add(second, [face_of(1 if second % 2 else 3), face_of(4, 2 + second // 30)])
    assert persons.bin_s * BINS > 4 * 3600
    assert len(persons.all) <= 2 * PERSONS
    told = persons.summary()
    assert len(told["persons"]) == PERSONS
    assert told["persons_left_out"] == 1 + 4 * 3600 // 30 - PERSONS
    first = told["persons"][0]
    assert (first["id"], first["faces"], first["last_s"]) == (1, 4 * 3600, 4 * 3600 - 1)
    assert first["labels"] == {"happiness": 7200, "sadness": 7200}
    assert first["probabilities"]["happiness"] == pytest.approx((0.86 + 0.02) / 2)
    over_time = persons.all[1].over_time()
    used = int(4 * 3600 / persons.bin_s)
    np.testing.assert_allclose(over_time[:used, 3], 0.44, atol=0.02)
    again = Persons.from_json(json.loads(json.dumps(persons.to_json())))
    assert again.summary() == told


def test_a_timeline_shows_who_felt_what_when(tmp_path):
    persons = Persons()
    for number in range(1000):
        at = number / 25
        faces = [face_of(1 if at < 20 else 4)]
        if 10 <= at < 15:
            faces.append(face_of(3, 2))
        persons.add(at, faces)
    picture = draw_timeline(persons, "clip.mp4")
    Image.fromarray(picture).save(tmp_path / "t.png")
    happy, angry, sad = ((255, 202, 58), (235, 64, 64), (86, 150, 255))
    first = picture[46 : 46 + 150, 150:1150]
    second = picture[46 + 184 : 46 + 334, 150:1150]

    def share(part, colour):
        return (part == colour).all(axis=2).mean()

    assert share(first[:, :490], happy) > 0.8 > 0.1 > share(first[:, 510:], happy)
    assert share(first[:, 510:], angry) > 0.8
    assert share(second[:, 255:370], sad) > 0.8
    assert share(second[:, :240], (38, 41, 47)) > 0.95
    assert draw_timeline(Persons(), "nobody.mp4").shape[2] == 3
    assert [clock(s) for s in (7.9, 75, 3723)] == ["0:07", "1:15", "1:02:03"]


def test_answers_over_time_lag_as_stated():
    smoother = Smoother(0.5)
    frames = [face_of(1)] * 50 + [face_of(4)] * 200
    values = []
    for number, face in enumerate(frames):
        smoother.add(number / 25, 7, face)
        values.append(smoother._kept[7][1][4])
    values = np.array(values)
    assert values[49] == pytest.approx(0.02)
    # How late the change is seen, on average: the area between it and what is shown.
    late = (0.86 - values[50:]).sum() / 0.84 / 25
    assert late == pytest.approx(0.5, abs=0.05)
    half = np.flatnonzero(values > 0.44)[0] - 49
    assert half / 25 == pytest.approx(0.7 * 0.5, abs=0.05)
    still = Smoother(0.0)
    still.add(0, 1, frames[0])
    assert still.add(1, 1, frames[-1]).label == "anger"


# --- the command: rows, files, and going on ---


def write_clip(path, frames, fps=10):
    with VideoWriter(path, fps) as video:
        for number in range(frames):
            video.write(np.full((120, 160, 3), (2 * number) % 250, np.uint8))
    return path


def run(*words, detector=None, engine=None):
    config = command.parse([str(word) for word in words])
    found = detector or FixedDetector([40, 40, 90, 100, 0.9])
    return command.predict(config, engine=engine or BrightnessEngine(), detector=found)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Sometimes(FixedDetector):
    """Sees nobody in the dark."""

    def detect(self, image):
        return self.boxes[: int(image.mean() > 20)].copy()


def test_rows_of_frames_without_a_face_say_so(tmp_path):
    write_clip(tmp_path / "x.mp4", 30)
    Image.new("RGB", (64, 64)).save(tmp_path / "dark.png")
    out = tmp_path / "out"
    words = [tmp_path / "x.mp4", tmp_path / "dark.png", "--out", out, "--detect-every", "1"]
    summary = run(*words, detector=Sometimes([40, 40, 90, 100, 0.9]))
    rows = table(out / "results.csv")
    assert len(rows) == 31
    empty = [row for row in rows if not row["face"]]
    assert len(empty) == summary.without_face == 12
    assert empty[0] == {**dict.fromkeys(rows[0], ""), "source": str(tmp_path / "x.mp4"),
                        "frame": "0", "time_s": "0.0"}  # fmt: skip
    assert {row["id"] for row in rows if row["face"]} == {"1"}
    found = json.loads((out / "results.json").read_text())
    assert len(found["faces"]) == 19
    (told,) = found["summary"]["videos_persons"].values()
    assert told["persons"][0]["faces"] == 19
    assert found["about"]["smoothing_lag_s"] == 0.3
    assert (out / "x-timeline.png").is_file()


def test_parquet_holds_the_table(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    write_clip(tmp_path / "x.mp4", 30)
    words = [tmp_path / "x.mp4", "--out", tmp_path / "out", "--parquet", tmp_path / "p/x.parquet"]
    run(*words, detector=Sometimes([40, 40, 90, 100, 0.9]))
    found = pq.read_table(tmp_path / "p/x.parquet").to_pylist()
    rows = table(tmp_path / "out/results.csv")
    assert len(found) == len(rows) == 30
    for ours, theirs in zip(found, rows, strict=True):
        assert {k: "" if v is None else str(v) for k, v in ours.items() if k in TEXTS} == {
            k: theirs[k] for k in TEXTS
        }
        for name in ("time_s", "left", "happiness", "smoothed_valence"):
            assert ours[name] == (float(theirs[name]) if theirs[name] else None)
    with pytest.raises(ConfigError, match=r"--parquet .* is made from the table"):
        run("--camera", 0, "--parquet", tmp_path / "y.parquet")


TEXTS = ("source", "label", "frame", "face", "id", "uncertain", "smoothed_label")


@pytest.fixture
def minutes(monkeypatch):
    """Pieces of two seconds instead of a minute."""
    monkeypatch.setattr(files, "PIECE_S", 2.0)


def stopping(after):
    """An engine during which a signal comes."""

    class Stopped(BrightnessEngine):
        def _infer(self, faces):
            if sum(self.batches) > after:
                self.stop.set()
            return super()._infer(faces)

    return Stopped()


def interrupted(monkeypatch, words, after):
    from contextlib import contextmanager

    engine = stopping(after)

    @contextmanager
    def stop():
        engine.stop = threading.Event()
        yield engine.stop

    with monkeypatch.context() as patch:
        patch.setattr("neurogaze_fast.signals.stop_on_signal", stop)
        with pytest.raises(Interrupted, match="--resume goes on"):
            run(*words, engine=engine)


def test_a_long_video_goes_on_and_ends_as_if_it_had_not_been_stopped(
    tmp_path, monkeypatch, minutes
):
    monkeypatch.setattr(film, "AHEAD_PIXELS", 5 * 120 * 160)
    clip = write_clip(tmp_path / "x.mp4", 150)
    run(clip, "--out", tmp_path / "whole")
    words = [clip, "--out", tmp_path / "out"]
    interrupted(monkeypatch, words, 80)
    journal = json.loads((tmp_path / "out" / NAME).read_text())["state"]
    done = journal["video"]["frame"]
    assert 20 <= done < 100
    assert done % 20 == 0
    assert len(table(tmp_path / "out/results.csv")) >= done
    assert len(list(VideoReader(tmp_path / "out/x.mp4"))) >= done  # it plays as far as it came
    detector = FixedDetector([40, 40, 90, 100, 0.9])
    run(*words, "--resume", detector=detector)
    assert detector.seen <= 2 + (150 - done) // 2 + (150 - done) // 20 * 2
    for name in ("results.csv", "x-timeline.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    ours, whole = (
        json.loads((tmp_path / d / "results.json").read_text()) for d in ("out", "whole")
    )
    for found in (ours, whole):
        del found["summary"]["seconds"]
    assert ours == whole
    ours, whole = (list(VideoReader(tmp_path / d / "x.mp4")) for d in ("out", "whole"))
    assert len(ours) == len(whole) == 150
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(ours, whole, strict=True)) < 2
    left = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert left == ["results.csv", "results.json", "x-timeline.png", "x.mp4"]


def test_pictures_go_on_after_the_last_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK_IMAGES", 4)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(20):
        Image.new("L", (32, 32), 12 * number).save(folder / f"{number:02d}.png")
    words = [folder, "--no-detect", "--out", tmp_path / "out"]
    run(*words[:2], "--out", tmp_path / "whole")
    interrupted(monkeypatch, words, 7)
    engine = BrightnessEngine()
    run(*words, "--resume", engine=engine)
    assert 0 < sum(engine.batches) < 20
    ours, whole = (tmp_path / d / "results.csv" for d in ("out", "whole"))
    assert ours.read_text() == whole.read_text()
    assert len(list((tmp_path / "out/in").iterdir())) == 20


def test_only_the_same_work_can_be_gone_on_with(tmp_path, monkeypatch, minutes, capsys):
    clip = write_clip(tmp_path / "x.mp4", 150)
    words = [clip, "--out", tmp_path / "out"]
    run(*words, "--resume")
    assert "Nothing to go on with" in capsys.readouterr().out
    interrupted(monkeypatch, words, 80)
    with pytest.raises(ConfigError, match="for other files, another model or other options"):
        run(*words, "--resume", "--every", "2")
    (tmp_path / "out/results.csv").unlink()
    with pytest.raises(ConfigError, match="the file is not there or is shorter"):
        run(*words, "--resume")
    (tmp_path / "out" / NAME).write_text("{")
    with pytest.raises(ConfigError, match="cannot be read, so nothing"):
        run(*words, "--resume")
    run(*words)  # and without it all begins anew
    assert len(table(tmp_path / "out/results.csv")) == 150
