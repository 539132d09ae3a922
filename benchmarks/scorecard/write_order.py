"""R4: what the order of a writer's system calls promises for a power cut."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.scorecard.checkpoints import save, third_save
from benchmarks.scorecard.processes import Call, traced
from benchmarks.scorecard.row import Counted, row


def write_checkpoint(place: Path) -> Callable[[], None]:
    """A third save, as training makes it."""
    return third_save(place, save)


def write_bank(place: Path) -> Callable[[], None]:
    """A prototype bank."""
    from neurogaze_fast.prototypes.bank import demo_bank

    place.mkdir()
    return functools.partial(demo_bank(width=16).save, place / "bank.safetensors")


def write_model(place: Path) -> Callable[[], None]:
    """A trained model's file."""
    from neurogaze_fast.student.inference import save_model
    from neurogaze_fast.student.networks import build_student

    place.mkdir()
    model = build_student("compact-half")
    facts = {"size": 16, "flip": False, "synthetic": True}
    return functools.partial(
        save_model, place / "model.safetensors", model, model.state_dict(), facts
    )


def write_settings(place: Path) -> Callable[[], None]:
    """A run's config.json."""
    from neurogaze_fast.student.config import TrainConfig
    from neurogaze_fast.training.run_folder import write_config

    place.mkdir()
    return functools.partial(write_config, place, TrainConfig(), {})


WRITERS = (write_checkpoint, write_bank, write_model, write_settings)


def without_fsync(prepare: Callable[[Path], Callable[[], None]], place: Path) -> Callable[[], None]:
    """The same writer where fsync does nothing."""
    call = prepare(place)
    os.fsync = lambda descriptor: None
    return call


def disorder(calls: list[Call], folder: str) -> tuple[int, list[str]]:
    """(files written, each step that a power cut could make visible before the one it rests on)."""
    files, faults = 0, []
    dirty: set[str] = set()
    renamed = ""
    for call in calls:
        path = call.words.partition("<")[2].partition(">")[0]
        named = [part for part in call.words.split('"') if part.startswith(folder)]
        if call.name in ("write", "pwrite64", "ftruncate"):
            dirty.add(path)
            if not path.endswith(".tmp"):
                faults.append(f"{path} is written in place")
        elif call.name == "fsync":
            dirty.discard(path)
            if renamed and os.path.dirname(renamed) == path:
                renamed = ""
        elif call.name in ("rename", "renameat", "renameat2"):
            files += 1
            if named[0] in dirty:
                faults.append(f"{named[1]} takes its name before its contents are safe")
            if renamed:
                faults.append(f"{named[1]} takes its name before that of {renamed} is safe")
            renamed = named[1]
        elif call.name in ("unlink", "unlinkat") and renamed:
            faults.append(f"{named[0]} goes before the name of {renamed} is safe")
    if renamed:
        faults.append(f"the name of {renamed} is never made safe")
    return files, [fault.replace(folder + "/", "") for fault in faults]


def _ordered(folder: Path, safe: bool) -> Counted:
    files, faults = 0, []
    for writer in WRITERS:
        place = folder / writer.__name__
        log = folder / f"{writer.__name__}.log"
        if safe:
            code, calls = traced(writer, place, log=log)
        else:
            code, calls = traced(without_fsync, writer, place, log=log)
        if code != 0:
            raise RuntimeError(f"{writer.__name__} ended with {code}")
        found, wrong = disorder([c for c in calls if str(place) in c.words], str(place))
        files += found
        faults += wrong
    figure = f"{files} files of {len(WRITERS)} kinds: write, fsync, rename, fsync of the folder"
    return Counted(files, len(faults), figure, {"disorder": faults})


def _no_fsync(folder: Path) -> Counted:
    found = _ordered(folder, safe=False)
    return Counted(found.n, found.failures, f"fsync taken out: {found.failures} steps unsafe")


@row(
    "R4",
    "a power cut: what the order of the system calls promises",
    "contents are safe before their name, the name before anything that rests on it",
    _no_fsync,
)
def order_of_calls(folder: Path, scale: float) -> Counted:
    return _ordered(folder, safe=True)
