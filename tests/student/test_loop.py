"""A run can be stopped anywhere and taken up again as if nothing had happened."""

import io

import pytest
import torch
from rich.console import Console

from neurogaze_fast.errors import CheckpointError, NonFiniteError
from neurogaze_fast.training.checkpoint import newest_checkpoint
from tests.student.trainers import differences, make, stop_after

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def straight(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    trainer = make(faces, folder)
    trainer.fit()
    return trainer.state_dict(), len(trainer.order)


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 9, 14])
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(faces, tmp_path, straight, steps):
    expected, per_epoch = straight
    assert per_epoch == 5
    stop_after(make(faces, tmp_path), steps)
    state, path, _ = newest_checkpoint(tmp_path, "last")
    assert state["position"][2] == steps
    resumed = make(faces, tmp_path)
    torch.manual_seed(999)  # nothing may hang on the process's own generator
    resumed.load_state_dict(state, str(path))
    resumed.fit()
    assert differences(expected, resumed.state_dict()) == []


@pytest.mark.parametrize(
    "part",
    [
        *("step/model", "step/objective", "step/optimizer", "step/average", "step/totals"),
        *("position", "history", "best"),
    ],
)
def test_the_comparison_notices_a_part_that_is_not_restored(faces, tmp_path, straight, part):
    stop_after(make(faces, tmp_path), 7)
    state, path, _ = newest_checkpoint(tmp_path, "last")
    resumed = make(faces, tmp_path)
    fresh, inner = resumed.state_dict(), state
    *above, last = part.split("/")
    for key in above:
        fresh, inner = fresh[key], inner[key]
    inner[last] = fresh[last]
    resumed.load_state_dict(state, str(path))
    resumed.fit()
    assert differences(straight[0], resumed.state_dict())


def test_best_is_the_selected_epoch(faces, tmp_path):
    scores = iter([0.3, 0.7, 0.5])

    def validate(model, size):
        value = next(scores)
        return {"accuracy": 1 - value, "macro_f1": value, "balanced_accuracy": value}

    trainer = make(faces, tmp_path, validate=validate)
    history = trainer.fit()
    state, _, _ = newest_checkpoint(tmp_path, "best")
    assert state["best"] == {"epoch": 2, "value": 0.7, "by": "macro_f1"}
    assert [entry["valid"]["macro_f1"] for entry in history] == [0.3, 0.7, 0.5]


def test_only_epochs_at_full_size_are_selected(faces, tmp_path):
    sizes = []

    def validate(model, size):
        sizes.append(size)
        value = 1 - len(sizes) / 10  # the first epoch is the best, but not at full size
        return {"accuracy": value, "macro_f1": value, "balanced_accuracy": value}

    trainer = make(faces, tmp_path, validate=validate, size=24, start_size=16)
    trainer.fit()
    assert sizes == [16, 16, 24]
    assert trainer.best["epoch"] == 3


def test_select_last_keeps_the_last_epoch(faces, tmp_path):
    trainer = make(faces, tmp_path, select="last", epochs=2)
    trainer.fit()
    state, _, _ = newest_checkpoint(tmp_path, "best")
    assert state["best"]["epoch"] == 2


def test_training_learns(faces, tmp_path):
    history = make(faces, tmp_path, epochs=12, augment=False, learning_rate=2e-3, ema=0.0).fit()
    assert history[-1]["train"]["ce"] < 0.7 * history[0]["train"]["ce"]
    assert history[-1]["skipped_batches"] == 0


def test_bad_targets_are_skipped_and_named(faces, tmp_path):
    trainer = make(faces, tmp_path, epochs=1)
    trainer._console = Console(record=True, width=400, file=io.StringIO())
    trainer.rows.targets.targets[7] = float("nan")
    history = trainer.fit()
    assert history[0]["skipped_batches"] == 1
    text = trainer._console.export_text()
    row, name = trainer.rows.source_rows[7], trainer.rows.names[7]
    assert f"rows with non-finite targets {row} ({name})" in text
    assert all(torch.isfinite(v).all() for v in trainer.model.state_dict().values())
    assert torch.isfinite(torch.tensor(history[0]["train"]["total"]))


def test_eight_bad_batches_in_a_row_end_the_run_with_finite_weights(faces, tmp_path):
    trainer = make(faces, tmp_path, log_every=1, batch_size=8)  # ten batches an epoch
    trainer.rows.targets.targets.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="8 non-finite batches in a row"):
        trainer.fit()
    assert trainer.step <= 9
    assert all(torch.isfinite(v).all() for v in trainer.model.state_dict().values())


def test_fp16_scales_its_gradients_and_skips_bad_batches(faces, tmp_path):
    trainer = make(faces, tmp_path, amp_dtype="fp16", epochs=2, ema=0.0)
    trainer.rows.targets.targets[7] = float("nan")
    history = trainer.fit()
    assert trainer.run_step.scaler.is_enabled()
    assert history[0]["skipped_batches"] >= 1
    assert all(torch.isfinite(v).all() for v in trainer.model.state_dict().values())


def test_names_of_bad_batches_survive_a_stop_right_after_them(faces, tmp_path):
    trainer = make(faces, tmp_path, log_every=1000)
    trainer._console = Console(record=True, width=400, file=io.StringIO())
    trainer.rows.targets.targets.fill_(float("nan"))
    stop_after(trainer, 2)
    assert trainer._console.export_text().count("non-finite targets") == 2


def test_checkpoint_of_another_architecture_is_refused(faces, tmp_path, straight):
    trainer = make(faces, tmp_path, model="resnet50")
    with pytest.raises(CheckpointError, match=r"is of .*resnet18"):
        trainer.load_state_dict(straight[0], "file")


def test_every_step_is_told_to_what_watches_the_cores(faces, tmp_path, monkeypatch):
    trainer = make(faces, tmp_path, epochs=1, size=16, threads=1)
    told = []
    monkeypatch.setattr(trainer._cores, "step", lambda *step: told.append(step))
    trainer.fit()
    assert len(told) == trainer.total_steps
    assert all(seconds > 0 and (count, size) == (16, 16) for seconds, count, size in told)
