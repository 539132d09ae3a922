"""Locks on files: whoever comes second is told, whatever becomes of the file in between."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from neurogaze_fast.eeg.journal import sole_user
from neurogaze_fast.errors import RunInUseError
from neurogaze_fast.locks import lock_file, locked

HOLDER = """
import os, sys, time
from pathlib import Path
from neurogaze_fast.locks import lock_file
with lock_file(Path(sys.argv[1]), "taken", print):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_told_until_the_first_ends_however_it_ends(tmp_path):
    path = tmp_path / "out" / ".lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(RunInUseError, match="taken"), lock_file(path, "taken", pytest.fail):
            pass
        assert path.exists()  # the other's
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        os.kill(child, 0)  # its forked child lives and holds nothing
        with lock_file(path, "taken", pytest.fail):
            pass
        assert not path.exists()
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """The one before lets go, and a third makes the file anew, after ours was opened."""
    path, real, calls = tmp_path / ".lock", fcntl.flock, []

    def flock(descriptor, how):
        calls.append(descriptor)
        if len(calls) == 1:
            path.unlink()
            path.touch()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_file(path, "taken", pytest.fail):
        assert len(calls) == 2
        with pytest.raises(RunInUseError), locked(path, "taken", pytest.fail):
            pass


def test_a_file_system_that_locks_only_what_may_be_written_locks_a_prepared_folder(
    tmp_path, monkeypatch
):
    real, modes = fcntl.flock, []

    def like_nfs(descriptor, how):
        modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)
        if modes[-1] == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", like_nfs)
    out = tmp_path / "out"
    with sole_user(out), pytest.raises(RunInUseError, match="is preparing"), sole_user(out):
        pass
    assert modes == [os.O_RDWR] * 2
    assert not out.exists()  # it stayed empty


def test_a_folder_that_may_not_be_written_says_so(tmp_path, monkeypatch):
    def denied(path, flags, *rest):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        raise FileNotFoundError(errno.ENOENT, "No such file", str(path))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError), lock_file(tmp_path / ".lock", "taken", pytest.fail):
        pass
