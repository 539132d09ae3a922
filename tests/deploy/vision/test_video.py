"""Videos written and read back, cut short, and no videos at all."""

import subprocess

import numpy as np
import pytest

from neurogaze_fast.deploy.vision import ffmpeg
from neurogaze_fast.deploy.vision.cut_files import ends_early
from neurogaze_fast.deploy.vision.video import CopyError, VideoReader, VideoWriter
from neurogaze_fast.pictures import CorruptImage
from tests.deploy.vision.films import cut, film, make

pytest.importorskip("imageio_ffmpeg")


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


SOUND = ("-f", "lavfi", "-i", "sine=d=8", "-c:v", "libx264", "-c:a", "aac")


@pytest.mark.parametrize(
    "name",
    [
        *("2024-05-01T12:30:00.mp4", "pipe:0.mp4", "file:x.mp4", "concat:a|b.mp4", "-x.mp4"),
        *("http:x.mp4", "a%03d.mp4", "it's a [day].mp4", "v" * 251 + ".mp4"),
    ],
)
def test_names_are_names_whatever_they_look_like(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, range(0, 100, 20))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(VideoReader(name))) == 5


def test_sound_that_is_longer_makes_no_video_short(tmp_path):
    for name in ("x.mp4", "x.mkv"):
        reader = VideoReader(film(tmp_path / name, *SOUND))
        assert len(list(reader)) == reader.expected == 100
        assert reader.trouble == ""
    inputs = ("-itsoffset", "3", "-i", tmp_path / "x.mp4", "-i", tmp_path / "x.mp4")
    make(tmp_path / "late.mp4", *inputs, "-map", "0:v", "-map", "1:a", "-c", "copy")
    reader = VideoReader(tmp_path / "late.mp4")
    frames = list(reader)
    assert len(frames) == reader.expected == 175  # as a player shows it: the first one waits
    assert reader.trouble == ""
    assert np.array_equal(frames[0], frames[74])
    assert not np.array_equal(frames[0], frames[76])


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("x.mp4", (*SOUND, "-movflags", "+faststart"), 0.3),
        ("x.mkv", SOUND, 0.3),
        ("x.avi", ("-c:v", "mpeg4"), 0.6),
        ("x.flv", ("-c:v", "flv"), 0.6),
        ("x.webm", ("-c:v", "libvpx", "-f", "webm", "-live", "1"), 0.6),
        ("x.ts", ("-c:v", "libx264"), 0.6),
        ("x.m2ts", ("-c:v", "libx264"), 0.6),
        ("sound.ts", (*SOUND[:3], "sine=d=4", *SOUND[4:]), 0.6),
        ("x.mpg", ("-c:v", "mpeg2video"), 0.6),
        ("x.mpg", ("-c:v", "mpeg1video", "-f", "mpeg"), 0.6),
        ("x.vob", ("-c:v", "mpeg2video"), 0.6),
        ("x.ogv", ("-c:v", "libtheora"), 0.6),
        ("x.wmv", ("-c:v", "wmv2"), 0.6),
        ("x.ivf", ("-c:v", "libvpx"), 0.97),
        ("live.mkv", ("-c:v", "libx264", "-live", "1"), 0.6),
        ("parts.mp4", ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"), 0.6),
    ],
)
def test_a_file_that_is_cut_is_said_to_be(tmp_path, name, options, part):
    whole = film(tmp_path / name, *options)
    reader = VideoReader(whole)
    complete = len(list(reader))
    assert complete == pytest.approx(100, abs=2)
    assert reader.trouble == ""
    reader = VideoReader(cut(whole, part))
    read = len(list(reader))
    assert 0 < read < complete
    assert f"it breaks off after {read}" in reader.trouble


