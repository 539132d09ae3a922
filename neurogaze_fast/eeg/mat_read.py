"""Reads a variable of a MATLAB 5 file in one pass, with memory for one matrix at a time.

A file such as DREAMER.mat is one compressed struct, and scipy holds all of it in memory several
times over. Here every large matrix goes to a temporary file as it is inflated, and stands in the
result as an array mapped from that file: it takes memory while somebody looks at it.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from neurogaze_fast.eeg.mat_check import Walker, walk_mat

SMALL = 1 << 16
"""Bytes: smaller matrices are kept in memory."""
SEGMENT = 16 << 20
"""Bytes of the temporary file that are mapped together. A map holds a descriptor of the file, and a
process may have about a thousand of them: DREAMER.mat has more large matrices than that."""
_CHUNK = 1 << 20
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
_UTF_16 = (3, 4, 17)


def read_mat(path: Path, name: str) -> Any:
    """The variable `name`, as :func:`read_mats` gives it; None where there is none."""
    return read_mats(path).get(name)


def read_mats(path: Path) -> dict[str, Any]:
    """All variables, nested as scipy.io.loadmat nests them.

    Structs are arrays of records, cells arrays of objects, texts arrays of one string. What EEG has
    no use for (sparse, complex, functions) is None. The whole file is checked as
    :func:`~neurogaze_fast.eeg.mat_check.check_mat` does.

    Raises:
        MatDamageError: a type code is unknown, or an element does not fit into what holds it.
        zlib.error: compressed data are damaged.
        OSError: the file cannot be read, or there is no room for the temporary file.
    """
    with tempfile.TemporaryFile(prefix="neurogaze-mat-") as spill:
        room = _Spill(spill)
        found = walk_mat(path, lambda source, order: _Reader(source, order, room))
    return {each.name: each.value for each in found}


class _Spill:
    """A temporary file for large matrices, mapped segment by segment.

    The system removes the file once nobody maps it any more, and the memory of a segment is let go
    of with its last matrix.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._map: mmap.mmap | None = None
        self._start = self._end = self._free = 0  # of the segment, and in it, as places in the file

    def room(self, count: int) -> tuple[mmap.mmap, int]:
        """A map, and where in it `count` bytes are free; the file is at that place."""
        start = -(-self._free // 8) * 8  # numbers must lie at a multiple of their size
        if self._map is None or start + count > self._end:
            page = mmap.ALLOCATIONGRANULARITY
            start = self._start = -(-start // page) * page
            self._end = start + max(SEGMENT, count)
            # Not written yet: a hole takes no room on the disk.
            os.truncate(self._file.fileno(), self._end)
            self._map = mmap.mmap(
                self._file.fileno(), self._end - start, access=mmap.ACCESS_READ, offset=start
            )
        self._file.seek(start)
        self._free = start + count
        return self._map, start - self._start

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def flush(self) -> None:
        """Make what was written visible in the maps."""
        self._file.flush()


class _Reader(Walker):
    def __init__(self, source: Any, order: str, spill: _Spill) -> None:
        super().__init__(source, order)
        self._spill = spill

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, 0))

    def _dtype(self, of_type: int) -> np.dtype:
        return np.dtype(self._order + _DTYPES[of_type])

    def _kept_numbers(self, of_type: int, count: int, shape: tuple[int, ...]) -> Any:
        if of_type not in _DTYPES:
            self._source.skip(count)
            return None
        dtype = self._dtype(of_type)
        if count <= SMALL:
            flat = np.frombuffer(self._source.read(count), dtype)
            return flat.reshape(shape, order="F")
        mapped, offset = self._spill.room(count)
        left = count
        while left:
            self._spill.write(self._source.read(min(left, _CHUNK)))
            left -= min(left, _CHUNK)
        self._spill.flush()
        return np.ndarray(shape, dtype, mapped, offset, order="F")

    def _kept_inline(self, data: bytes, of_type: int, shape: tuple[int, ...]) -> Any:
        if of_type not in _DTYPES:
            return None
        return np.frombuffer(data, self._dtype(of_type)).reshape(shape, order="F")

    def _kept_cells(self, entries: list[Any], shape: tuple[int, ...], fields: list[str]) -> Any:
        count = math.prod(shape)
        if not fields:
            cells = np.empty(count, object)
            for at, entry in enumerate(entries):
                cells[at] = entry
            return cells.reshape(shape, order="F")
        records = np.empty(count, [(name, object) for name in fields])
        for at, entry in enumerate(entries):
            records[fields[at % len(fields)]][at // len(fields)] = entry
        return records.reshape(shape, order="F")

    def _kept_text(self, data: bytes, of_type: int) -> np.ndarray:
        wide = "utf-16-le" if self._order == "<" else "utf-16-be"
        encoding = wide if of_type in _UTF_16 else "utf-32" if of_type == 18 else "utf-8"
        return np.array([data.decode(encoding, errors="replace")])
