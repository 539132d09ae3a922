"""Walks the tags of a MATLAB 5 file, trusting none of them.

scipy's parser does trust them: an unknown type code makes it read outside its tables, and the whole
process dies. A damaged file must be an error instead. :mod:`~neurogaze_fast.eeg.mat_read` keeps
what the walk comes across. The format is MathWorks' "MAT-File Format"
(level 5): a header of 128 bytes, then elements of 8 bytes of tag (type, bytes) and data padded to
8, or of 4 and 4 for up to four bytes of data. A compressed element holds one matrix; a matrix
holds elements, and in a cell or struct further matrices.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

COMPRESSED, MATRIX = 15, 14
SIZE_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
CELL, STRUCT, OBJECT, CHAR, SPARSE = 1, 2, 3, 4, 5
NUMERIC = range(6, 16)
FUNCTION, OPAQUE = 16, 17
_CHUNK = 1 << 20
_DEEPEST = 32


class MatDamageError(ValueError):
    """What is wrong with the tags, and at which byte (of the inflated data where compressed)."""


class _Plain:
    """A file, read forwards."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.at = file.tell()

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise MatDamageError(f"the file ends at byte {self.at + len(data)}")
        self.at += count
        return data

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self._size:
            raise MatDamageError(f"the file ends at byte {self._size}, {self.at} are needed")
        self._file.seek(self.at)


class _Inflated:
    """The content of one compressed element, read forwards."""

    def __init__(self, source: _Plain, count: int) -> None:
        self._source, self._left = source, count
        self._stream = zlib.decompressobj()
        self._ready = memoryview(b"")  # so that taking some bytes does not copy the rest
        self.at = 0

    def read(self, count: int) -> bytes:
        parts = []
        while count:
            if not self._ready:
                self._ready = memoryview(self._more())
            parts.append(self._ready[:count])
            self._ready = self._ready[count:]
            count -= len(parts[-1])
            self.at += len(parts[-1])
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            count -= len(self.read(min(count, _CHUNK)))

    def finish(self) -> None:
        """Inflate the rest, so that the checksum is compared."""
        while not self._stream.eof:
            self._step()

    def _more(self) -> bytes:
        while not self._stream.eof:
            data = self._step()
            if data:
                return data
        raise MatDamageError(f"compressed data end at byte {self.at}")

    def _step(self) -> bytes:
        data = self._stream.unconsumed_tail
        if not data:
            data = self._source.read(min(self._left, _CHUNK))
            self._left -= len(data)
        if not data:
            raise MatDamageError(f"compressed data are cut short at byte {self.at}")
        return self._stream.decompress(data, _CHUNK)


def check_mat(path: Path) -> None:
    """Walk all tags.

    Raises:
        MatDamageError: a type code is unknown, or an element does not fit into what holds it.
        zlib.error: compressed data are damaged.
        OSError: the file cannot be read.
    """
    walk_mat(path, Walker)


def walk_mat(path: Path, walker: Callable[[Any, str], Walker]) -> list[Walker]:
    """Walk every variable of a file with a walker of its own, inflating it once; those walkers.

    Raises:
        as check_mat.
    """
    size = path.stat().st_size
    walked = []
    with open(path, "rb") as file:
        head = file.read(128)
        if len(head) < 128 or head[126:128] not in (b"IM", b"MI"):
            raise MatDamageError("the header is not the one of a MATLAB 5 file")
        order = "<" if head[126:128] == b"IM" else ">"
        source = _Plain(file, size)
        while source.at < size:
            kind, count = struct.unpack(order + "II", source.read(8))
            end = source.at + count
            if kind == COMPRESSED:
                inflated = _Inflated(source, count)
                kind, count = struct.unpack(order + "II", inflated.read(8))
                if kind != MATRIX:
                    raise MatDamageError(f"a compressed element holds type {kind}")
                walked.append(walker(inflated, order))
                walked[-1].variable(count)
                inflated.finish()
            elif kind == MATRIX:
                walked.append(walker(source, order))
                walked[-1].variable(count)
            else:
                raise MatDamageError(f"a variable is of type {kind}")
            source.skip(end - source.at)
    return walked


