"""The teacher learns what is there and nothing else, and can be stopped and continued anywhere."""

import threading

import numpy as np
import pytest
import torch

from neurogaze_fast.errors import CheckpointError, Interrupted, NonFiniteError
from neurogaze_fast.teacher.baselines import mean_prediction
from neurogaze_fast.teacher.model import TeacherNet, embed
from neurogaze_fast.teacher.scores import scores
from neurogaze_fast.teacher.splits import rows_for
from neurogaze_fast.teacher.training import TeacherTrainer
from neurogaze_fast.teacher.views import ResidentMaps
from neurogaze_fast.training.checkpoint import newest_checkpoint
from tests.teacher.helpers import CPU, map_set, quick, silent


class StopAfter(threading.Event):
    """Set after so many steps have looked at it."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def is_set(self):
        self.looks -= 1
        return self.looks < 0


def make(maps, folder, config, *, stop=None, console=None, train=4):
    torch.manual_seed(config.seed)
    rows = rows_for(maps, maps.subjects[:train], maps.subjects[train : train + 2])
    return TeacherTrainer(
        config,
        TeacherNet(len(maps.bands), config.width),
        ResidentMaps.of(maps, CPU),
        rows,
        folder=folder,
        console=console or silent(),
        stop=stop or threading.Event(),
        name_row=lambda row: f"window {row}",
    )


def held_scores(trainer, maps):
    rows = trainer.rows.held
    target = np.stack([maps.valence, maps.arousal], axis=1)
    predicted = embed(trainer.model, trainer.store.maps, rows, device=CPU)[1]
    mean = mean_prediction(target[trainer.rows.train], len(rows))
    return scores(predicted, target[rows]), scores(mean, target[rows])


@pytest.mark.parametrize("amp", [False, True])
def test_a_planted_signal_is_learnt_across_subjects(planted, tmp_path, amp):
    trainer = make(planted, tmp_path, quick(epochs=12, amp=amp))
    history = trainer.fit()
    teacher, mean = held_scores(trainer, planted)
    for name in ("valence", "arousal"):
        assert teacher[name]["ccc"] > 0.6
        assert teacher[name]["rmse"] < 0.8 * mean[name]["rmse"]
    assert history[-1]["train"]["total"] < history[0]["train"]["total"]
    assert [entry["epoch"] for entry in history] == list(range(1, 13))
    assert not any(entry["skipped_batches"] for entry in history)


def test_without_a_signal_nothing_is_learnt(tmp_path):
    maps = map_set(subjects=12, trials=30, windows=1, signal=0.0)
    trainer = make(maps, tmp_path, quick(epochs=6), train=10)
    trainer.fit()
    teacher, mean = held_scores(trainer, maps)
    for name in ("valence", "arousal"):
        assert abs(teacher[name]["ccc"]) < 0.35
        assert teacher[name]["rmse"] > 0.9 * mean[name]["rmse"]


@pytest.mark.parametrize("steps", [1, 4, 6, 13])
def test_resuming_is_bitwise(planted, tmp_path, steps):
    config = quick(epochs=3)
    straight = make(planted, tmp_path / "a", config)
    straight.fit()
    stopped = make(planted, tmp_path / "b", config, stop=StopAfter(2 * steps))
    with pytest.raises(Interrupted, match="--resume"):
        stopped.fit()
    assert 0 < stopped.step < straight.step
    torch.manual_seed(99)
    continued = make(planted, tmp_path / "b", config)
    state, path, _ = newest_checkpoint(tmp_path / "b", "last")
    continued.load_state_dict(state, str(path))
    assert continued.step == stopped.step
    continued.fit()
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, continued.model.state_dict()[name]), name
    for one, other in zip(straight.history, continued.history, strict=True):
        assert one["train"] == other["train"]


def test_unlabelled_windows_take_part_unless_switched_off(planted, tmp_path):
    on = make(planted, tmp_path / "a", quick(epochs=1)).fit()[0]["train"]
    off = make(planted, tmp_path / "b", quick(epochs=1, consistency=0.0)).fit()[0]["train"]
    assert on["consistency"] > 0
    assert off["consistency"] == 0


def test_non_finite_batches_are_skipped_named_and_leave_no_trace(planted, tmp_path):
    console = silent()
    config = quick(epochs=1, consistency=0.0, log_every=1)
    trainer = make(planted, tmp_path, config, console=console)
    victim = trainer.batches.batch(0, 2)[0][5]
    trainer.store.maps[victim, 0, 3, 3] = torch.inf
    entry = trainer.fit()[0]
    assert entry["skipped_batches"] == 1
    assert np.isfinite(entry["train"]["total"])
    printed = console.file.getvalue()
    assert "batch 2 of epoch 1" in printed
    assert f"non-finite windows window {victim}" in printed
    assert all(torch.isfinite(v).all() for v in trainer.model.state_dict().values())


def test_eight_bad_batches_in_a_row_end_the_run(planted, tmp_path):
    trainer = make(planted, tmp_path, quick(epochs=3, consistency=0.0, batch_size=16))
    trainer.store.maps[:] = torch.nan
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(NonFiniteError, match="8 non-finite batches"):
        trainer.fit()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_state_of_another_run_is_refused(planted, tmp_path):
    state = make(planted, tmp_path, quick()).state_dict()
    with pytest.raises(CheckpointError, match="architecture"):
        make(planted, tmp_path, quick(width=8)).load_state_dict(state, "x")
    with pytest.raises(CheckpointError, match="rows"):
        make(planted, tmp_path, quick(), train=3).load_state_dict(state, "x")
