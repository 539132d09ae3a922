"""ffmpeg, as imageio-ffmpeg brings it: how it is called, and what it says of a video."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.deploy.vision.cut_files import ends_early
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.pictures import MAX_PIXELS, CorruptImage

USUAL_FPS = 25.0
"""Frames a second of a video that has a single one, and says nothing."""
MAX_FPS = 1000.0
_FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,m4v,h264,hevc,av1,ivf,mxf,dv,rm,nut"
"""What is read. Not playlists: they name other files and addresses, whatever they are called."""
_CUT = re.compile(r"partial file|prematurely|truncat", re.IGNORECASE)
"""What ffmpeg's demuxers say of files that end too early."""
_UNKNOWN = -(2**63)
"""ffmpeg's time stamp where there is none."""
_DAMAGED = 2
"""ffmpeg's flag of a packet of which some is missing."""
PIPE_BYTES = 1 << 20
"""The most that Linux gives everybody."""
_SAID = 100_000
"""Characters of ffmpeg's messages that are looked at, from each end."""


@dataclass(frozen=True)
class Probe:
    """A video by its packets, none of them decoded."""

    fps: float
    """Frames a second: what its header says where its time stamps agree, else theirs."""
    end_s: float
    """When its last frame ends, from when the file begins."""
    expected_s: float
    """When it should end: `end_s`, or later where the file is cut off and says how long it was."""
    cut: bool
    """The file ends before its streams do."""


def ffmpeg() -> str:
    """The program.

    Raises:
        ConfigError: imageio-ffmpeg is not installed, or has none.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as cause:
        raise ConfigError(
            "Reading and writing videos needs imageio-ffmpeg. Install it with: pip install "
            "'neurogaze_fast[vision]'."
        ) from cause


def url(path: Path) -> str:
    """A file's name as ffmpeg takes it: else 'a:b.mp4' would be the protocol 'a'."""
    return f"file:{os.path.abspath(path)}"


def reading(path: Path) -> list[str]:
    """The begin of a command that reads a file and nothing that the file may refer to."""
    return [
        *(ffmpeg(), "-hide_banner", "-nostdin", "-nostats", "-max_pixels", str(MAX_PIXELS)),
        *("-protocol_whitelist", "file", "-format_whitelist", _FORMATS, "-i", url(path)),
    ]


def reading_address(address: str) -> list[str]:
    """The begin of a command that reads an address over the network, and nothing else it names."""
    live = address.lower().startswith("rtsp")
    # Microseconds without an answer after which it is given up.
    waiting = ("-rtsp_transport", "tcp", "-timeout") if live else ("-rw_timeout",)
    return [
        *(ffmpeg(), "-hide_banner", "-nostdin", "-nostats", "-max_pixels", str(MAX_PIXELS)),
        *("-protocol_whitelist", "http,https,tcp,tls,crypto,rtsp,rtsps,rtp,udp"),
        *("-format_whitelist", f"{_FORMATS},rtsp", *waiting, "10000000", "-i", address),
    ]


def header_rate(text: str) -> float:
    """Frames a second by what ffmpeg says of a stream's header; :data:`USUAL_FPS` without it."""
    video = re.search(r"Stream #0:\d+.*?: Video: .*", text)
    said = video and re.search(r"([\d.]+)(k?) fps", video[0])
    rate = float(said[1]) * (1000 if said[2] else 1) if said else USUAL_FPS
    return min(rate, MAX_FPS) if rate > 0 else USUAL_FPS


def without_passwords(text: str) -> str:
    """A message of ffmpeg's without what stands before an address's host."""
    return re.sub(r"://[^/@\s]*@", "://", text)