def _padded(count: int) -> int:
    return -(-count // 8) * 8


class Walker:
    def __init__(self, source: _Plain | _Inflated, order: str) -> None:
        self._source, self._order = source, order
        self.value: Any = None
        self.name = ""

    def variable(self, count: int) -> None:
        """A whole variable; its value and name are kept here."""
        self.value = self.matrix(count, 0)

    def matrix(self, count: int, depth: int) -> Any:
        """One matrix of `count` bytes, its own tag already read; what is kept of it."""
        end = self._source.at + count
        held = self._content(end, depth) if count else self._nothing()
        if self._source.at != end:
            raise MatDamageError(f"a matrix ends at byte {self._source.at}, not {end}")
        return held

    # What a reader keeps; walking alone keeps nothing.

    def _nothing(self) -> Any:
        return None

    def _kept_numbers(self, of_type: int, count: int, shape: tuple[int, ...]) -> Any:
        self._source.skip(count)

    def _kept_cells(self, entries: list[Any], shape: tuple[int, ...], fields: list[str]) -> Any:
        return None

    def _kept_text(self, data: bytes, of_type: int) -> Any:
        return None

    def _content(self, end: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise MatDamageError(f"matrices are nested more than {_DEEPEST} deep")
        flags = self._numbers((6,), end)
        if len(flags) != 2:
            raise MatDamageError(f"array flags are damaged at byte {self._source.at}")
        kind, is_complex = flags[0] & 0xFF, bool(flags[0] & 0x0800)
        if kind in (FUNCTION, OPAQUE):
            self._source.skip(end - self._source.at)  # not in DREAMER
            return None
        if kind not in (CELL, STRUCT, OBJECT, CHAR, SPARSE, *NUMERIC):
            raise MatDamageError(f"matrix class {kind} at byte {self._source.at}")
        shape = self._numbers((5,), end)
        if len(shape) < 2 or min(shape) < 0:
            raise MatDamageError(f"dimensions {shape[:4]} at byte {self._source.at}")
        entries = math.prod(shape)
        name = self._text(end)
        if depth == 0:
            self.name = name
        if kind in (CELL, STRUCT, OBJECT):
            if kind == OBJECT:
                self._data((1, 2, 16), end)
            fields = [] if kind == CELL else self._fields(end)
            entries *= 1 if kind == CELL else len(fields)
            held = [self._nested(end, depth) for _ in range(entries)]
            return self._kept_cells(held, shape, fields)
        if kind == SPARSE:
            for _ in range(3 + is_complex):
                self._data(tuple(SIZE_OF_TYPE), end)
            return None
        numbers: Any = None
        for _ in range(1 + is_complex):
            allowed = (1, 2, 3, 4, 16, 17, 18) if kind == CHAR else tuple(SIZE_OF_TYPE)
            of_type, count, inline = self._tag(allowed, end)
            # In UTF-8 and UTF-16 a character may take several units.
            exact = of_type not in (16, 17)
            if exact and count != entries * SIZE_OF_TYPE[of_type]:
                raise MatDamageError(
                    f"{entries} entries in {count} bytes before byte {self._source.at}"
                )
            if kind == CHAR and count <= 1024:
                numbers = self._kept_text(self._taken(count, inline), of_type)
            elif inline is not None:
                numbers = self._kept_inline(inline, of_type, shape)
            elif kind == CHAR:
                self._source.skip(_padded(count))
            else:
                numbers = self._kept_numbers(of_type, count, shape)
                self._source.skip(_padded(count) - count)
        return None if is_complex else numbers

    def _kept_inline(self, data: bytes, of_type: int, shape: tuple[int, ...]) -> Any:
        return None

    def _taken(self, count: int, inline: bytes | None) -> bytes:
        """The data of an element whose tag was read."""
        if inline is not None:
            return inline
        return self._source.read(_padded(count))[:count]

    def _fields(self, end: int) -> list[str]:
        width = self._numbers((5,), end)
        if len(width) != 1 or width[0] < 1:
            raise MatDamageError(f"field names of width {width} at byte {self._source.at}")
        _, count, inline = self._tag((1, 2, 16), end)
        if count % width[0]:
            raise MatDamageError(f"field names are damaged before byte {self._source.at}")
        data, size = self._taken(count, inline), width[0]
        names = [data[at : at + size] for at in range(0, count, size)]
        return [name.split(b"\0")[0].decode("latin-1") for name in names]

    def _nested(self, end: int, depth: int) -> Any:
        kind, count = struct.unpack(self._order + "II", self._take(8, end))
        if kind != MATRIX or count > end - self._source.at:
            raise MatDamageError(f"type {kind} of {count} bytes at byte {self._source.at}")
        return self.matrix(count, depth + 1)

    def _numbers(self, allowed: tuple[int, ...], end: int) -> tuple[int, ...]:
        of_type, count, inline = self._tag(allowed, end)
        if count > 1024 or count % 4:
            raise MatDamageError(f"{count} bytes of numbers before byte {self._source.at}")
        data = self._taken(count, inline)
        return struct.unpack(f"{self._order}{count // 4}{'i' if of_type == 5 else 'I'}", data)

    def _text(self, end: int) -> str:
        _, count, inline = self._tag((1, 2, 16), end)
        if inline is None and count > 1024:
            self._source.skip(_padded(count))
            return ""
        return self._taken(count, inline).decode("latin-1")

    def _data(self, allowed: tuple[int, ...], end: int) -> None:
        _, count, inline = self._tag(allowed, end)
        if inline is None:
            self._source.skip(_padded(count))

    def _tag(self, allowed: tuple[int, ...], end: int) -> tuple[int, int, bytes | None]:
        """(type, bytes of data, the data where they are in the tag itself)."""
        tag = self._take(8, end)
        kind, count = struct.unpack(self._order + "II", tag)
        inline = None
        if kind >> 16:  # four bytes of tag, four of data
            kind, count = kind & 0xFFFF, kind >> 16
            if count > 4:
                raise MatDamageError(f"{count} bytes in four before byte {self._source.at}")
            inline = tag[4 : 4 + count]
        elif _padded(count) > end - self._source.at:
            raise MatDamageError(f"{count} bytes do not fit at byte {self._source.at}")
        if kind not in allowed:
            raise MatDamageError(f"type {kind} before byte {self._source.at}")
        return kind, count, inline

    def _take(self, count: int, end: int) -> bytes:
        if count > end - self._source.at:
            raise MatDamageError(f"a matrix is cut short at byte {self._source.at}")
        return self._source.read(count)
