"""Results as files: a table with a row for each face, and JSON with everything."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from neurogaze_fast.deploy.face import ANSWER_COLUMNS, BOX_COLUMNS, Face
from neurogaze_fast.errors import Interrupted

COLUMNS = ("source", "frame", "time_s", "face", *BOX_COLUMNS, *ANSWER_COLUMNS)


def row(source: str, frame: int, time_s: float, number: int, face: Face) -> dict[str, Any]:
    """One face as JSON; `number` counts a picture's faces from 0, the surest first."""
    place = {"source": source, "frame": frame, "time_s": round(time_s, 3), "face": number}
    return place | face.row()


def part_of(path: Path) -> Path:
    """Where a results file lies until it is complete."""
    return path.with_name(path.name + ".part")


class ResultFiles:
    """Rows written as they come, so that hours of video need no memory.

    Both files appear under their names when the work ends, also when it is interrupted or fails.
    Where it fails before the first row, or nothing was looked at, what was there before stays.
    """

    def __init__(
        self, csv_path: Path | None, json_path: Path | None, about: dict[str, Any]
    ) -> None:
        """Start the files; `about` is what the results were made with, JSON only."""
        self._files: list[tuple[TextIO, Path, Path]] = []
        self.rows = 0
        self.nothing_looked_at = False
        self.summary: dict[str, Any] = {}
        """Written at the end of the JSON file."""
        self._table, self._json = None, None
        if csv_path is not None:
            self._table = csv.DictWriter(self._open(csv_path), COLUMNS, lineterminator="\n")
            self._table.writeheader()
        if json_path is not None:
            self._json = self._open(json_path)
            self._json.write(f'{{"about": {json.dumps(about)},\n"faces": [')

    def _open(self, path: Path) -> TextIO:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path)
        # File names need be no UTF-8; the table is, whatever they are.
        file = open(part, "w", newline="", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        self._files.append((file, part, path))
        return file

    def add(self, source: str, frame: int, time_s: float, faces: Sequence[Face]) -> None:
        """Add the faces of one picture or frame."""
        for number, face in enumerate(faces):
            values = row(source, frame, time_s, number, face)
            if self._table is not None:
                self._table.writerow(values)
            if self._json is not None:
                self._json.write((",\n" if self.rows else "\n") + json.dumps(values))
            self.rows += 1

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
        for file, part, path in self._files:
            file.close()
            if self.nothing_looked_at or (failed and not self.rows):
                part.unlink(missing_ok=True)
            else:
                os.replace(part, path)
