"""A run folder goes on after whatever ended it, with its own checkpoints only."""

import io
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from neurogaze_fast import train as train_command
from neurogaze_fast.artifacts import manifest_path, read_manifest, write_artifact
from neurogaze_fast.errors import CheckpointError, Interrupted, NonFiniteError, WorkerLostError
from neurogaze_fast.evaluation.scoring import validator
from neurogaze_fast.faces.load import load_faces
from neurogaze_fast.faces.lost_worker import naming_lost_workers
from neurogaze_fast.faces.shards import read_shards
from neurogaze_fast.faces.write_shards import write_shards
from neurogaze_fast.student.best import find_best
from neurogaze_fast.student.config import TrainConfig, train_config_from_json
from neurogaze_fast.student.run import TrainingRun
from neurogaze_fast.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from neurogaze_fast.training.run_folder import sole_writer

CPU = torch.device("cpu")
SCORES = (0.3, 0.7, 0.5)


@pytest.fixture(scope="module")
def faces(small_set):
    return load_faces("ferplus", small_set)


def scripted(scores, before=lambda epoch: None):
    """A validation that gives these scores, one an epoch."""
    epochs = iter(range(1, 99))

    def validate(model, size):
        epoch = next(epochs)
        before(epoch)
        value = scores[epoch - 1]
        return {"accuracy": value, "macro_f1": value, "balanced_accuracy": value}

    return validate


def open_run(faces, folder, *, resume=False, scores=SCORES, before=lambda epoch: None, **options):
    """A run of one step an epoch whose validation gives `scores`; ``.said()`` is its console."""
    small = {"variant": "b0", "size": 16, "start_size": None, "batch_size": 80, "epochs": 3}
    if resume:
        config = replace(train_config_from_json(folder / "config.json"), resume=folder)
    else:
        config = replace(TrainConfig(**(small | options)), out=folder)
    console = Console(record=True, width=400, file=io.StringIO())
    validate = scripted(scores, before)
    run = TrainingRun(config, faces, folder, device=CPU, validate=validate, console=console)
    run.said = lambda: console.export_text(clear=False)
    return run


def stop_in_epoch(run, epoch):
    """End a run by SIGTERM after the epoch's only step and before its validation."""
    real = run.trainer._train_step

    def counted(batch):
        real(batch)
        if run.trainer.step + 1 == epoch:
            run.trainer._stop.set()

    run.trainer._train_step = counted
    with pytest.raises(Interrupted):
        run.train()


@pytest.fixture(scope="module")
def finished(faces, tmp_path_factory):
    """A run trained to its end."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    open_run(faces, folder).train()
    return folder


@pytest.fixture(scope="module")
def stopped(faces, tmp_path_factory):
    """A run stopped in its third epoch: epochs 1 and 2 were the best ones in turn."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    stop_in_epoch(open_run(faces, folder), 3)
    return folder


@pytest.fixture
def copied(stopped, tmp_path):
    """The stopped run where a test may damage it."""
    return shutil.copytree(stopped, tmp_path / "run")


def kept(folder, prefix):
    return checkpoints(folder / "checkpoints", prefix)


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewritten(path, change):
    state = load_checkpoint(path)
    change(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_artifact(path, buffer.getvalue(), {"kind": "checkpoint"})


def selected(folder):
    return read_manifest(folder / "model.safetensors")["provenance"]["selected"]


# --- whose checkpoint it is -----------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["last", "best"])
def test_a_checkpoint_of_another_run_is_refused(faces, copied, tmp_path, prefix):
    other = tmp_path / "other"
    stop_in_epoch(open_run(faces, other, seed=1, learning_rate=3e-3), 3)
    own, theirs = kept(copied, prefix)[0], kept(other, prefix)[0]
    assert own.name == theirs.name
    for path in (theirs, manifest_path(theirs)):
        shutil.copy(path, own.parent)
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=rf"{own.name} was saved by another run"):
        open_run(faces, copied, resume=True)
    assert before == {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}


def test_checkpoints_of_a_version_that_recorded_no_run_are_taken_and_that_is_said(faces, copied):
    for path in (*kept(copied, "last"), *kept(copied, "best")):
        rewritten(path, lambda state: (state.pop("run"), state.pop("lost", None)))
    run = open_run(faces, copied, resume=True)
    assert "does not say which run it belongs to" in run.said()
    assert run.trainer.best["epoch"] == 2


@pytest.mark.parametrize("part", ["position", "rate"])
def test_of_such_a_version_place_and_learning_rate_are_compared(faces, copied, part):
    def change(state):
        state.pop("run")
        if part == "position":
            state["position"][2] += 1
        else:
            state["history"][1]["learning_rate"] *= 1.01

    rewritten(kept(copied, "last")[0], change)
    with pytest.raises(CheckpointError, match="saved by another run"):
        open_run(faces, copied, resume=True)


