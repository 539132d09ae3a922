"""`prepare eeg` and `prepare join` from folder to folder: measure, keep, make maps, never in part.

OUT/measured holds what was measured (:mod:`~neurogaze_fast.eeg.journal`) until the maps are made;
of a shard it is the result. The maps are written in OUT/unfinished and moved to their place when
all of them are there.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.console import counted
from neurogaze_fast.eeg.assemble import Assembly, Progress
from neurogaze_fast.eeg.build import clean_options
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.job import describe, roots
from neurogaze_fast.eeg.joinable import joinable
from neurogaze_fast.eeg.journal import FOLDER, LOCK_FILE, Journal, sole_user
from neurogaze_fast.eeg.map_files import MapWriter, refuse_existing
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.eeg.measure import Found, measured
from neurogaze_fast.eeg.pieces import Piece
from neurogaze_fast.eeg.plots import RatedMeans, plot_band_maps
from neurogaze_fast.eeg.preprocess import CleanOptions
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.sources import demo_options, open_sources, write_demo
from neurogaze_fast.errors import DataError, Interrupted, NeurogazeError

UNFINISHED = "unfinished"
MAPS = "maps"


@dataclass(frozen=True)
class Outcome:
    """What a job made."""

    frame: MapSet | None
    """The set's names, tables and provenance, without its windows; None: of a shard."""
    windows: int
    pieces: int
    """Measured in all."""
    kept: int
    """Of these, how many were there from an earlier start."""


def run_job(config: PrepareEegConfig, progress: Progress, stop: threading.Event) -> Outcome:
    """Measure what the options name, going on where an earlier start stopped, and make the maps.

    With --shard no map is made: OUT/measured is for :func:`join_parts`.

    Raises:
        Interrupted: `stop` was set; what was measured is kept.
        OutputExistsError: OUT holds something else.
        ConfigError, DataError: OUT holds measurements of other options or data; or a reader's.
        RunInUseError: another process is at it.
    """
    out = config.out
    if not _unfinished(out):
        refuse_existing(out)
    with sole_user(out):
        given = _demo(config) if config.demo else config
        sources, where = open_sources(given), roots(given)
        options = clean_options(given)
        job = describe(config, sources, options.sites, where)
        journal = Journal.open(out / FOLDER, job, config.part())
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
        todo, done = journal.mine, journal.done()
        left = [number for number in todo if number not in done]
        try:
            _measure(sources.pieces, left, options, given, journal, where, progress, stop)
        except (NeurogazeError, KeyboardInterrupt) as error:
            if not (kept := len(journal.done())):
                _forget(config)
            if not isinstance(error, NeurogazeError) or stop.is_set():
                raise Interrupted(_stopped(kept, len(todo), journal.folder)) from None
            raise
        if journal.shard is not None:
            return Outcome(None, 0, len(todo), len(done))
        try:
            frame, windows = _finish([journal], out, progress, stop)
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(_stopped(len(todo), len(todo), journal.folder)) from None
        except DataError:  # no window can be used: other options are needed
            _forget(config)
            raise
        return Outcome(frame, windows, len(todo), len(done))


def join_parts(
    parts: Sequence[Path], out: Path, progress: Progress, stop: threading.Event
) -> Outcome:
    """Make the maps of all shards of one job: those of a job that was never divided.

    Raises:
        ConfigError: the parts are of other options or versions, a shard is missing, there twice or
            not finished. DataError: they are of other recordings, or no window can be used.
        ArtifactError: a part is missing, altered, or no shard.
        Interrupted: `stop` was set; nothing was written.
        OutputExistsError: OUT holds something.
    """
    journals = joinable(parts)
    if not _unfinished(out) or (out / FOLDER).exists():
        refuse_existing(out)
    with sole_user(out):
        try:
            frame, windows = _finish(journals, out, progress, stop)
        except NeurogazeError as error:
            shutil.rmtree(out / UNFINISHED, ignore_errors=True)
            if isinstance(error, Interrupted):
                raise Interrupted(
                    "Stopped before the maps were made; nothing was written. The same command "
                    "starts again."
                ) from None
            raise
    pieces = len(journals[0].job["pieces"])
    return Outcome(frame, windows, pieces, 0)


def _unfinished(out: Path) -> bool:
    """Whether a folder is what an earlier start left, to be gone on with."""
    if (out / FOLDER).is_dir():
        return True
    begun = (out / UNFINISHED).is_dir() or (out / LOCK_FILE).exists()
    return begun and not (out / MAPS).exists()


def _forget(config: PrepareEegConfig) -> None:
    """Remove what there is nothing to go on from."""
    shutil.rmtree(config.out / FOLDER)
    if config.demo:
        shutil.rmtree(config.out / "demo")


