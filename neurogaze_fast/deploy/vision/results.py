"""Results as files: a table with a row for each face, the same as Parquet, and JSON."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

from neurogaze_fast.deploy.face import (
    ANSWER_COLUMNS,
    BOX_COLUMNS,
    QUALITY_COLUMNS,
    SMOOTHED_COLUMNS,
    Face,
)
from neurogaze_fast.deploy.vision.parquet import csv_to_parquet, need_pyarrow
from neurogaze_fast.errors import ConfigError, Interrupted

COLUMNS = (
    *("source", "frame", "time_s", "face", *BOX_COLUMNS, *ANSWER_COLUMNS),
    *("id", *QUALITY_COLUMNS, *SMOOTHED_COLUMNS),
)


def row(source: str, frame: int, time_s: float, number: int, face: Face) -> dict[str, Any]:
    """One face as JSON; `number` counts a picture's faces from 0, the surest first."""
    place = {"source": source, "frame": frame, "time_s": round(time_s, 3), "face": number}
    return place | face.row() | {"id": face.identity}


def part_of(path: Path) -> Path:
    """Where a results file lies until it is complete."""
    return path.with_name(path.name + ".part")


class ResultFiles:
    """Rows written as they come, so that hours of video need no memory.

    The table has a row for each face, and one without a face for each picture or frame where none
    was found; JSON has the faces. The files appear under their names when the work ends, also when
    it is interrupted or fails. Where it fails before the first row, or nothing was looked at, what
    was there before stays.
    """

    def __init__(
        self,
        csv_path: Path | None,
        json_path: Path | None,
        about: dict[str, Any],
        *,
        parquet: Path | None = None,
        resume: dict[str, int] | None = None,
    ) -> None:
        """Start the files; `about` is what the results were made with, JSON only.

        Args:
            parquet: written from the table when the work ends.
            resume: go on where :meth:`position` was that.

        Raises:
            ConfigError: pyarrow is not installed, or what should be gone on with is not there.
        """
        self._files: list[tuple[TextIO, Path, Path]] = []
        self._at = resume or {}
        self.rows = self._at.get("rows", 0)
        self._looked = self._at.get("looked", 0)
        self.nothing_looked_at = False
        self.summary: dict[str, Any] = {}
        """Written at the end of the JSON file."""
        self._table, self._json, self._csv_path = None, None, csv_path
        self._parquet = parquet
        if parquet is not None:
            need_pyarrow()
            if csv_path is None:
                raise ConfigError(
                    f"--parquet {parquet} is made from the table: give --csv or --out, too."
                )
        if csv_path is not None:
            file = self._open(csv_path, self._at.get("csv"))
            self._table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if not resume:
                self._table.writeheader()
        if json_path is not None:
            self._json = self._open(json_path, self._at.get("json"))
            if not resume:
                self._json.write(f'{{"about": {json.dumps(about)},\n"faces": [')

    def _open(self, path: Path, kept: int | None) -> TextIO:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path)
        if kept is not None:
            if not part.exists() and path.exists():
                shutil.copyfile(path, part)  # it ended in order, and was named
            if not part.exists() or part.stat().st_size < kept:
                raise ConfigError(
                    f"--resume needs the rows that were written to {part}, but the file is not "
                    "there or is shorter than it was. Start again without --resume."
                )
            os.truncate(part, kept)
        # File names need be no UTF-8; the table is, whatever they are.
        mode: Literal["w", "a"] = "w" if kept is None else "a"
        file = open(part, mode, newline="", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        self._files.append((file, part, path))
        return file

    def position(self) -> dict[str, int]:
        """How far the files are, everything written out."""
        found = {"rows": self.rows, "looked": self._looked}
        for file, _, path in self._files:
            file.flush()
            os.fsync(file.fileno())
            found["csv" if path == self._csv_path else "json"] = file.buffer.tell()
        return found

    def add(self, source: str, frame: int, time_s: float, faces: Sequence[Face]) -> None:
        """Add the faces of one picture or frame."""
        self._looked += 1
        for number, face in enumerate(faces):
            values = row(source, frame, time_s, number, face)
            if self._table is not None:
                self._table.writerow(values)
            if self._json is not None:
                self._json.write((",\n" if self.rows else "\n") + json.dumps(values))
            self.rows += 1
        if not faces and self._table is not None:
            self._table.writerow({"source": source, "frame": frame, "time_s": round(time_s, 3)})

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed = kind is not None and not issubclass(kind, (Interrupted, KeyboardInterrupt))
        if self._json is not None:
            self._json.write(f'\n],\n"summary": {json.dumps(self.summary, indent=2)}}}\n')
        kept = not (self.nothing_looked_at or (failed and not self._looked))
        for file, part, path in self._files:
            file.close()
            if kept:
                os.replace(part, path)
            else:
                part.unlink(missing_ok=True)
        if kept and self._parquet is not None and self._csv_path is not None:
            csv_to_parquet(self._csv_path, self._parquet, COLUMNS)
