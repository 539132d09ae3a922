"""A run's folder: there whole or not at all, and written by one process at a time."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from neurogaze_fast.errors import ConfigError, OutputExistsError, RunInUseError
from neurogaze_fast.training.run_folder import (
    CONFIG_FILE,
    new_folder,
    read_config,
    sole_writer,
    write_config,
)


@dataclass(frozen=True)
class Options:
    out: Path | None = None
    seed: int = 0


@pytest.fixture
def run(tmp_path):
    with new_folder(tmp_path / "run") as draft:
        write_config(draft, Options(out=tmp_path / "run"), {"data": "d"})
    return tmp_path / "run"


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "a" / "run") as draft:
        (draft / "bank").write_text("b")
        assert not (tmp_path / "a" / "run").exists()
    assert os.listdir(tmp_path / "a") == ["run"]
    assert os.listdir(tmp_path / "a" / "run") == ["bank"]


def test_nothing_is_left_of_one_that_failed(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "run"):
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file", "link to nowhere"])
def test_what_is_there_is_left_alone(tmp_path, kind):
    there = tmp_path / "run"
    {"folder": there.mkdir, "file": there.touch}.get(kind, lambda: there.symlink_to("no"))()
    with pytest.raises(OutputExistsError, match="left alone"), new_folder(there):
        pytest.fail("it was begun")


def test_one_of_two_that_start_at_once_is_refused(tmp_path):
    def both():
        with new_folder(tmp_path / "run") as second:
            (second / "mine").touch()
            with new_folder(tmp_path / "run") as first:
                (first / "theirs").touch()

    with pytest.raises(OutputExistsError, match="left alone"):
        both()
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["theirs"]


def test_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file" / "run", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="cannot be created"), new_folder(bad):
            pass
    assert os.listdir(tmp_path) == ["file"]


def test_config_is_read_back_with_its_seal_or_refused(run):
    path = run / CONFIG_FILE
    assert read_config(path)["config"] == {"out": str(run), "seed": 0}
    whole = path.read_text()
    for text in (whole.replace('"seed": 0', '"seed": 1'), "[]", "{}", "", "[" * 9999, "1", "null"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="damaged"):
            read_config(path)
    path.unlink()
    with pytest.raises(ConfigError, match="is this a run folder"):
        read_config(path)


HOLDER = """
import os, sys, time
from pathlib import Path
from neurogaze_fast.training.run_folder import sole_writer
with sole_writer(Path(sys.argv[1]), print):
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)  # by the child: by now it has let go of the run
        time.sleep(60)  # a decoder that outlives its parent
        os._exit(0)
    time.sleep(60)
"""


def test_a_second_writer_is_told_and_a_killed_one_leaves_nothing(run):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True
    )
    child = int(holder.stdout.readline())
    try:
        with (
            pytest.raises(RunInUseError, match="Another process is training"),
            sole_writer(run, pytest.fail),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        os.kill(child, 0)  # it lives
        with sole_writer(run, pytest.fail):
            pass
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)
    assert os.listdir(run) == [CONFIG_FILE]


def test_a_lock_ends_with_its_block_however_it_ends(run):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), sole_writer(run, pytest.fail):
            1 / 0  # noqa: B018
    with sole_writer(run, pytest.fail), pytest.raises(RunInUseError), sole_writer(run, print):
        pass


def test_a_file_system_without_locks_is_named_and_the_run_goes_on(run, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = []
    with sole_writer(run, said.append):
        pass
    assert "No locks available" in said[0]
    assert "no other process" in said[0]


def test_a_config_that_may_only_be_read_is_locked_too(run, monkeypatch):
    real = os.open

    def open_(path, flags, *rest):
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", open_)
    with sole_writer(run, pytest.fail), pytest.raises(RunInUseError), sole_writer(run, print):
        pass
    with pytest.raises(ConfigError, match="is this a run folder"), sole_writer(run / "x", print):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from neurogaze_fast.training.run_folder import new_folder, write_config
from tests.training.test_run_folder import Options
fatal, calls = int(sys.argv[2]), 0
def hook(event, args):
    global calls
    if event in ("open", "os.mkdir", "os.rename") and str(args[0]).startswith(sys.argv[1]):
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
run = Path(sys.argv[1]) / "run"
with new_folder(run) as draft:
    write_config(draft, Options(out=run), {})
"""


def test_a_start_killed_anywhere_can_be_started_again(tmp_path):
    killed = 0
    for fatal in range(1, 40):
        parent = tmp_path / str(fatal)
        parent.mkdir()
        code = [sys.executable, "-c", KILLED, str(parent)]
        done = subprocess.run([*code, str(fatal)], capture_output=True, text=True)
        if (parent / "run").exists():
            assert read_config(parent / "run" / CONFIG_FILE)["config"]["out"] == str(parent / "run")
        else:
            assert subprocess.run([*code, "0"]).returncode == 0
            assert (parent / "run" / CONFIG_FILE).exists()
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
    assert killed >= 4
