"""Videos written and read back, cut short, and no videos at all."""

import subprocess

import numpy as np
import pytest

from neurogaze_fast.deploy.vision.video import VideoReader, VideoWriter
from neurogaze_fast.pictures import CorruptImage


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


def test_frames_of_a_variable_rate_are_given_when_they_are_seen(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    # Two seconds of 30 frames, two of 7.5; each as bright as it is late.
    film = "color=black:s=64x48:r=30:d=4,geq=lum=20+50*T:cb=128:cr=128"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", film,
         "-vf", "select='lt(t,2)+not(mod(n,4))'", "-fps_mode", "vfr", "-c:v", "libx264",
         str(tmp_path / "x.mp4")], check=True,
    )  # fmt: skip
    reader = VideoReader(tmp_path / "x.mp4")
    frames = list(reader)
    assert 15 < reader.fps < 25  # not 30, ffmpeg's own rate for it
    assert len(frames) / reader.fps == pytest.approx(4, abs=0.15)
    assert reader.trouble == ""
    seconds = (np.array([frame.mean() for frame in frames]) * 219 / 255 + 16 - 20) / 50
    np.testing.assert_allclose(seconds, np.arange(len(frames)) / reader.fps, atol=0.2)


@pytest.mark.parametrize("fps", [24000 / 1001, 25, 12.5, 1])
def test_rates_that_ffmpeg_rounds_lose_and_repeat_no_frame(tmp_path, fps):
    with VideoWriter(tmp_path / "x.mp4", fps) as video:
        for number in range(30):
            video.write(np.full((16, 16, 3), 8 * number, np.uint8))
    reader = VideoReader(tmp_path / "x.mp4")
    assert reader.fps == pytest.approx(fps, rel=1e-9)
    levels = [frame.mean() for frame in reader]
    np.testing.assert_allclose(levels, range(0, 240, 8), atol=4)


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
