"""Checkpoints: whole or not there, newest intact first, never code."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from neurogaze_fast.artifacts import manifest_path, write_artifact
from neurogaze_fast.errors import CheckpointError
from neurogaze_fast.training.checkpoint import (
    checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)


def state(step):
    return {"step": step, "weights": torch.full((100,), float(step))}


def test_newest_two_are_kept(tmp_path):
    for step in range(5):
        save_checkpoint(tmp_path, "last", step, state(step))
    save_checkpoint(tmp_path, "best", 2, state(2), keep=1)
    assert [p.name for p in checkpoints(tmp_path, "last")] == [
        "last_00000004.pt",
        "last_00000003.pt",
    ]
    assert len(os.listdir(tmp_path)) == 6
    loaded, path, skipped = newest_checkpoint(tmp_path, "last")
    assert loaded["step"] == 4
    assert torch.equal(loaded["weights"], state(4)["weights"])
    assert path.name == "last_00000004.pt"
    assert skipped == []


@pytest.mark.parametrize("victim", ["data", "manifest"])
def test_damaged_newest_falls_back_and_says_so(tmp_path, victim):
    for step in range(2):
        save_checkpoint(tmp_path, "last", step, state(step))
    newest = checkpoints(tmp_path, "last")[0]
    file = newest if victim == "data" else manifest_path(newest)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    loaded, _, skipped = newest_checkpoint(tmp_path, "last")
    assert loaded["step"] == 0
    assert len(skipped) == 1
    assert file.name in skipped[0]


def test_saves_after_a_fallback_outlive_the_damaged_later_ones(tmp_path):
    for step in (4, 6, 8):
        save_checkpoint(tmp_path, "last", step, state(step))
    save_checkpoint(tmp_path, "best", 8, state(8), keep=1)
    for prefix in ("last", "best"):
        (tmp_path / f"{prefix}_00000008.pt").write_bytes(b"damaged")
    assert newest_checkpoint(tmp_path, "last")[0]["step"] == 6
    save_checkpoint(tmp_path, "last", 7, state(7))
    save_checkpoint(tmp_path, "best", 7, state(7), keep=1)
    assert [p.name for p in checkpoints(tmp_path, "last")] == [
        "last_00000007.pt",
        "last_00000006.pt",
    ]
    assert newest_checkpoint(tmp_path, "best")[0]["step"] == 7


def test_none_intact_is_an_error_that_names_each(tmp_path):
    save_checkpoint(tmp_path, "last", 0, state(0))
    (tmp_path / "last_00000000.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no intact checkpoint.*last_00000000"):
        newest_checkpoint(tmp_path, "last")
    with pytest.raises(CheckpointError, match="holds none"):
        newest_checkpoint(tmp_path, "other")


class Payload:
    def __reduce__(self):
        return (os.system, ("touch payload-ran",))


def test_a_pickled_payload_never_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last_00000000.pt"
    write_artifact(path, pickle.dumps({"x": Payload()}), {"kind": "checkpoint"})
    with pytest.raises(CheckpointError, match="no state of tensors"):
        load_checkpoint(path)
    assert not (tmp_path / "payload-ran").exists()


SAVER = textwrap.dedent(
    """
    import os, sys, signal, torch
    from pathlib import Path
    from neurogaze_fast.training.checkpoint import save_checkpoint
    folder, fatal = Path(sys.argv[1]), int(sys.argv[2])
    state = lambda s: {"step": s, "weights": torch.full((100,), float(s))}
    for step in range(2):
        save_checkpoint(folder, "last", step, state(step))
    calls = 0
    def hook(event, args):
        global calls
        if event in ("open", "os.rename", "os.remove", "os.truncate"):
            if not str(args[0]).startswith(str(folder)):
                return
            calls += 1
            if calls == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    real = os.fsync
    def fsync(descriptor):
        hook("open", (str(folder),))
        real(descriptor)
    os.fsync = fsync
    save_checkpoint(folder, "last", 2, state(2))
    print("finished", calls)
    """
)


def test_kill_at_every_step_of_a_save_loses_nothing(tmp_path):
    """SIGKILL before each open, fsync, rename and removal: one of the newest two is intact."""
    killed = 0
    for fatal in range(1, 40):
        folder = tmp_path / str(fatal)
        done = subprocess.run(
            [sys.executable, "-c", SAVER, str(folder), str(fatal)], capture_output=True, text=True
        )
        loaded, _, _ = newest_checkpoint(folder, "last")
        assert loaded["step"] in (1, 2)
        if done.returncode == 0:
            assert loaded["step"] == 2
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
    else:
        pytest.fail("the save never finished")
    assert killed >= 8