def _demo(config: PrepareEegConfig) -> PrepareEegConfig:
    """The options that read the demo's files, which are written unless they are there."""
    folder, writing = config.out / "demo", config.out / UNFINISHED / "demo"
    # Files of other options would go unnoticed but for the journal.
    if not (folder.is_dir() and (config.out / FOLDER).is_dir()):
        for old in (folder, writing):
            shutil.rmtree(old, ignore_errors=True)
        write_demo(config, writing)
        writing.rename(folder)
    return demo_options(config, folder)


def _measure(
    pieces: Sequence[Piece],
    left: Sequence[int],
    options: CleanOptions,
    config: PrepareEegConfig,
    journal: Journal,
    where: dict[str, Path],
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Measure the pieces of the numbers `left`, and keep each as soon as it is whole."""

    def trials() -> Iterator[tuple[int, Trial | LeftOut]]:
        for number in left:
            for trial in pieces[number].read():
                yield number, trial

    waiting, found = deque(left), list[Found]()
    for count, (number, each) in enumerate(measured(trials(), options, config), start=1):
        while waiting[0] != number:  # the one before is whole; there may be some without trials
            journal.write(waiting.popleft(), found, where)
            found = []
        found.append(each)
        progress("trials", count, None)
        _heed(stop)
    while waiting:
        journal.write(waiting.popleft(), found, where)
        found = []
    _heed(stop)


def _finish(
    journals: Sequence[Journal], out: Path, progress: Progress, stop: threading.Event
) -> tuple[MapSet, int]:
    """The maps of what is measured: written aside, and moved to OUT when all is there.

    Returns:
        (the set without its windows, how many there are).
    """
    job = journals[0].job
    of = {number: journal for journal in journals for number in journal.mine}

    def found() -> Iterator[Found]:
        for number in range(len(job["pieces"])):
            _heed(stop)
            yield from of[number].load(number)

    def heeding(stage: str, done: int, total: int | None) -> None:
        progress(stage, done, total)
        _heed(stop)

    sites = tuple(job["sites"]) if job["sites"] else None
    edges = {name: (low, high) for name, (low, high) in job["band_edges"].items()}
    # The order is that of --bands, which JSON does not keep.
    edges = {name: edges[name] for name in (text.split("=")[0] for text in job["options"]["bands"])}
    assembly = Assembly(found, job["options"], edges, sites, heeding)
    hashes = _hashes(journals)
    paths = dict.fromkeys(brief.trial.path for brief in assembly.kept)
    named = [
        *(hashes[path.as_posix()] for path in paths),
        *((label, sha256) for _, label, sha256 in job["beside"]),
    ]
    files = [{"file": label, "sha256": sha256} for label, sha256 in named]
    frame = assembly.frame(files, synthetic=job["synthetic"])
    writing = out / UNFINISHED
    shutil.rmtree(writing, ignore_errors=True)
    writer = MapWriter(writing / MAPS, synthetic=frame.synthetic)
    means = RatedMeans(frame.provenance, frame.subjects)
    for block in assembly.blocks():
        writer.add(block)
        means.add(block)
    writer.finish(frame)
    plot_band_maps(frame, writing / "maps.png", means)
    summary = json.dumps(frame.provenance, indent=2) + "\n"
    atomic_write(writing / "summary.json", summary.encode())
    shutil.rmtree(out / MAPS, ignore_errors=True)  # of a start that ended right here
    for name in ("maps.png", "summary.json", MAPS):
        (writing / name).replace(out / name)
    if (out / FOLDER).exists():  # at once, so that no half of it is taken for a journal
        (out / FOLDER).rename(writing / FOLDER)
    shutil.rmtree(writing)
    return frame, len(assembly)


def _hashes(journals: Sequence[Journal]) -> dict[str, list[str]]:
    """Identity -> label and SHA-256 of every recording."""
    hashes: dict[str, list[str]] = {}
    for journal in journals:
        for name, found in journal.hashes.items():
            if hashes.setdefault(name, found)[1] != found[1]:
                raise DataError(
                    f"The parts were measured from other data: {name} is not the same for "
                    f"{journal.folder} as for those before it. Measure again from the same files."
                )
    return hashes


def _heed(stop: threading.Event) -> None:
    if stop.is_set():
        raise Interrupted("Stopped.")


def _stopped(kept: int, of: int, folder: Path) -> str:
    if not kept:
        return "Stopped before anything was measured; nothing was written. Run it again."
    return (
        f"Stopped with {kept} of {counted(of, 'part')} of the recordings measured, which are kept "
        f"in {folder}. The same command goes on from there."
    )