def start(
    command: Sequence[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start it out of reach of a Ctrl-C, which is for us: what was read is still to be written."""
    process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, process_group=0)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and sys.platform == "linux":
            # A frame otherwise takes a switch between the processes for each 64 KiB of it.
            with contextlib.suppress(OSError):  # more than this user may have
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process


class _Stream:
    """Time stamps of one stream, in ticks."""

    def __init__(self) -> None:
        self.tick_s = 0.0
        self.count = self.end = 0
        self.damaged = False
        """The last packet is there in part."""
        self.decoded: list[int] = []
        """When the first and the last packet are decoded. These times are evenly spaced, unlike
        those of being shown: frames that others are predicted from come early."""

    def add(
        self, decoded: int | None, shown: int | None, duration: int, damaged: bool = False
    ) -> None:
        self.damaged = damaged
        at = shown if shown is not None else decoded
        if at is not None:
            self.end = max(self.end, at + duration)
        at = decoded if decoded is not None else shown
        if at is not None:
            self.count += 1
            self.decoded[1 if self.decoded else 0 :] = [at]

    @property
    def end_s(self) -> float:
        return self.end * self.tick_s


def probe(path: Path) -> Probe:
    """Read a file once through without decoding it.

    Raises:
        CorruptImage: it cannot be read, there is no video in it, or its frames are larger than
            MAX_PIXELS.
    """
    try:
        early_by_bytes = ends_early(path)
    except OSError as cause:
        raise CorruptImage(f"it cannot be read ({cause.strerror})") from cause
    # The first video stream that is no cover picture; the others tell where the file ends.
    streams = ("-map", "0:V:0", "-map", "0:a?", "-map", "0:s?", "-map", "0:d?", "-copy_unknown")
    command = [*reading(path), *streams, "-c", "copy", "-f", "framecrc", "-"]
    found: dict[str, _Stream] = {}
    with tempfile.TemporaryFile() as said:
        with start(command, stdout=subprocess.PIPE, stderr=said.fileno()) as process:
            for line in process.stdout or ():
                _take(found, line.decode("ascii", "replace"))
        length = said.seek(0, os.SEEK_END)
        said.seek(0)
        text = said.read(_SAID).decode("utf-8", "replace")
        said.seek(max(_SAID, length - _SAID))
        text += said.read().decode("utf-8", "replace")
    header = re.search(r"Stream #0:\d+.*?: Video: .*?(\d+)x(\d+).*", text)
    video = found.get("0")
    if header and int(header[1]) * int(header[2]) > MAX_PIXELS:
        raise CorruptImage(f"frames of {header[1]} x {header[2]} pixels")
    if video is None or not video.count or not header:
        raise CorruptImage("no video that ffmpeg can read")
    fps = _frame_rate(video, header[0])
    end_s = max(video.end_s, 1 / fps)
    length_s = _seconds(text)
    # Sound may be longer than the pictures: only where no stream comes near the end, it is cut.
    longest = max(stream.end_s for stream in found.values())
    early = length_s - max(longest, end_s)
    # Half a second is what headers and streams commonly differ by.
    cut = early_by_bytes or bool(_CUT.search(text)) or early > max(0.5, 2 / fps)
    cut = cut or any(stream.damaged for stream in found.values())
    return Probe(fps, end_s, max(end_s, length_s) if cut else end_s, cut)


def _take(found: dict[str, _Stream], line: str) -> None:
    """One line of ffmpeg's framecrc: `#tb STREAM: 1/1000`, or `STREAM, dts, pts, duration, ...`,
    with the flags among the rest as `F=0x2`."""
    if tick := re.match(r"#tb (\d+): (\d+)/(\d+)", line):
        found.setdefault(tick[1], _Stream()).tick_s = int(tick[2]) / max(1, int(tick[3]))
        return
    stream, *parts = (part.strip() for part in line.split(","))
    numbers = parts[:3]
    if stream in found and len(numbers) == 3:
        dts, pts, duration = (int(n) if n.lstrip("-").isdigit() else _UNKNOWN for n in numbers)
        decoded, shown = (None if n == _UNKNOWN else n for n in (dts, pts))
        flags = next((part[2:] for part in parts if part.startswith("F=0x")), "0x0")
        damaged = bool(int(flags, 16) & _DAMAGED)
        found[stream].add(decoded, shown, max(0, duration), damaged)


def _frame_rate(video: _Stream, header: str) -> float:
    said = re.search(r"([\d.]+)(k?) fps", header)
    by_header = float(said[1]) * (1000 if said[2] else 1) if said else 0.0
    span = (video.decoded[-1] - video.decoded[0]) * video.tick_s
    if video.count < 2 or span <= 0:
        return min(by_header or USUAL_FPS, MAX_FPS)
    by_stamps = (video.count - 1) / span
    fps = by_header if abs(by_header - by_stamps) < 0.05 * by_stamps else by_stamps
    # ffmpeg rounds what it says, and files round their time stamps: 29.97 is 30000 / 1001.
    for usual in (round(fps), round(fps) / 1.001):
        if abs(fps - usual) < 0.0004 * fps:
            fps = float(usual)
    return min(fps, MAX_FPS)


def _seconds(text: str) -> float:
    """How long the file lasts by its header; 0 where it does not say."""
    said = re.search(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", text)
    return 3600 * int(said[1]) + 60 * int(said[2]) + float(said[3]) if said else 0.0