ENDS = {
    "x.ts": ("-c:v", "libx264"),
    "x.m2ts": ("-c:v", "libx264"),
    "x.avi": ("-c:v", "mpeg4"),
    "x.mpg": ("-c:v", "mpeg2video"),
    "x.ogv": ("-c:v", "libtheora"),
    "x.wmv": ("-c:v", "wmv2"),
    "x.mp4": ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_cut_is_seen_wherever_the_container_shows_it(tmp_path, name):
    whole = film(tmp_path / name, *ENDS[name], seconds=1)
    data, short = whole.read_bytes(), tmp_path / f"cut-{name}"
    assert not ends_early(whole)
    seen = []
    for length in range(len(data) // 2, len(data), 23):
        short.write_bytes(data[:length])
        seen.append(ends_early(short))
    assert np.mean(seen) > 0.95
    short.write_bytes(data + bytes(5000))  # filling, as discs and recorders leave it
    assert not ends_early(short)


def test_a_transport_stream_cut_between_packets_is_known_by_its_sound_alone(tmp_path):
    short = tmp_path / "short.ts"
    sound = ("-f", "lavfi", "-i", "sine=d=1", "-c:v", "libx264", "-c:a", "aac")
    shares = []
    for options in (("-c:v", "libx264"), sound):
        data = film(tmp_path / "x.ts", *options, seconds=1).read_bytes()
        seen = []
        for packets in range(len(data) // 376, len(data) // 188):
            short.write_bytes(data[: 188 * packets])
            seen.append(ends_early(short))
        shares.append(np.mean(seen))
    assert shares[0] == 0
    assert 0.1 < shares[1] < 0.9


def test_a_long_avi_is_followed_to_its_last_list(tmp_path):
    whole = film(tmp_path / "x.avi", "-c:v", "mpeg4", seconds=1)
    data = whole.read_bytes()
    more = b"RIFF" + (4000).to_bytes(4, "little") + b"AVIX" + bytes(3996)
    for end, early in ((0, False), (-1, True), (-3000, True), (-len(more), False)):
        whole.write_bytes((data + more)[: end or None])
        assert ends_early(whole) == early
    whole.write_bytes(data[:4] + bytes(4) + data[8:5000])  # written to a pipe
    assert not ends_early(whole)


@pytest.mark.parametrize(
    ("ratio", "width"), [("2/1", 128), ("16/15", 68), ("1/2", 32), ("900/1", 64)]
)
def test_pixels_are_made_square(tmp_path, ratio, width):
    path = film(tmp_path / "x.mp4", "-vf", f"setsar={ratio}", "-c:v", "libx264", seconds=1)
    reader = VideoReader(path)
    frames = list(reader)
    assert (reader.width, reader.height) == (width, 48)
    assert len(frames) == 25
    assert {frame.shape for frame in frames} == {(48, width, 3)}


def test_what_is_square_in_the_world_is_square_in_the_frame(tmp_path):
    dark = "lutyuv=y=16:u=128:v=128,drawbox=x=20:y=10:w=10:h=20:color=white:t=fill"
    path = film(tmp_path / "x.mp4", "-vf", f"{dark},setsar=2/1", "-c:v", "libx264", seconds=1)
    bright = next(iter(VideoReader(path))).mean(axis=2) > 127
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    assert np.ptp(rows) == pytest.approx(19, abs=2)


def test_wide_pixels_of_a_turned_video_make_it_high(tmp_path):
    film(tmp_path / "x.mp4", "-vf", "setsar=2/1", "-c:v", "libx264", seconds=1)
    turned = make(
        tmp_path / "t.mp4", "-display_rotation", "90", "-i", tmp_path / "x.mp4", "-c", "copy"
    )
    frame = next(iter(VideoReader(turned)))
    # Stored as 64 x 48 and shown as 128 x 48, turned: 48 x 128, in whatever scale.
    assert frame.shape[0] / frame.shape[1] == pytest.approx(128 / 48, rel=0.05)


def jittered(path, shown, *options):
    """120 frames, frame N shown at `shown` milliseconds."""
    times = f"settb=1/1000,setpts='{shown}'"
    kept = ("-vf", times, "-fps_mode", "passthrough", "-enc_time_base", "1/1000")
    return film(path, *kept, *options, fps=30)


def test_a_rate_that_the_header_lacks_is_taken_from_the_time_stamps(tmp_path):
    shown = "if(eq(N,0),0,if(eq(N,1),1,N*40))"  # the first two lie 1 ms apart
    fragments = ("-c:v", "libx264", "-bf", "0", "-movflags", "frag_keyframe+empty_moov")
    live = ("-c:v", "libvpx", "-f", "webm", "-live", "1")
    for name, times, options, fps in [
        ("fragments.mp4", shown, (*fragments, "-video_track_timescale", "1000"), 25),
        ("recorder.webm", "floor(N*33.37+random(1)*9)", live, 30),
        ("slow.webm", "N*2000", live, 0.5),
    ]:
        reader = VideoReader(jittered(tmp_path / name, times, *options))
        assert reader.fps == pytest.approx(fps, rel=0.02), name
        assert len(list(reader)) == pytest.approx(120, abs=1), name
        assert reader.trouble == ""


def test_a_rate_is_never_the_1000_of_a_time_base():
    video = ffmpeg._Stream()
    video.tick_s = 0.001
    for number in range(50):
        video.add(number * 40, number * 40, 40)
    for header in ("h264, 64x48, 1k fps, 1k tbr", "vp8, 64x48, 1k tbr, 1k tbn"):
        assert ffmpeg._frame_rate(video, f"Stream #0:0: Video: {header}") == 25


def test_playlists_are_not_followed(tmp_path):
    make(tmp_path / "other.ts", "-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=1")
    for name, text in [
        ("a.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"),
        ("b.mp4", "ffconcat version 1.0\nfile other.ts\n"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(CorruptImage, match="no video that ffmpeg can read"):
            VideoReader(tmp_path / name)


def test_the_cover_of_a_sound_file_is_no_video(tmp_path):
    film(tmp_path / "cover.png", "-frames:v", "1", size="32x32")
    film(tmp_path / "x.mp4", *SOUND)
    cover = (
        "-i",
        tmp_path / "cover.png",
        "-i",
        tmp_path / "x.mp4",
        "-disposition:v:0",
        "attached_pic",
    )
    make(tmp_path / "both.mp4", *cover, "-map", "0", "-map", "1", "-c", "copy")
    reader = VideoReader(tmp_path / "both.mp4")
    assert (reader.width, reader.height) == (64, 48)
    make(tmp_path / "sound.mp4", *cover, "-map", "0", "-map", "1:a", "-c", "copy")
    with pytest.raises(CorruptImage, match="no video"):
        VideoReader(tmp_path / "sound.mp4")


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(CorruptImage, match=r"cannot be read \(No such file"):
        VideoReader(tmp_path / "x.mp4")


def test_what_cannot_be_written_is_said_at_the_end(tmp_path):
    with pytest.raises(CopyError, match="invalid width"):
        write(tmp_path / "x.mp4", range(20), size=(8, 30_000))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CopyError, match="exists"):
        write(tmp_path / "file/x.mp4", range(20))