@pytest.mark.parametrize("key", ["step", "position", "history", "best", "rng", "clock"])
@pytest.mark.parametrize("value", [None, "x"])
def test_a_state_without_or_with_another_part_is_named(faces, copied, key, value):
    path = kept(copied, "last")[0]
    rewritten(path, lambda state: state.pop(key) if value is None else state.update({key: value}))
    with pytest.raises(CheckpointError, match=path.name):
        open_run(faces, copied, resume=True)


# --- before the first checkpoint ------------------------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "half a save"])
def test_a_run_ended_before_its_first_checkpoint_starts_at_step_0(faces, finished, tmp_path, left):
    folder = tmp_path / "run"
    run = open_run(faces, folder)
    if left == "half a save":
        run.trainer._save()
        manifest_path(kept(folder, "last")[0]).unlink()
    torch.manual_seed(999)
    run = open_run(faces, folder, resume=True)
    assert "starting at step 0" in run.said()
    run.train()
    models = [path / "model.safetensors" for path in (folder, finished)]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_it_starts_from_its_initial_weights_again_and_only_from_those(faces, finished, tmp_path):
    init = Path(shutil.copy(finished / "model.safetensors", tmp_path))
    first = open_run(faces, tmp_path / "run", init=init).trainer.model.state_dict()
    again = open_run(faces, tmp_path / "run", resume=True).trainer.model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    rename = {"fc.bias": torch.zeros(8)}
    from safetensors.torch import load_file, save_file

    save_file(load_file(init) | rename, init)
    with pytest.raises(CheckpointError, match=r"--init .* is not the one"):
        open_run(faces, tmp_path / "run", resume=True)


def test_a_finished_run_without_checkpoints_is_not_trained_again(faces, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(CheckpointError, match="nothing to continue"):
        open_run(faces, folder, resume=True)


def test_states_without_their_manifests_are_no_fresh_start(faces, copied):
    for path in (*kept(copied, "last"), *kept(copied, "best")):
        manifest_path(path).unlink()
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        open_run(faces, copied, resume=True)


@pytest.mark.parametrize("lost", ["gone", "damaged", "without manifests"])
def test_without_a_last_checkpoint_a_run_goes_on_from_its_best_epoch(faces, finished, copied, lost):
    for path in kept(copied, "last"):
        if lost == "damaged":
            damage(path)
        else:
            manifest_path(path).unlink()
            if lost == "gone":
                path.unlink()
    torch.manual_seed(999)
    run = open_run(faces, copied, resume=True, scores=SCORES[2:])
    assert run.trainer.step == 2
    assert "going back to the end of epoch 2, where best_00000002.pt was saved" in run.said()
    assert ("last_00000003.pt is not the file" in run.said()) == (lost == "damaged")
    history = run.train()
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    models = [path / "model.safetensors" for path in (copied, finished)]
    assert models[0].read_bytes() == models[1].read_bytes()
    last = [load_checkpoint(kept(path, "last")[0])["step"]["model"] for path in (copied, finished)]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[1])


def test_the_best_epoch_before_the_damaged_one_will_do(faces, copied):
    for path in (*kept(copied, "last"), kept(copied, "best")[0]):
        damage(path)
    run = open_run(faces, copied, resume=True, scores=SCORES[1:])
    assert "going back to the end of epoch 1, where best_00000001.pt was saved" in run.said()
    run.train()
    assert selected(copied)["epoch"] == 2
    assert "lost" not in selected(copied)


def test_a_best_state_of_weights_alone_is_named(faces, copied):
    for path in kept(copied, "last"):
        damage(path)
    for path in kept(copied, "best"):
        rewritten(path, lambda state: state.pop("go_on"))
    with pytest.raises(CheckpointError, match=r"best_00000002\.pt holds an epoch's weights alone"):
        open_run(faces, copied, resume=True)


def test_another_runs_best_is_not_gone_back_to(faces, copied, tmp_path):
    other = tmp_path / "other"
    stop_in_epoch(open_run(faces, other, seed=1, learning_rate=3e-3), 3)
    shutil.rmtree(copied / "checkpoints")
    shutil.copytree(other / "checkpoints", copied / "checkpoints")
    for path in kept(copied, "last"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"best_00000002\.pt was saved by another run"):
        open_run(faces, copied, resume=True)


# --- the best epoch -------------------------------------------------------------------------------


def test_two_best_states_are_kept(stopped):
    assert [load_checkpoint(path)["best"]["epoch"] for path in kept(stopped, "best")] == [2, 1]


@pytest.mark.parametrize(("third", "epoch", "lost"), [(0.2, 1, 2), (0.5, 3, 2), (0.8, 3, None)])
def test_a_damaged_best_is_noticed_on_resuming_and_the_next_best_stands_in(
    faces, copied, third, epoch, lost
):
    damage(kept(copied, "best")[0])
    run = open_run(faces, copied, resume=True, scores=[third])
    assert "Lost: the weights of epoch 2, the best. Kept is epoch 1." in run.said()
    assert "best_00000002.pt is not the file its manifest describes" in run.said()
    run.train()
    assert selected(copied)["epoch"] == epoch
    assert selected(copied).get("lost", {}).get("epoch") == lost


