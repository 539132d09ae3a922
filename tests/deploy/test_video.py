"""Videos written and read back, cut short, and no videos at all."""

import numpy as np
import pytest

from neurogaze_fast.deploy.video import VideoReader, VideoWriter
from neurogaze_fast.faces.decode import CorruptImage


def write(path, levels, size=(48, 64), fps=10):
    with VideoWriter(path, fps) as video:
        for level in levels:
            video.write(np.full((*size, 3), level, np.uint8))
    return path


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_what_is_written_is_read_back(tmp_path, size):
    path = write(tmp_path / "new/x.mp4", range(20, 240, 10), size)
    reader = VideoReader(path)
    frames = list(reader)
    assert reader.fps == pytest.approx(10)
    assert reader.expected == len(frames) == 22
    assert reader.trouble == ""
    assert frames[0].shape == (48, 64, 3)  # H.264 wants even sides
    levels = [frame[:40, :50].mean() for frame in frames]
    np.testing.assert_allclose(levels, range(20, 240, 10), atol=4)
    assert [p.name for p in path.parent.iterdir()] == ["x.mp4"]


def test_no_frames_make_no_file(tmp_path):
    assert not write(tmp_path / "x.mp4", []).exists()


def test_an_interrupted_video_still_plays(tmp_path):
    def levels():
        yield from range(0, 160, 20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.mp4", levels())
    assert len(list(VideoReader(tmp_path / "x.mp4"))) == 8


def test_files_that_are_no_video(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(CorruptImage, match="no video that ffmpeg can read"):
        VideoReader(tmp_path / "x.mp4")


def test_a_video_that_breaks_off_gives_what_there_is_and_says_so(tmp_path):
    noise = np.random.default_rng(0)
    with VideoWriter(tmp_path / "whole.mp4", 10) as video:
        for _ in range(40):
            video.write(noise.integers(0, 256, (48, 64, 3), np.uint8))
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])  # its index is at the start
    reader = VideoReader(tmp_path / "cut.mp4")
    read = len(list(reader))
    assert 0 < read < 38
    assert f"it breaks off after {read}" in reader.trouble
