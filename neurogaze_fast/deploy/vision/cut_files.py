"""Whether a video file ends where its container says that more must follow.

ffmpeg reads such files as if they were meant to be so. Only the beginning and the end are read.
A raw stream (.h264, .m2v, .m4v) has no container, and so has no end of its own; neither has a
transport stream that is cut between two packets with no sound under way.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_BEGIN, _TAIL = 64 * 1024, 1024 * 1024
"""Bytes looked at; a pack of a program stream has at most as many as _BEGIN, nearly always."""
_TS_SYNC, _TS_SIZES = ord("G"), (188, 192, 204)
"""A transport packet's first byte, and how far packets lie apart (plain, Blu-ray, with parity)."""
_TS_PACKETS = 5
"""Packets in a row by which they are recognised."""
_PS_PACK, _PS_END, _PS_LEAST = 0xBA, 0xB9, 0xB9
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_LIVE = 1
_OGG_LAST = 4
_ISO_PICTURES = (b"moov", b"moof", b"mdat")


def ends_early(path: Path) -> bool:
    """Whether the file is cut off; False also where its container cannot tell.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        begin = file.read(_BEGIN)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
        if begin[:4] == b"RIFF":
            return _avi(file, size)
        if begin[4:8] in (b"ftyp", b"styp", *_ISO_PICTURES):
            return _iso(file, size)
    if begin[:4] == b"OggS":
        return _ogg(tail)
    if _ASF_FILE in begin:
        return _asf(begin, size)
    if begin[:4] == bytes((0, 0, 1, _PS_PACK)):
        return _program_stream(tail)
    return _transport_stream(tail)


def _avi(file: BinaryIO, size: int) -> bool:
    """A RIFF list of a gigabyte is followed by others. What was written to a pipe has no length."""
    at = filling = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or head[8:11] != b"AVI" or length in (0, 2**32 - 1):
            return False
        filling = length % 2  # a byte that makes lengths even; the last one may be missing
        at += 8 + length + filling
    return at - filling > size


def _iso(file: BinaryIO, size: int) -> bool:
    """MP4 and QuickTime: boxes, one after the other; fragments name nothing that follows them."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4])
        if length == 1:  # a long one
            length = int.from_bytes(head[8:16])
        if length < 8:
            return False  # up to the end, or no box at all
        if at + length > size:
            return head[4:8] in _ISO_PICTURES
        at += length
    return False


def _ogg(tail: bytes) -> bool:
    """The last page of a stream is marked as such."""
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27:
        return True
    table = page[27 : 27 + page[26]]
    whole = len(table) == page[26] and 27 + len(table) + sum(table) <= len(page)
    return not whole or not page[5] & _OGG_LAST


def _asf(begin: bytes, size: int) -> bool:
    """WMV: the header has the file's length, but for a broadcast's."""
    fields = begin[begin.index(_ASF_FILE) :]
    length, live = int.from_bytes(fields[40:48], "little"), fields[88:89]
    return bool(live) and not live[0] & _ASF_LIVE and size < length


def _program_stream(tail: bytes) -> bool:
    """MPG and VOB: each packet says how long it is; from a pack in the tail they are followed."""
    start = tail.find(bytes((0, 0, 1, _PS_PACK)))
    while start >= 0:
        at = start
        while at + 4 <= len(tail) and tail[at : at + 3] == b"\0\0\1" and tail[at + 3] >= _PS_LEAST:
            kind, head = tail[at + 3], tail[at : at + 14]
            if kind == _PS_END:
                return False
            if kind != _PS_PACK:
                at += 6 + int.from_bytes(head[4:6])
            elif len(head) > 4 and head[4] >> 6 == 1:  # MPEG-2, with stuffing
                at += 14 + (head[13] & 7 if len(head) > 13 else 0)
            else:
                at += 12
        if at > len(tail):
            return True
        if tail[at:].count(0) == len(tail) - at or tail[at:] == b"\0\0\1":
            return tail[at:] == b"\0\0\1"  # at the end, or nothing but filling is left
        start = tail.find(bytes((0, 0, 1, _PS_PACK)), start + 4)
    return False


def _transport_stream(tail: bytes) -> bool:
    """A packet is there in part, or the last part of a packet of sound is missing."""
    for size in _TS_SIZES:
        head = size - 188 if size == 192 else 0
        for end in range(len(tail), max(len(tail) - size, 0), -1):
            first = end - _TS_PACKETS * size
            if first >= 0 and all(tail[i + head] == _TS_SYNC for i in range(first, end, size)):
                rest = len(tail) - end
                begun = 0 < rest <= head or tail[end + head : end + head + 1] == b"G"
                return begun or _sound_missing(tail[:end], size, head)
    return False


def _sound_missing(tail: bytes, size: int, head: int) -> bool:
    """Pictures mostly do not say how long they are; what does is followed to the end."""
    left: dict[int, int] = {}
    for at in range(len(tail) % size + head, len(tail), size):
        packet = tail[at : at + 188]
        if packet[:1] != b"G" or not packet[3] & 0x10:
            continue
        stream = int.from_bytes(packet[1:3]) & 0x1FFF
        payload = packet[5 + packet[4] if packet[3] & 0x20 else 4 :]
        if packet[1] & 0x40:  # a beginning
            length = int.from_bytes(payload[4:6])
            left[stream] = 6 + length if payload[:3] == b"\0\0\1" and length else 0
        if stream in left:
            left[stream] = max(0, left[stream] - len(payload))
    return any(left.values())
