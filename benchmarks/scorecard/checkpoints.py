"""R1, R2, R3 and R5: a save that is killed or refused by the disk, and damaged checkpoints."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.scorecard.processes import Call, context, start, traced
from benchmarks.scorecard.row import Counted, row

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SMALL = 100
"""Values of a state whose saves are traced."""
LARGE = 11_250_000
"""Float32 values of 45 MB, the weights of a ResNet-18."""


def state_of(step: int, values: int = SMALL) -> dict[str, Any]:
    """A state that shows which step it is of in every value."""
    import torch

    return {"step": step, "weights": torch.full((values,), float(step))}


def save(folder: Path, step: int, values: int = SMALL) -> None:
    """What training does."""
    from neurogaze_fast.training.checkpoint import save_checkpoint

    save_checkpoint(folder, "last", step, state_of(step, values))


def save_plainly(folder: Path, step: int, values: int = SMALL) -> None:
    """What most training scripts do: torch.save over the one file."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state_of(step, values), folder / "last.pt")


def newest(folder: Path) -> tuple[int, list[str]]:
    """(step of what a resumed run would take up, what it passed over); step -1: nothing whole."""
    import torch

    from neurogaze_fast.errors import CheckpointError
    from neurogaze_fast.training.checkpoint import newest_checkpoint

    skipped: list[str] = []
    try:
        if (folder / "last.pt").exists():
            state = torch.load(folder / "last.pt", weights_only=True)
        else:
            state, _, skipped = newest_checkpoint(folder, "last")
        whole = bool((state["weights"] == float(state["step"])).all())
    except (CheckpointError, RuntimeError, EOFError, OSError, KeyError, ValueError):
        return -1, skipped
    return (state["step"] if whole else -1), skipped


def leftovers(folder: Path) -> list[str]:
    """Temporary files that two more saves did not sweep away."""
    save(folder, 8)
    save(folder, 9)
    return [path.name for path in folder.rglob("*.tmp")]


def third_save(folder: Path, saver: Callable[..., None], expected: int = 0) -> Callable[[], None]:
    """Two saves now; the third when called, ending the process with 75 at an expected error."""
    for step in (0, 1):
        saver(folder, step)

    def call() -> None:
        try:
            saver(folder, 2)
        except OSError as error:
            os._exit(75 if error.errno == expected else 1)

    return call


def calls_of(folder: Path, saver: Callable[..., None]) -> list[Call]:
    """The system calls of a third save that touch its folder."""
    code, calls = traced(third_save, folder / "saves", saver, log=folder / "strace.log")
    if code != 0:
        raise RuntimeError(f"a save that nothing disturbs ended with {code}")
    return [call for call in calls if str(folder / "saves") in call.words]


def _some(points: list[Any], scale: float) -> list[Any]:
    return points if scale >= 1 else points[:: max(1, round(1 / scale))]


def _killed(folder: Path, saver: Callable[..., None], scale: float) -> Counted:
    """SIGKILL in place of each system call of a save."""
    points = _some(calls_of(folder, saver), scale)
    lost, kept = [], []
    for number, call in enumerate(points):
        place = folder / f"kill{number}"
        place.mkdir()
        fault = f"{call.name}:signal=KILL:when={call.number}"
        code, _ = traced(third_save, place / "saves", saver, log=place / "log", inject=fault)
        if code != -9:
            raise RuntimeError(f"{fault} did not kill the save, which ended with {code}")
        if newest(place / "saves")[0] not in (1, 2):
            lost.append(fault)
        elif saver is save and leftovers(place / "saves"):
            kept.append(fault)
    figure = f"{len(points)} system calls, {len(lost)} lost"
    return Counted(
        len(points), len(lost) + len(kept), figure, {"lost": lost, "temporary files kept": kept}
    )


def _plain_killed(folder: Path) -> Counted:
    found = _killed(folder, save_plainly, 1)
    return Counted(found.n, found.failures, f"torch.save over one file: {found.figure}")


@row(
    "R1",
    "SIGKILL in place of every system call of a checkpoint save",
    "the new or the previous checkpoint is whole; temporary files are swept by the next saves",
    _plain_killed,
)
def kill_at_every_call(folder: Path, scale: float) -> Counted:
    return _killed(folder, save, scale)


def save_for_ever(folder: Path, saver: Callable[..., None], pipe: Connection) -> None:
    """Saves of 45 MB, one after another; each is told before it begins."""
    for step in range(1000):
        pipe.send(step)
        saver(folder, step, LARGE)


def _killed_at_random(folder: Path, saver: Callable[..., None], count: int) -> Counted:
    randomly = random.Random(0)
    save_s, lost, stale, kept = 0.0, 0, 0, 0
    for number in range(count):
        place = folder / f"kill{number}"
        here, there = context.Pipe(duplex=False)
        process = start(save_for_ever, place, saver, there)
        there.close()
        here.recv()
        began = time.monotonic()
        step = here.recv()  # the first is saved
        if number == 0:
            save_s = time.monotonic() - began
        time.sleep(randomly.uniform(0, 3 * save_s))
        process.kill()
        process.join()
        try:
            while True:
                step = here.recv()
        except EOFError:
            pass
        found, _ = newest(place)
        lost += found < 0
        stale += 0 <= found < step - 1
        if saver is save:
            kept += bool(leftovers(place))
        for path in place.iterdir():
            path.unlink()
    figure = f"{count} kills within three saves of 45 MB, {lost} lost, {stale} stale"
    return Counted(count, lost + stale + kept, figure, {"temporary files kept": kept})


