"""Predict over files: read, analyse, annotate, write, and keep count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.deploy.vision.analyse import Analyser, Face
from neurogaze_fast.deploy.vision.annotate import annotate, save_picture
from neurogaze_fast.deploy.vision.inputs import Input, Skipped, read_picture
from neurogaze_fast.deploy.vision.results import ResultFiles, part_of
from neurogaze_fast.deploy.vision.video import VideoReader, VideoWriter
from neurogaze_fast.errors import ConfigError, Interrupted
from neurogaze_fast.faces.decode import CorruptImage

CHUNK_IMAGES = 32
CHUNK_PIXELS = 32_000_000
"""Images are analysed together, so that the engine gets a batch; no more than this many pixels."""
Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, how much of it is done, and how much there is (None: unknown)."""


@dataclass
class Summary:
    """What happened to the files."""

    pictures: int = 0
    videos: int = 0
    frames: int = 0
    """Of videos and cameras, looked at."""
    faces: int = 0
    without_face: int = 0
    """Pictures and frames in which no face was found."""
    skipped: list[Skipped] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """Spent on finding faces and predicting, without reading and writing."""

    def count(self, faces: Sequence[Face]) -> None:
        """Add the faces of one picture or frame."""
        self.faces += len(faces)
        self.without_face += not faces
        self.labels.update(face.label for face in faces)

    def to_json(self, analyser: Analyser) -> dict[str, Any]:
        """Everything, for the results file."""
        return {
            "pictures": self.pictures, "videos": self.videos, "frames": self.frames,
            "faces": self.faces, "without_face": self.without_face,
            "left_out": dict(analyser.left_out), "labels": dict(self.labels.most_common()),
            "seconds": round(self.seconds, 3),
            "skipped": [{"source": str(s.path), "reason": s.reason} for s in self.skipped],
        }  # fmt: skip


class FilePredictor:
    """Pictures and videos through an analyser into annotated copies and results."""

    def __init__(
        self,
        analyser: Analyser,
        results: ResultFiles,
        out: Path,
        summary: Summary,
        *,
        every: int = 1,
        stop: threading.Event | None = None,
    ) -> None:
        """`summary` is counted up; `stop` is looked at between pictures and frames, and ends it."""
        self._analyser, self._results, self._out, self._every = analyser, results, out, every
        self._whole = analyser.finder.detector is None
        self._stop = stop or threading.Event()
        self.summary = summary

    def run(self, inputs: Sequence[Input], progress: Progress) -> None:
        """Work through all files; what cannot be read is noted and left out.

        Raises:
            Interrupted: `stop` was set; everything up to there is written.
        """
        for done, group in self._groups(inputs):
            self._go_on()
            progress("files", done, len(inputs))
            if group[0][0].video:
                self._video(group[0][0], progress)
            else:
                self._pictures(group)
        progress("files", len(inputs), len(inputs))

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Interrupted(
                f"Stopped after {self.summary.pictures} pictures and {self.summary.frames} frames. "
                f"Their copies are in {self._out}, and their results are written."
            )

    def _groups(
        self, inputs: Sequence[Input]
    ) -> Iterator[tuple[int, list[tuple[Input, np.ndarray | None]]]]:
        """(files before, files) with a video alone, and pictures decoded, several together."""
        group: list[tuple[Input, np.ndarray | None]] = []
        pixels = 0
        for number, item in enumerate(inputs):
            image = None
            if not item.video:
                try:
                    image = read_picture(item.path)
                except CorruptImage as reason:
                    self.summary.skipped.append(Skipped(item.path, str(reason)))
                    continue
                pixels += image.shape[0] * image.shape[1]
                group.append((item, image))
            if group and (item.video or len(group) == CHUNK_IMAGES or pixels > CHUNK_PIXELS):
                yield number, group
                group, pixels = [], 0
            if item.video:
                yield number, [(item, None)]
        if group:
            yield len(inputs), group

    def _analyse(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        started = time.perf_counter()
        faces = self._analyser.faces(images)
        self.summary.seconds += time.perf_counter() - started
        return faces

    def _pictures(self, group: Sequence[tuple[Input, np.ndarray | None]]) -> None:
        images = [image for _, image in group if image is not None]
        for (item, _), image, faces in zip(group, images, self._analyse(images), strict=True):
            self.summary.pictures += 1
            self.summary.count(faces)
            self._results.add(str(item.path), 0, 0.0, faces)
            copy = self._out / item.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            save_picture(copy, annotate(image, faces, whole=self._whole))

    def _video(self, item: Input, progress: Progress) -> None:
        try:
            reader = VideoReader(item.path)
        except CorruptImage as reason:
            self.summary.skipped.append(Skipped(item.path, str(reason)))
            return
        self.summary.videos += 1
        stage, read = f"frames of {item.path.name}", 0
        faces: list[Face] = []
        with VideoWriter(self._out / item.name, reader.fps) as writer:
            for chunk in _chunks(reader):
                self._go_on()
                looked = [i for i in range(len(chunk)) if (read + i) % self._every == 0]
                found = dict(zip(looked, self._analyse([chunk[i] for i in looked]), strict=True))
                for i, image in enumerate(chunk):
                    if i in found:
                        faces = found[i]
                        self.summary.frames += 1
                        self.summary.count(faces)
                        at = (read + i) / reader.fps
                        self._results.add(str(item.path), read + i, at, faces)
                    writer.write(annotate(image, faces, whole=self._whole))
                read += len(chunk)
                progress(stage, read, reader.expected)
        if reader.trouble:
            self.summary.skipped.append(Skipped(item.path, reader.trouble))


def _chunks(reader: VideoReader) -> Iterator[list[np.ndarray]]:
    """Frames in lists of at most :data:`CHUNK_IMAGES` and :data:`CHUNK_PIXELS`."""
    most = max(1, min(CHUNK_IMAGES, CHUNK_PIXELS // (reader.width * reader.height)))
    chunk: list[np.ndarray] = []
    with contextlib.closing(iter(reader)) as frames:
        for image in frames:
            chunk.append(image)
            if len(chunk) == most:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def refuse_overwriting(
    inputs: Sequence[Input], out: Path | None, tables: Sequence[Path], model: Path | None
) -> None:
    """Refuse to write over a file that is to be read, or one file twice.

    Args:
        tables: The results files.

    Raises:
        ConfigError: a file to write has the path of an input, of the model, or of another one.
    """
    sources = {path.resolve() for path in (*(i.path for i in inputs), *([model] if model else ()))}
    written = set()
    for item in inputs if out is not None else ():
        copy = out / item.name
        if copy.resolve() in sources:
            raise ConfigError(
                f"The annotated copy of {item.path} would replace {copy}, which is one of the "
                "files to read. Give another --out."
            )
        written.add(copy.resolve())
    for table in tables:
        for path in (table, part_of(table)):
            target, what = path.resolve(), ""
            if target.is_dir():
                what = "a folder"
            elif target in sources:
                what = "one of the files to read"
            elif target in written:
                what = "written by this run already"
            if what:
                raise ConfigError(
                    f"The results cannot be written to {table}: {path} is {what}. Give --csv and "
                    "--json other names."
                )
            written.add(target)
