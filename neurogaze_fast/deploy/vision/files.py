"""Predict over files: read, analyse, annotate, write, and keep count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.console import counted
from neurogaze_fast.deploy.face import Face
from neurogaze_fast.deploy.vision.ahead import ahead
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.annotate import annotate, save_picture
from neurogaze_fast.deploy.vision.copies import PiecedCopy
from neurogaze_fast.deploy.vision.film import NO_PIECES, FilmOptions, Shown, watch_film
from neurogaze_fast.deploy.vision.inputs import Input, Skipped, read_picture
from neurogaze_fast.deploy.vision.openings import Openings
from neurogaze_fast.deploy.vision.overwriting import timeline_name
from neurogaze_fast.deploy.vision.persons import Persons
from neurogaze_fast.deploy.vision.results import ResultFiles
from neurogaze_fast.deploy.vision.resume import Journal
from neurogaze_fast.deploy.vision.timeline import draw_timeline
from neurogaze_fast.deploy.vision.video import CopyError
from neurogaze_fast.errors import Interrupted
from neurogaze_fast.pictures import CorruptImage

CHUNK_IMAGES = 32
CHUNK_PIXELS = 32_000_000
"""Pictures and frames are analysed together, so that the engine gets a batch of their faces; memory
holds no more than these."""
PIECE_S = 60.0
"""Long videos can be gone on with after each such piece."""
SHOWN = 8
"""Pictures whose faces are told on the terminal."""
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
    """Spent on pictures and frames, reading and writing included, which run beside the rest."""
    persons: dict[str, Any] = field(default_factory=dict)
    """Of each video, by its name: what each person in it expressed."""

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
            "videos_persons": self.persons,
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Everything, to go on with later."""
        kept = {name: getattr(self, name) for name in _COUNTED}
        skipped = [[str(s.path), s.reason] for s in self.skipped]
        return {**kept, "skipped": skipped, "labels": dict(self.labels)}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on with what :meth:`state` gave."""
        for name in _COUNTED:
            setattr(self, name, saved[name])
        self.skipped = [Skipped(Path(path), reason) for path, reason in saved["skipped"]]
        self.labels = Counter(saved["labels"])


_COUNTED = ("pictures", "videos", "frames", "faces", "without_face", "seconds", "persons")


class FilePredictor:
    """Pictures and videos through an analyser into annotated copies and results."""

    def __init__(
        self,
        analyser: Analyser,
        results: ResultFiles,
        out: Path,
        summary: Summary,
        *,
        options: FilmOptions | None = None,
        stop: threading.Event | None = None,
        journal: Journal | None = None,
        state: dict[str, Any] | None = None,
        openings: Openings | None = None,
    ) -> None:
        """`summary` is counted up; `stop` is looked at between pictures and frames, and ends it;
        `journal` is told what is done, and `state` is what it had, to go on with; `openings`
        may have begun already."""
        self._openings = openings or Openings(())
        self._analyser, self._results, self._out = analyser, results, out
        self._options = options or FilmOptions()
        self._whole = analyser.finder.detector is None
        self._stop = stop or threading.Event()
        self._journal, self._state = journal, state or {}
        self.summary = summary
        self.shown: list[tuple[str, list[Face]]] = []
        """The first :data:`SHOWN` pictures with their faces, for the terminal."""
        if state:
            summary.restore(state["summary"])
            analyser.left_out.update(state["left_out"])

    def run(self, inputs: Sequence[Input], progress: Progress) -> None:
        """Work through all files; what cannot be read is noted and left out.

        Raises:
            Interrupted: `stop` was set; everything up to there is written.
        """
        done = self._state.get("done", 0)
        for video, some in groupby(inputs[done:], key=lambda item: item.video):
            if video:
                for item in some:
                    self._go_on()
                    progress("files", done, len(inputs))
                    self._video(item, progress, done)
                    done += 1
                    self._save(done)
            else:
                pictures = list(some)
                for first, chunk in self._looked_at(pictures):
                    self._go_on()
                    progress("files", done + first, len(inputs))
                    self._pictures(chunk)
                    self._save(done + first + 1)
                done += len(pictures)
        progress("files", len(inputs), len(inputs))
        if self._journal is not None:
            self._journal.finish()

    def _save(self, done: int, **video: Any) -> None:
        if self._journal is not None:
            self._journal.save({
                "done": done, "position": self._results.position(), "video": video,
                "summary": self.summary.state(), "left_out": dict(self._analyser.left_out),
            })  # fmt: skip

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Interrupted(
                f"Stopped after {counted(self.summary.pictures, 'picture')} and "
                f"{counted(self.summary.frames, 'frame')}. "
                f"Their copies are in {self._out}, and their results are written. The same command "
                "with --resume goes on."
            )

    def _read(self, pictures: Sequence[Input]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, pixels) of each picture that can be read; the others are noted."""
        for number, item in enumerate(pictures):
            try:
                yield number, read_picture(item.address or item.path)
            except CorruptImage as reason:
                self.summary.skipped.append(Skipped(item.path, str(reason)))

    def _looked_at(self, pictures: Sequence[Input]) -> Iterator[tuple[int, list[Looked]]]:
        """(number of the last, pictures with their faces) by chunks; searched two at a time while
        the next are read."""
        chunks = ahead(in_chunks(self._read(pictures)), 1)
        with contextlib.closing(chunks), ThreadPoolExecutor(2) as pool:
            for chunk in chunks:
                begun = time.perf_counter()
                found = pool.map(self._analyser.find, [image for _, image in chunk])
                faces = self._analyser.answers(found)
                self.summary.seconds += time.perf_counter() - begun
                looked = [
                    Looked(pictures[number], image, answer)
                    for (number, image), answer in zip(chunk, faces, strict=True)
                ]
                yield chunk[-1][0], looked

    def _pictures(self, chunk: Sequence[Looked]) -> None:
        def copy(look: Looked) -> None:
            drawn = annotate(look.image, look.faces, whole=self._whole)
            save_picture(self._out / look.item.name, drawn)

        with ThreadPoolExecutor(2) as pool:
            copies = [pool.submit(copy, look) for look in chunk]
        for look, copied in zip(chunk, copies, strict=True):
            self.summary.pictures += 1
            self.summary.count(look.faces)
            self._results.add(look.item.source, 0, 0.0, look.faces)
            if len(self.shown) < SHOWN:
                self.shown.append((look.item.source, look.faces))
            with self._copying(look.item):
                copied.result()

    @contextlib.contextmanager
    def _copying(self, item: Input) -> Iterator[None]:
        """Note a copy that cannot be written, and go on: the results are written anyway."""
        try:
            yield
        except CopyError as reason:
            self.summary.skipped.append(Skipped(item.path, str(reason)))

    def _video(self, item: Input, progress: Progress, done: int) -> None:
        try:
            reader = self._openings.open(item)
        except CorruptImage as reason:
            self.summary.skipped.append(Skipped(item.path, str(reason)))
            return
        begun = self._state.pop("video", None) or None
        if begun is None:
            self.summary.videos += 1
        piece = self._options.every * max(1, round(PIECE_S * reader.fps / self._options.every))
        long = self._journal is not None and (reader.expected or 0) > 2 * piece
        start = begun["frame"] if begun else 0
        persons = Persons.from_json(begun["persons"]) if begun else Persons()
        copies = PiecedCopy(self._out, item.name, reader.fps, start // piece if long else 0, long)
        stage = f"frames of {item.path.name}"
        clock = time.perf_counter()
        with (
            self._copying(item),
            contextlib.ExitStack() as at_the_end,
            copies,
            contextlib.closing(iter(reader)) as frames,  # ends ffmpeg, whatever happens here
        ):
            at_the_end.callback(self._tell_persons, item, persons)
            film = watch_film(
                islice(enumerate(frames), start, None), reader.fps, self._analyser, self._options,
                pixels=reader.width * reader.height, piece=piece if long else NO_PIECES,
                state=begun["state"] if begun else None,
            )  # fmt: skip
            with contextlib.closing(film):
                for group in film:
                    self._go_on()
                    for shown in group:
                        if long and shown.before is not None and shown.number > start:
                            copies.next_piece()
                            self._save(
                                done, frame=shown.number, state=shown.before,
                                persons=persons.to_json(),
                            )  # fmt: skip
                        self._frame(item, shown, shown.number / reader.fps, persons)
                        copies.write(shown.drawn)
                    progress(stage, group[-1].number + 1, reader.expected)
                    self.summary.seconds += time.perf_counter() - clock
                    clock = time.perf_counter()
        if reader.trouble:
            self.summary.skipped.append(Skipped(item.path, reader.trouble))

    def _frame(self, item: Input, shown: Shown, time_s: float, persons: Persons) -> None:
        if shown.looked:
            self.summary.frames += 1
            self.summary.count(shown.faces)
            self._results.add(item.source, shown.number, time_s, shown.faces)
            persons.add(time_s, shown.faces)

    def _tell_persons(self, item: Input, persons: Persons) -> None:
        """What a video's persons expressed, and its timeline; of the part that was looked at."""
        if not persons.all:
            return
        self.summary.persons[item.source] = persons.summary()
        with self._copying(item):
            timeline = draw_timeline(persons, item.path.name)
            save_picture(self._out / timeline_name(item.name), timeline)


@dataclass(frozen=True)
class Looked:
    """A picture and its faces."""

    item: Input
    image: np.ndarray
    faces: list[Face]


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