def _plain_at_random(folder: Path) -> Counted:
    found = _killed_at_random(folder, save_plainly, 12)
    return Counted(found.n, found.failures, f"torch.save over one file: {found.figure}")


@row(
    "R2",
    "SIGKILL at a random moment of saves of 45 MB",
    "the last save that ended, or a later one, is whole",
    _plain_at_random,
)
def kill_at_random(folder: Path, scale: float) -> Counted:
    return _killed_at_random(folder, save, max(2, round(100 * scale)))


def _refused(folder: Path, saver: Callable[..., None], scale: float) -> Counted:
    """ENOSPC, EIO and EDQUOT in place of each call that a full or failing disk can refuse."""
    refusable = ("openat", "write", "fsync", "rename", "close")
    calls = [call for call in calls_of(folder, saver) if call.name in refusable]
    points = [(call, name) for call in calls for name in ("ENOSPC", "EIO", "EDQUOT")]
    points = _some(points, scale)
    lost, other, kept = [], [], []
    for number, (call, name) in enumerate(points):
        place = folder / f"error{number}"
        place.mkdir()
        fault = f"{call.name}:error={name}:when={call.number}"
        code, _ = traced(
            third_save, place / "saves", saver, getattr(errno, name),
            log=place / "log", inject=fault,
        )  # fmt: skip
        found, _ = newest(place / "saves")
        if found not in (1, 2) or (code == 0 and found != 2):
            lost.append(fault)
        if code not in (0, 75):  # 0: what a save can do without
            other.append(fault)
        if list(place.rglob("*.tmp")):
            kept.append(fault)
    figure = f"{len(points)} errors, {len(lost)} lost, {len(other)} of another type"
    details = {"lost": lost, "of another type": other, "temporary files kept": kept}
    return Counted(len(points), len({*lost, *other, *kept}), figure, details)


def _plain_refused(folder: Path) -> Counted:
    found = _refused(folder, save_plainly, 1)
    return Counted(found.n, found.failures, f"torch.save over one file: {found.figure}")


@row(
    "R3",
    "ENOSPC, EIO, EDQUOT from every open, write, fsync, rename and close of a save",
    "the system's own error; the previous checkpoint is whole and no temporary file is left",
    _plain_refused,
)
def refused_by_the_disk(folder: Path, scale: float) -> Counted:
    return _refused(folder, save, scale)


def _load_unverified(path: Path) -> dict[str, Any]:
    import torch

    return torch.load(path, weights_only=True)


def _damaged(folder: Path, flips: int, loader: AbstractContextManager[Any]) -> Counted:
    """Flipped bits, cut ends and zeroed pages in the newest checkpoint and its manifest."""
    from neurogaze_fast.artifacts import manifest_path

    randomly = random.Random(0)
    for step in (1, 2):
        save(folder, step, 4000)
    victims = {
        path: path.read_bytes()
        for data in folder.glob("last_00000002.pt")
        for path in (data, manifest_path(data))
    }
    others = max(1, flips // 10)
    kinds = ["flip"] * flips + ["cut"] * others + ["page"] * others
    silent, unnamed = 0, 0
    with loader:
        for kind in kinds:
            path = randomly.choice(list(victims))
            whole = victims[path]
            damaged = bytearray(whole)
            place = randomly.randrange(len(whole))
            if kind == "flip":
                damaged[place] ^= 1 << randomly.randrange(8)
            elif kind == "cut":
                del damaged[place:]
            else:
                damaged[place : place + 4096] = bytes(len(damaged[place : place + 4096]))
            if bytes(damaged) == whole:
                damaged[place] ^= 1
            path.write_bytes(damaged)
            found, skipped = newest(folder)
            silent += found != 1
            unnamed += found == 1 and not (skipped and path.name in skipped[0])
            path.write_bytes(whole)
    n = len(kinds)
    figure = f"{n - silent} of {n} found and the previous one taken"
    return Counted(n, silent + unnamed, figure, {"not named": unnamed})


def _not_verified(folder: Path) -> Counted:
    patch = mock.patch("neurogaze_fast.training.checkpoint.load_checkpoint", _load_unverified)
    found = _damaged(folder, 200, patch)
    return Counted(found.n, found.failures, f"torch.load without hashes: {found.figure}")


@row(
    "R5",
    "flipped bits, cut ends and zeroed pages in the newest checkpoint or its manifest",
    "found, named, and the previous checkpoint taken",
    _not_verified,
)
def damaged_checkpoint(folder: Path, scale: float) -> Counted:
    return _damaged(folder, max(20, round(1000 * scale)), nullcontext())
