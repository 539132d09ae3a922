"""Which runs are made, in which order, with which options; and which results are refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from neurogaze_fast import train
from neurogaze_fast.ablate import parse
from neurogaze_fast.ablation.arms import ARMS, comparisons
from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.ablation.plan import check_runs, plan_runs, side_by_side, train_flags
from neurogaze_fast.artifacts import seal
from neurogaze_fast.config import to_dict
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.student.config import RECIPES, TrainConfig

BANKS = {grid: [Path(f"banks/{grid}")] for grid in (5, 7, 9)}
BASE = TrainConfig(epochs=3, size=16, select="last")


def test_first_arms_come_first_seed_by_seed():
    runs, left_out = plan_runs(AblateConfig(seeds=2), BASE, BANKS)
    assert not left_out
    first = ["b0", "b1", "b2", "b3", "random", "shuffled", "va-kernel", "same-spectrum"]
    assert [r.name for r in runs[:16]] == [f"{a}/seed{s}" for s in (0, 1) for a in first]
    assert len(runs) == 2 * len(ARMS) + 1  # and the ResNet-50 that teaches
    assert len({r.folder for r in runs}) == len(runs)


def test_chosen_arms_are_run_seed_by_seed():
    """So that one that is stopped at any time holds whole sets but for the last."""
    arms = ("b0", "classes", "b3", "distinct")
    runs, _ = plan_runs(AblateConfig(seeds=3, arms=arms), BASE, BANKS)
    shown = [name for name in ARMS if name in arms]
    assert [r.name for r in runs] == [f"{a}/seed{s}" for s in range(3) for a in shown]


def test_seeds_take_the_banks_in_turn():
    banks = {5: [Path("a"), Path("b"), Path("c")]}
    runs, _ = plan_runs(AblateConfig(seeds=7, arms=("b0", "b3", "va-kernel")), BASE, banks)
    for run in runs:
        expected = None if run.arm == "b0" else banks[5][run.seed % 3]
        assert run.config.bank == expected, run.name


def test_every_arm_differs_from_every_other_in_its_options():
    runs, _ = plan_runs(AblateConfig(seeds=1), BASE, BANKS)
    configs = [to_dict(run.config) for run in runs]
    assert len({json.dumps(c, sort_keys=True) for c in configs}) == len(configs)


def test_arms_of_other_grids_need_their_banks():
    runs, left_out = plan_runs(AblateConfig(seeds=1), BASE, {5: BANKS[5]})
    assert set(left_out) == {"grid-7", "grid-9"}
    assert "--teacher" in left_out["grid-7"]
    assert not {r.arm for r in runs} & set(left_out)


def test_resnet50_is_trained_before_what_it_teaches():
    runs, _ = plan_runs(AblateConfig(seeds=1, arms=("kd-resnet50",)), BASE, BANKS)
    teacher, student = runs
    assert teacher.config.model == "resnet50"
    assert teacher.config.variant == "b0"
    assert student.after == teacher.folder
    assert student.config.kd_teacher == (str(teacher.folder),)


def test_flags_give_the_same_options_back():
    for name in RECIPES:
        runs, _ = plan_runs(AblateConfig(seeds=1), replace(RECIPES[name], amp=True), BANKS)
        for run in runs:
            config = replace(
                run.config, start_size=None, augment=False, kd_teacher=("some/run", "another")
            )
            assert train.parse(train_flags(config)) == config


def test_results_of_other_options_are_refused(tmp_path):
    runs, _ = plan_runs(AblateConfig(seeds=1, arms=("b0",), out=tmp_path), BASE, BANKS)
    (run,) = runs
    run.check()  # nothing is there yet
    run.folder.mkdir(parents=True)

    def wrote(config, **metadata):
        record = seal({"config": to_dict(config), **metadata})
        (run.folder / "config.json").write_text(json.dumps(record))

    wrote(replace(run.config, out=run.folder, threads=7))
    run.check()
    wrote(replace(run.config, epochs=99))
    with pytest.raises(ConfigError, match="--epochs 99 instead of 3"):
        run.check()
    wrote(run.config, bank={"sha256": "other"})
    with pytest.raises(ConfigError, match="another bank"):
        run.check()


def test_runs_of_two_face_sets_are_refused(tmp_path):
    runs, _ = plan_runs(AblateConfig(seeds=2, arms=("b0",), out=tmp_path), BASE, BANKS)
    for run, data in zip(runs, ("one", "two"), strict=True):
        run.folder.mkdir(parents=True)
        record = seal({"config": to_dict(run.config), "data": {"sha256": data}})
        (run.folder / "config.json").write_text(json.dumps(record))
    check_runs(runs[:1])
    with pytest.raises(ConfigError, match="different face sets"):
        check_runs(runs)


def test_comparisons_are_not_made_twice():
    pairs = comparisons(set(ARMS))
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert ("b3", "random") in pairs
    assert ("random", "b3") not in pairs
    assert comparisons({"b0", "b3"}) == [("b3", "b0")]


def test_unknown_arms_and_options_the_ablation_sets_are_refused():
    with pytest.raises(ConfigError, match="no such arm"):
        AblateConfig(arms=("b4",))
    with pytest.raises(ConfigError, match="Give one"):
        AblateConfig(teacher=(Path("a"),), bank=(Path("b"),))
    for words in (["--variant", "b0"], ["--seed=3"], ["--centre-bank"], ["--no-centre-bank"]):
        with pytest.raises(ConfigError, match="--arms and --seeds"):
            parse(words)


def test_options_of_train_reach_every_run():
    config, base = parse(["--seeds", "2", "--epochs", "7", "--amp", "--data", "somewhere"])
    assert config.seeds == 2
    assert (base.epochs, base.amp, base.data) == (7, True, Path("somewhere"))
    assert base.select == "last"
    assert parse(["--select", "accuracy"])[1].select == "accuracy"


def test_runs_side_by_side_share_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert side_by_side(0, "cpu", 20) == (8, 1)
    assert side_by_side(0, "cpu", 3) == (3, 2)
    assert side_by_side(0, "cuda", 20) == (4, 2)
    assert side_by_side(16, "cpu", 20) == (16, 1)
