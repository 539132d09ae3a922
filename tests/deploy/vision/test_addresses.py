"""Patterns and addresses: what people type in place of a file."""

import functools
import socket
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast.deploy.vision import ffmpeg, inputs, video
from neurogaze_fast.deploy.vision.inputs import find_inputs, read_picture, without_password
from neurogaze_fast.deploy.vision.video import StreamReader, VideoWriter
from neurogaze_fast.pictures import CorruptImage


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.jpg", "deep/c.png", "[1].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 4), (200, 40, 10)).save(path)
    with VideoWriter(tmp_path / "film.mp4", 10) as writer:
        for number in range(12):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    return tmp_path


@pytest.fixture
def server(folder):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_patterns_are_names_that_fit(folder):
    def names(pattern):
        found, skipped = find_inputs([str(folder / pattern)], None)
        return [item.path.relative_to(folder).as_posix() for item in found], skipped

    assert names("*.png") == (["[1].png", "a.png"], [])
    assert names("**/*.png")[0] == ["[1].png", "a.png", "deep/c.png"]
    assert names("[1].png")[0] == ["[1].png"]  # a file of that very name
    assert names("?.jpg")[0] == ["b.jpg"]
    found, (skipped,) = names("*.webp")
    assert found == []
    assert skipped.reason == "there is no such file or folder that fits"


def test_addresses_are_told_from_files_and_keep_their_passwords():
    words = ["rtsp://eva:secret@10.0.0.7:554/live", "https://x.org/p/a%20b.JPG?v=1", "a.png:1"]
    found, skipped = find_inputs(words, None)
    assert [(item.video, item.name.name) for item in found] == [
        (True, "live.mp4"), (False, "a_20b.jpg"),
    ]  # fmt: skip
    assert found[0].address == words[0]
    assert found[0].source == without_password(words[0]) == "rtsp://10.0.0.7:554/live"
    assert "secret" not in str(found[0].path)
    assert len(skipped) == 1
    assert ffmpeg.without_passwords("rtsp://eva:secret@h/x: refused") == "rtsp://h/x: refused"


def test_a_picture_at_an_address(server, monkeypatch):
    assert read_picture(f"{server}/a.png").shape == (4, 6, 3)
    with pytest.raises(CorruptImage, match=r"cannot be fetched \(File not found\)|Not Found"):
        read_picture(f"{server}/none.png")
    monkeypatch.setattr(inputs, "DOWNLOAD_BYTES", 10)
    with pytest.raises(CorruptImage, match="larger than"):
        read_picture(f"{server}/a.png")


def test_a_video_at_an_address(server):
    reader = StreamReader(f"{server}/film.mp4")
    assert (reader.width, reader.height, reader.fps) == (64, 48, 10)
    levels = [frame.mean() for frame in reader]
    np.testing.assert_allclose(levels, range(0, 240, 20), atol=4)
    with pytest.raises(CorruptImage, match=r"it cannot be opened \(.*404"):
        StreamReader(f"{server}/none.mp4")


def test_a_camera_on_the_network(folder, monkeypatch):
    """ffmpeg at the other end sends a stream; ours waits for it as a server would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"rtsp://127.0.0.1:{port}/live"
    ours = ffmpeg.reading_address(address)
    at = ours.index("-timeout")  # which is of one who calls
    listening = [*ours[:at], "-rtsp_flags", "listen", "-listen_timeout", "60", *ours[at + 2 :]]
    monkeypatch.setattr(video, "reading_address", lambda given: listening)
    send = (
        *(ffmpeg.ffmpeg(), "-v", "error", "-re", "-stream_loop", "3", "-i"),
        *(str(folder / "film.mp4"), "-c:v", "libx264", "-g", "5", "-tune", "zerolatency"),
        *("-f", "rtsp", "-rtsp_transport", "tcp", address),
    )
    again = f"for i in 1 2 3 4 5 6 7 8; do {' '.join(send)} && break; sleep 1; done"
    with subprocess.Popen(["sh", "-c", again], stderr=subprocess.DEVNULL) as sender:
        reader = StreamReader(address)
        frames = list(reader)
        sender.terminate()
    assert reader.fps == pytest.approx(10)
    assert len(frames) >= 20
    assert np.ptp([frame.mean() for frame in frames]) > 100


def test_a_camera_that_is_not_there_is_named_without_its_password():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CorruptImage, match=r"it cannot be opened \(.*refused") as said:
        StreamReader(f"rtsp://eva:secret@127.0.0.1:{port}/live")
    assert "secret" not in str(said.value)
