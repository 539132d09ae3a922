"""How often D-Geo's hinges bind, and a cap chosen from what the classes are like."""

import pytest
import torch

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.geometry_watch import SHARE, binding
from neurogaze_fast.training.checkpoint import newest_checkpoint
from tests.student.trainers import differences, make, stop_after

OPTIONS = {"amp": False, "epochs": 4, "ema": 0.0, "geo_start": 0.5, "geo_end": 0.75}


def watched(trainer):
    """Train, and keep each step's cap and margin as the objective gave them."""
    terms = []
    objective = trainer.run_step.objective
    objective.register_forward_hook(
        lambda module, given, found: terms.append(
            (module.variance_cap, found["geo_cap"].item(), found["geo_margin"].item())
        )
    )
    trainer.fit()
    return terms


@pytest.mark.parametrize(("cap", "margin"), [(0.2, 0.5), (0.0, 0.02), (5.0, 0.0)])
def test_shares_are_those_of_the_batches(faces, tmp_path, cap, margin):
    trainer = make(faces, tmp_path, **OPTIONS | {"variance_cap": cap, "margin": margin})
    terms = watched(trainer)
    batches = len(trainer.order)
    for number, entry in enumerate(trainer.history):
        mine = terms[number * batches : (number + 1) * batches]
        assert entry["geo"] == {
            "cap_binds": sum(t[1] > 0 for t in mine) / batches,
            "margin_binds": sum(t[2] > 0 for t in mine) / batches,
            "variance_cap": cap,
        }
    if cap == 5.0:  # more than a variance can be, and no margin at all
        assert entry["geo"]["cap_binds"] == entry["geo"]["margin_binds"] == 0


def test_auto_is_half_of_the_variance_before_d_geo_starts(faces, tmp_path):
    trainer = make(faces, tmp_path, **OPTIONS, variance_cap="auto")
    terms = watched(trainer)
    steps = trainer.total_steps
    before = [t for i, t in enumerate(terms) if i / steps < 0.5]
    assert {t[0] for t in before} == {0.0}  # so that the term is the variance itself
    seen = [t[1] for i, t in enumerate(terms) if 0.25 <= i / steps < 0.5]
    assert 0 in seen, "a batch with too few faces of both classes says nothing of them"
    expected = SHARE * sum(seen) / sum(value > 0 for value in seen)
    assert 0.01 < expected < 0.5
    assert [t[0] for t in terms[len(before) :]] == [pytest.approx(expected)] * (steps // 2)
    assert ["cap_binds" in e["geo"] for e in trainer.history] == [False, False, True, True]
    assert trainer.history[-1]["geo"]["variance_cap"] == pytest.approx(expected)
    found = binding(trainer.history, trainer.config)
    assert found["variance_cap"] == trainer.history[-1]["geo"]["variance_cap"]
    late = [e["geo"]["cap_binds"] for e in trainer.history[2:]]
    assert found["cap_binds"] == pytest.approx(sum(late) / 2)
    assert found["cap_binds"] > 0


@pytest.mark.parametrize("steps", [7, 10, 13])
def test_a_chosen_cap_is_taken_up_again(faces, tmp_path, steps):
    options = OPTIONS | {"variance_cap": "auto"}
    straight = make(faces, tmp_path / "a", **options)
    straight.fit()
    stop_after(make(faces, tmp_path / "b", **options), steps)
    state, path, _ = newest_checkpoint(tmp_path / "b", "last")
    resumed = make(faces, tmp_path / "b", **options)
    resumed.load_state_dict(state, str(path))
    resumed.fit()
    assert differences(straight.state_dict(), resumed.state_dict()) == []


def test_a_checkpoint_of_a_version_that_did_not_count_is_taken(faces, tmp_path):
    stop_after(make(faces, tmp_path, **OPTIONS), 7)
    state, path, _ = newest_checkpoint(tmp_path, "last")
    del state["variance_cap"], state["step"]["hinges"], state["step"]["variance"]
    resumed = make(faces, tmp_path, **OPTIONS)
    resumed.load_state_dict(state, str(path))
    assert len(resumed.fit()) == 4


def test_a_run_too_short_to_look_at_anything_is_refused(faces, tmp_path):
    with pytest.raises(ConfigError, match="finds no batch to look at"):
        make(faces, tmp_path, epochs=1, geo_start=1e-3, geo_end=0.6, variance_cap="auto")


def test_without_prototypes_or_before_d_geo_nothing_is_said():
    config = TrainConfig
    entry = {"epoch": 1, "geo": {"cap_binds": 1.0, "margin_binds": 0.5, "variance_cap": 0.2}}
    assert binding([entry], config(epochs=10)) is None  # D-Geo starts after the second epoch
    assert binding([{"epoch": 10}], config(epochs=10)) is None  # an older version's
    assert binding([entry | {"epoch": 10}], config(epochs=10, variant="b2")) is None
    assert binding([entry | {"epoch": 10}], config(epochs=10))["margin_binds"] == 0.5


def test_the_cap_changes_the_gradient(faces, tmp_path):
    """A cap that does not bind pulls at nothing; one that binds does."""
    losses = {}
    for cap in (5.0, 0.0):
        options = {"margin": 0.0, "geo_weight": 5.0, "geo_start": 0.0, "geo_end": 0.0}
        trainer = make(faces, tmp_path / str(cap), **OPTIONS | options | {"variance_cap": cap})
        trainer.fit()
        losses[cap] = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    assert (losses[5.0] - losses[0.0]).abs().max() > 1e-3
