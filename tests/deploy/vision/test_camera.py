"""The camera loop: the newest frame, the recording, its ends."""

import csv
import json
import threading
import time

import numpy as np
import pytest

from neurogaze_fast import predict as command
from neurogaze_fast.deploy.vision import camera as predict_camera
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.camera import NewestFrame, screen, watch
from neurogaze_fast.deploy.vision.files import Summary
from neurogaze_fast.deploy.vision.results import ResultFiles
from neurogaze_fast.deploy.vision.video import VideoReader
from neurogaze_fast.errors import DataError
from tests.deploy.vision.fakes import BrightnessEngine, FixedDetector


class Frames:
    """A camera that counts: frame i has blue = i. It ends after `count` frames."""

    def __init__(self, count, interval_s=0.0):
        self.count, self.interval_s, self.given, self.released = count, interval_s, 0, False

    def read(self):
        time.sleep(self.interval_s)
        if self.given == self.count:
            return False, None
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, :, 0] = self.given
        self.given += 1
        return True, frame

    def release(self):
        self.released = True


class Unplugged(Frames):
    """Its reader hangs once the frames are used up."""

    def __init__(self, count, interval_s=0.0):
        super().__init__(count, interval_s)
        self.release_reader = threading.Event()

    def read(self):
        if self.given == self.count:
            self.release_reader.wait()
        return super().read()


def test_only_the_newest_frame_is_given_and_in_rgb():
    camera = Frames(50)
    frames = NewestFrame(camera)
    frames._thread.join()
    _, image = frames.get()
    assert image[0, 0].tolist() == [0, 0, 49]
    assert frames.get() is None
    assert frames.seen == 50
    assert camera.released


def test_a_camera_that_gives_nothing_is_an_error():
    release = threading.Event()

    class Stuck(Frames):
        def read(self):
            release.wait()
            return False, None

    frames = NewestFrame(Stuck(1))
    with pytest.raises(DataError, match=r"no picture for 0\.05 s.*unplugged"):
        frames.get(0.05)
    release.set()
    frames.close()


def test_rows_recording_and_latency_without_a_screen(tmp_path):
    camera, lines, begun = Frames(20, 0.02), [], time.perf_counter()
    with ResultFiles(tmp_path / "r.csv", None, {}) as results:
        summary = Summary()
        watch(
            NewestFrame(camera),
            Analyser(BrightnessEngine(), FixedDetector([8, 8, 40, 40, 0.9])),
            results,
            summary,
            source="camera-0",
            record=tmp_path / "camera.mp4",
            show=None,
            every=2,
            report=lines.append,
        )
    elapsed = time.perf_counter() - begun
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert 0 < summary.frames == summary.faces == len(rows)
    assert all(int(row["frame"]) % 2 == 0 for row in rows)
    times = [float(row["time_s"]) for row in rows]
    assert times == sorted(times)
    assert times[0] == 0
    assert " ms behind)" in lines[0]
    assert "neutral 70 %" in lines[0]
    recorded = len(list(VideoReader(tmp_path / "camera.mp4")))
    assert int(times[-1] * 15) <= recorded <= elapsed * 15 + 1
    assert camera.released


def test_q_and_stop_end_it(tmp_path):
    for show, stop in ((lambda image: False, None), (None, threading.Event())):
        if stop:
            stop.set()
        camera = Frames(10**6, 0.001)
        with ResultFiles(None, None, {}) as results:
            summary = Summary()
            watch(
                NewestFrame(camera), Analyser(BrightnessEngine(), None), results, summary,
                source="camera-0", record=None, show=show, stop=stop,
            )  # fmt: skip
        assert summary.frames == (0 if stop else 1)
        assert camera.released


def camera_run(monkeypatch, tmp_path, camera):
    """predict on this camera, with a table and JSON left by an earlier run."""

    def open_camera(number):
        if camera is None:
            raise DataError(f"Camera {number} cannot be opened.")
        return camera

    monkeypatch.setattr(predict_camera, "open_camera", open_camera)
    monkeypatch.setattr(predict_camera, "screen", lambda: None)
    paths = [tmp_path / "keep.csv", tmp_path / "keep.json"]
    for path in paths:
        path.write_text("earlier")
    words = ["--camera", "7", "--no-detect", "--csv", str(paths[0]), "--json", str(paths[1])]
    with pytest.raises(DataError):
        command.predict(command.parse(words), engine=BrightnessEngine())
    assert sorted(tmp_path.iterdir()) == paths  # and no .part files
    return [path.read_text() for path in paths]


def test_without_a_camera_or_a_frame_earlier_results_stay(monkeypatch, tmp_path):
    assert camera_run(monkeypatch, tmp_path, None) == ["earlier", "earlier"]
    monkeypatch.setattr(predict_camera.NewestFrame.get, "__defaults__", (0.1,))
    unplugged = Unplugged(0)
    assert camera_run(monkeypatch, tmp_path, unplugged) == ["earlier", "earlier"]
    unplugged.release_reader.set()


def test_a_camera_that_is_unplugged_leaves_its_rows_and_its_summary(monkeypatch, tmp_path):
    monkeypatch.setattr(predict_camera.NewestFrame.get, "__defaults__", (0.3,))
    camera = Unplugged(5, 0.02)
    table, found = camera_run(monkeypatch, tmp_path, camera)
    camera.release_reader.set()
    summary = json.loads(found)["summary"]
    assert 1 <= summary["frames"] == summary["faces"] == len(table.splitlines()) - 1


def test_no_screen_no_window(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert screen() is None
