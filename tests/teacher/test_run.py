"""A teacher's folder goes on with its own checkpoints only, and with one writer."""

import shutil

import numpy as np
import pytest

from neurogaze_fast import train_teacher as command
from neurogaze_fast.artifacts import manifest_path
from neurogaze_fast.teacher import run as teacher_run
from neurogaze_fast.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from neurogaze_fast.training.run_folder import sole_writer
from tests.teacher.helpers import map_set

QUICK = "--epochs 2 --batch-size 16 --width 8 --threads 1 --folds 2 --clip-folds 0".split()


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "maps"
    map_set(subjects=4, support=1).save(folder)
    return folder


@pytest.fixture(scope="module")
def trained(maps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    command.main([str(maps), *QUICK, "--out", str(folder)])
    return folder


@pytest.fixture
def unfinished(trained, tmp_path):
    """A teacher that was killed just before its model was written."""
    folder = shutil.copytree(trained, tmp_path / "teacher")
    for name in ("teacher.safetensors", "teacher.manifest.json", "scores.json"):
        (folder / name).unlink()
    return folder


def refused(capsys, argv, code=2):
    with pytest.raises(SystemExit) as stop:
        command.main(argv)
    assert stop.value.code == code
    return capsys.readouterr().err


def put(source, target):
    """Replace the newest checkpoint in `target` by that of `source`."""
    newest = checkpoints(source, "last")[0]
    for path in (newest, manifest_path(newest)):
        shutil.copy(path, target)
    assert checkpoints(target, "last")[0].name == newest.name


def test_a_checkpoint_of_another_teacher_is_refused(unfinished, maps, tmp_path, capsys):
    other = tmp_path / "other"
    command.main([str(maps), *QUICK, "--seed", "1", "--out", str(other)])
    put(other / "checkpoints" / "teacher", unfinished / "checkpoints" / "teacher")
    said = refused(capsys, ["--resume", str(unfinished)])
    assert "was saved by another run" in said
    assert not (unfinished / "teacher.safetensors").exists()


def test_a_checkpoint_of_another_fold_is_refused(unfinished, capsys):
    folds = [unfinished / "checkpoints" / f"fold-{number}" for number in range(2)]
    put(*folds)
    assert "was saved by another run" in refused(capsys, ["--resume", str(unfinished)])


def test_checkpoints_that_do_not_say_whose_they_are_are_taken_and_that_is_said(
    unfinished, trained, capsys
):
    for folder in (unfinished / "checkpoints").iterdir():
        state = load_checkpoint(checkpoints(folder, "last")[0])
        del state["run"]
        save_checkpoint(folder, "last", state["position"][2], state)
    command.main(["--resume", str(unfinished)])
    assert "does not say which run it belongs to" in capsys.readouterr().out
    name = "teacher.safetensors"
    assert (unfinished / name).read_bytes() == (trained / name).read_bytes()


def test_a_teacher_killed_before_its_first_checkpoint_starts_at_step_0(unfinished, trained):
    shutil.rmtree(unfinished / "checkpoints")
    command.main(["--resume", str(unfinished)])
    name = "teacher.safetensors"
    assert (unfinished / name).read_bytes() == (trained / name).read_bytes()


def test_a_second_resume_is_told(unfinished, capsys):
    with sole_writer(unfinished, print):
        said = refused(capsys, ["--resume", str(unfinished)])
    assert "RunInUseError: Another process is training" in said


@pytest.mark.parametrize("key", ["model", "optimizer", "position", "totals", "history"])
def test_a_state_without_a_part_is_named(unfinished, capsys, key):
    folder = unfinished / "checkpoints" / "teacher"
    path = checkpoints(folder, "last")[0]
    state = load_checkpoint(path)
    step = state["position"][2]
    del state[key]
    save_checkpoint(folder, "last", step, state)
    assert path.name in refused(capsys, ["--resume", str(unfinished)])


def test_a_diverged_teacher_exits_3(maps, tmp_path, capsys, monkeypatch):
    options = [str(maps), *QUICK, "--out", str(tmp_path / "t"), "--learning-rate", "1e30"]
    assert "NonFiniteError" in refused(capsys, options, code=3)
    nan = lambda model, maps, rows, device: (None, np.full((len(rows), 2), np.nan))  # noqa: E731
    monkeypatch.setattr(teacher_run, "embed", nan)
    options[options.index("1e30")] = "1e-3"
    options[options.index(str(tmp_path / "t"))] = str(tmp_path / "u")
    assert "The teacher diverged" in refused(capsys, options, code=3)
