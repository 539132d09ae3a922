"""Predict over files: read, analyse, annotate, write, and keep count."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.console import counted
from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.annotate import annotate, save_picture
from neurogaze_fast.deploy.vision.inputs import Input, Skipped, read_picture
from neurogaze_fast.deploy.vision.results import ResultFiles, part_of
from neurogaze_fast.deploy.vision.video import CopyError, VideoReader, VideoWriter
from neurogaze_fast.errors import ConfigError, Interrupted
from neurogaze_fast.pictures import CorruptImage

CHUNK_IMAGES = 32
CHUNK_PIXELS = 32_000_000
"""Pictures and frames are analysed together, so that the engine gets a batch of their faces; memory
holds no more than these."""
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
        done = 0
        for video, some in groupby(inputs, key=lambda item: item.video):
            if video:
                for item in some:
                    self._go_on()
                    progress("files", done, len(inputs))
                    self._video(item, progress)
                    done += 1
            else:
                pictures = list(some)
                for chunk in in_chunks(self._read(pictures)):
                    self._go_on()
                    progress("files", done + chunk[0][0], len(inputs))
                    self._pictures([(pictures[i], image) for i, image in chunk])
                done += len(pictures)
        progress("files", len(inputs), len(inputs))

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Interrupted(
                f"Stopped after {counted(self.summary.pictures, 'picture')} and "
                f"{counted(self.summary.frames, 'frame')}. "
                f"Their copies are in {self._out}, and their results are written."
            )

    def _read(self, pictures: Sequence[Input]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, pixels) of each picture that can be read; the others are noted."""
        for number, item in enumerate(pictures):
            try:
                yield number, read_picture(item.path)
            except CorruptImage as reason:
                self.summary.skipped.append(Skipped(item.path, str(reason)))

    def _analyse(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        started = time.perf_counter()
        faces = self._analyser.faces(images)
        self.summary.seconds += time.perf_counter() - started
        return faces

    def _pictures(self, chunk: Sequence[tuple[Input, np.ndarray]]) -> None:
        found = self._analyse([image for _, image in chunk])
        for (item, image), faces in zip(chunk, found, strict=True):
            self.summary.pictures += 1
            self.summary.count(faces)
            self._results.add(str(item.path), 0, 0.0, faces)
            with self._copying(item):
                save_picture(self._out / item.name, annotate(image, faces, whole=self._whole))

    @contextlib.contextmanager
    def _copying(self, item: Input) -> Iterator[None]:
        """Note a copy that cannot be written, and go on: the results are written anyway."""
        try:
            yield
        except CopyError as reason:
            self.summary.skipped.append(Skipped(item.path, str(reason)))

    def _video(self, item: Input, progress: Progress) -> None:
        try:
            reader = VideoReader(item.path)
        except CorruptImage as reason:
            self.summary.skipped.append(Skipped(item.path, str(reason)))
            return
        self.summary.videos += 1
        stage = f"frames of {item.path.name}"
        faces: list[Face] = []
        with (
            self._copying(item),
            VideoWriter(self._out / item.name, reader.fps) as writer,
            contextlib.closing(iter(reader)) as frames,  # ends ffmpeg, whatever happens here
        ):
            for chunk in in_chunks(enumerate(frames)):
                self._go_on()
                looked = [(number, image) for number, image in chunk if number % self._every == 0]
                found = self._analyse([image for _, image in looked])
                answers = dict(zip((number for number, _ in looked), found, strict=True))
                for number, image in chunk:
                    if number in answers:
                        faces = answers[number]
                        self.summary.frames += 1
                        self.summary.count(faces)
                        self._results.add(str(item.path), number, number / reader.fps, faces)
                    writer.write(annotate(image, faces, whole=self._whole))
                progress(stage, chunk[-1][0] + 1, reader.expected)
        if reader.trouble:
            self.summary.skipped.append(Skipped(item.path, reader.trouble))


def in_chunks(images: Iterable[tuple[int, np.ndarray]]) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Numbered pictures or frames in lists of at most :data:`CHUNK_IMAGES`, and of at most
    :data:`CHUNK_PIXELS` but for one that is larger by itself."""
    chunk: list[tuple[int, np.ndarray]] = []
    pixels = 0
    for number, image in images:
        size = image.shape[0] * image.shape[1]
        if chunk and (len(chunk) == CHUNK_IMAGES or pixels + size > CHUNK_PIXELS):
            yield chunk
            chunk, pixels = [], 0
        chunk.append((number, image))
        pixels += size
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
    real = os.path.realpath  # unlike Path's, no error for links in a circle
    sources = {real(path) for path in (*(i.path for i in inputs), *([model] if model else ()))}
    written = set()
    for item, folder in ((item, out) for item in inputs if out is not None):
        copy = folder / item.name
        if real(copy) in sources:
            raise ConfigError(
                f"The annotated copy of {item.path} would replace {copy}, which is one of the "
                "files to read. Give another --out."
            )
        written.add(real(copy))
    for table in tables:
        for path in (table, part_of(table)):
            target, what = real(path), ""
            if os.path.isdir(target):
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
