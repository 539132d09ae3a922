"""What is opened beside something else: videos one ahead, the two models, OpenVINO's one core."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neurogaze_fast.deploy.engines import openvino_engine
from neurogaze_fast.deploy.vision import from_options, openings
from neurogaze_fast.deploy.vision.config import PredictConfig
from neurogaze_fast.deploy.vision.inputs import Input
from neurogaze_fast.deploy.vision.openings import Openings
from neurogaze_fast.pictures import CorruptImage


def video(name, address=None):
    return Input(Path(name), True, Path(name), address)


@pytest.fixture
def opened(monkeypatch):
    """Names of what was opened, in order, and events that are set by it; "bad" cannot be."""
    names, done = [], {}

    def reader(kind):
        def make(what):
            names.append(str(what))
            done.setdefault(str(what), threading.Event()).set()
            if "bad" in str(what):
                raise CorruptImage("no video")
            return kind, str(what)

        return make

    monkeypatch.setattr(openings, "VideoReader", reader("file"))
    monkeypatch.setattr(openings, "StreamReader", reader("stream"))

    def wait(name):
        assert done.setdefault(name, threading.Event()).wait(10), f"{name} was not opened"

    return names, wait


def test_a_video_is_opened_while_the_one_before_is_looked_at(opened):
    names, wait = opened
    picture = Input(Path("p.jpg"), False, Path("p.jpg"))
    live = video("live", "rtsp://x/live")
    items = [picture, video("a"), live, video("bad"), video("c"), video("d")]
    ours = Openings(items)
    wait("a")  # before anybody asks
    assert names == ["a"]
    assert ours.open(items[1]) == ("file", "a")
    wait("bad")
    assert names == ["a", "bad"]  # not the stream, and no more than one
    assert ours.open(live) == ("stream", "rtsp://x/live")
    with pytest.raises(CorruptImage, match="no video"):
        ours.open(items[3])
    wait("c")
    assert ours.open(items[4]) == ("file", "c")
    wait("d")
    assert ours.open(items[5]) == ("file", "d")
    assert sorted(names) == sorted({*names})  # each of them once


def test_work_that_goes_on_in_the_middle_opens_what_it_is_at(opened):
    names, wait = opened
    items = [video("a"), video("b"), video("c")]
    ours = Openings(items)
    assert ours.open(items[1]) == ("file", "b")
    wait("c")
    assert ours.open(items[2]) == ("file", "c")
    assert sorted(names) == ["a", "b", "c"]
    assert Openings(()).open(items[0]) == ("file", "a")


def test_engine_and_detector_are_opened_side_by_side(monkeypatch):
    both = threading.Barrier(2, timeout=10)

    def opens(what):
        def work(*_, **__):
            both.wait()
            return what

        return work

    monkeypatch.setattr(from_options, "open_model", opens("engine"))
    monkeypatch.setattr(from_options, "detector_of", opens("detector"))
    config = PredictConfig(("x.mp4",))
    assert from_options.models_of(config, Path("m"), None, None) == ("engine", "detector")
    # The caller's are taken as they are, and nobody looks for faces where none are looked for.
    assert from_options.models_of(config, None, "mine", "my own") == ("mine", "my own")
    given = PredictConfig(("x.mp4",), detect=False)
    assert from_options.models_of(given, None, "mine", "my own") == ("mine", None)


def test_threads_that_ask_at_the_same_time_get_one_core(monkeypatch):
    made, both = [], threading.Barrier(2)

    class Library:
        @staticmethod
        def Core():
            made.append(object())
            threading.Event().wait(0.2)  # the other thread asks meanwhile
            return made[-1]

    monkeypatch.setattr(openvino_engine, "import_library", lambda *_: Library)
    openvino_engine._core.cache_clear()

    def ask(_):
        both.wait(10)
        return openvino_engine.openvino_core()

    try:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(ask, range(2))
        assert first is second
        assert len(made) == 1
    finally:
        openvino_engine._core.cache_clear()