def test_with_both_damaged_the_epochs_to_come_compete_anew(faces, copied):
    for path in kept(copied, "best"):
        damage(path)
    run = open_run(faces, copied, resume=True, scores=[0.1])
    assert "Kept is the best epoch still to come." in run.said()
    run.train()
    assert selected(copied)["epoch"] == 3
    assert selected(copied)["lost"] == {"epoch": 2, "value": 0.7, "by": "macro_f1"}


def test_a_best_damaged_while_the_run_goes_on_does_not_end_it(faces, copied):
    newest = kept(copied, "best")[0]
    run = open_run(faces, copied, resume=True, scores=[0.5], before=lambda epoch: damage(newest))
    run.train()
    assert "Lost: the weights of epoch 2, the best. Kept is epoch 3." in run.said()
    assert selected(copied)["lost"]["epoch"] == 2
    weights = load_checkpoint(kept(copied, "last")[0])["step"]["model"]
    assert all(torch.equal(run.trainer.model.state_dict()[n], weights[n]) for n in weights)


def test_a_best_state_of_a_course_that_was_given_up_does_not_stand_in(tmp_path):
    """After falling back to an older state, later best files are of epochs that never were."""
    history = [{"valid": {"macro_f1": 0.3}}]
    present = {"model": {"w": torch.zeros(2)}, "best": None}
    for epoch, value in ((1, 0.3), (2, 0.7)):
        best = {"epoch": epoch, "value": value, "by": "macro_f1"}
        save_checkpoint(tmp_path, "best", epoch, {"model": {"w": torch.ones(2)}, "best": best})
    first = {"epoch": 1, "value": 0.3, "by": "macro_f1"}
    state, lost = find_best(tmp_path, first, history, present, run=None)
    assert state["best"] == first
    assert lost == []
    damage(tmp_path / "best_00000001.pt")
    state, lost = find_best(tmp_path, first, history, present, run=None)
    assert state is None
    assert "best_00000001.pt" in lost[0]


def test_weights_that_do_not_fit_count_as_lost(tmp_path):
    best = {"epoch": 1, "value": 0.3, "by": "macro_f1"}
    history = [{"valid": {"macro_f1": 0.3}}]
    present = {"model": {"w": torch.zeros(2)}, "best": None}
    for model in ({"w": torch.ones(3)}, {"v": torch.ones(2)}, {"w": torch.ones(2).half()}, 7):
        save_checkpoint(tmp_path, "best", 1, {"model": model, "best": best})
        state, lost = find_best(tmp_path, best, history, present, run=None)
        assert state is None
        assert "no state this run can take up" in lost[0]


# --- one sentence and the right exit code ---------------------------------------------------------


def test_a_second_resume_is_told_and_touches_nothing(copied, small_set, capsys):
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    with sole_writer(copied, print), pytest.raises(SystemExit) as stop:
        train_command.main(["--resume", str(copied), "--data", str(small_set)])
    assert stop.value.code == 2
    assert "Another process is training" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}


def test_a_diverged_run_exits_3(small_set, tmp_path, capsys):
    options = "--variant b0 --size 16 --batch-size 40 --epochs 1 --learning-rate 1e10".split()
    with pytest.raises(SystemExit) as stop:
        train_command.main([*options, "--data", str(small_set), "--out", str(tmp_path / "r")])
    assert stop.value.code == 3
    assert "NonFiniteError: The run diverged" in capsys.readouterr().err


def test_an_epoch_without_a_good_batch_ends_the_run(faces, tmp_path):
    run = open_run(faces, tmp_path / "run")
    run.trainer.rows.targets.targets.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="Every batch of epoch 1 was non-finite"):
        run.train()


def test_answers_that_are_not_finite_are_no_scores(faces):
    class Broken(torch.nn.Module):
        def forward(self, images):
            return images, torch.full((len(images), 8), float("inf"))

    with pytest.raises(NonFiniteError, match="40 of 40 valid images"):
        validator(faces, device=CPU, amp_dtype=None)(Broken(), 16)


def test_a_killed_decoding_worker_is_one_sentence_that_names_resume(faces, tmp_path):
    write_shards(faces, tmp_path / "shards")
    shards = read_shards(tmp_path / "shards")
    run = open_run(shards, tmp_path / "run", loader="torch", workers=1, batch_size=16)
    real = run.trainer._train_step

    def killing(batch):
        loader = run.trainer.loader._stream._decoder._loader
        os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)
        real(batch)

    run.trainer._train_step = killing
    with pytest.raises(WorkerLostError, match=rf"killed.*--resume {tmp_path / 'run'}"):
        run.train()
    assert kept(tmp_path / "run", "last")


def test_other_errors_pass_through_as_they_are():
    with pytest.raises(RuntimeError, match="mat1"), naming_lost_workers("x"):
        raise RuntimeError("mat1 and mat2")
