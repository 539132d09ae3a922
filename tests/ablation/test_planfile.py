"""A plan is read strictly, decides what is run, and lies beside its runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from neurogaze_fast.ablate import parse
from neurogaze_fast.ablation.banks import make_banks
from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.ablation.planfile import FILE, PlannedContrast, keep_plan, read_plan
from neurogaze_fast.artifacts import sha256_file
from neurogaze_fast.errors import BankError, ConfigError
from neurogaze_fast.prototypes.bank import demo_bank
from tests.ablation.plans import TEXT

COMMITTED = sorted((Path(__file__).parents[2] / "benchmarks/plans").glob("*.toml"))


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(TEXT)
    return path


def test_what_is_in_the_file(plan):
    found = read_plan(plan)
    assert found.primary == PlannedContrast("b3", "va-kernel", "accuracy")
    assert found.secondary == (PlannedContrast("b3", "b0", "log_loss"),)
    assert (found.seeds, found.banks, found.equivalence) == (3, 1, 0.5)
    assert found.sha256 == sha256_file(plan)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_plans_can_be_run(path):
    found = read_plan(path)
    given = [word for bank in range(found.banks) for word in [f"bank-{bank}"]]
    config, base = parse(["--plan", str(path), "--bank", *given, "--data", "somewhere"])
    assert (config.arms, config.seeds) == (found.arms, found.seeds)
    assert (base.threads, base.select) == (1, "last")


def test_the_plan_decides_what_is_run(plan):
    config, base = parse(["--plan", str(plan), "--data", "x", "--jobs", "1"])
    assert (config.arms, config.seeds, config.jobs) == (("b0", "b3", "va-kernel"), 3, 1)
    assert (base.model, base.epochs, base.data) == ("compact-half", 2, Path("x"))
    for words in (
        ["--seeds", "4"],
        ["--arms", "b0"],
        ["--epochs", "9"],
        ["--tau=1"],
        ["--no-flip"],
    ):
        flag = words[0].split("=")[0]
        with pytest.raises(ConfigError, match=f"decides what is run, so {flag} cannot"):
            parse(["--plan", str(plan), *words])
    with pytest.raises(ConfigError, match="about 1 bank"):
        parse(["--plan", str(plan), "--bank", "a", "b"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('seeds = 3', 'seeds = 1', "seeds must be 2 or more"),
        ('seeds = 3', '', "no 'seeds'"),
        ('seeds = 3', 'seeds = "3"', "'seeds', where int belongs"),
        ('seeds = 3', 'seeds = 3\nseed = 4', "seed, which a plan file does not know"),
        ('"va-kernel"]', '"va_kernel"]', "arms must be different ones of"),
        ('"va-kernel"]', '"b3"]', "arms must be different ones of"),
        ('against = "b0"', 'against = "b2"', "both must be among its arms"),
        ('against = "b0"', 'against = "b3"', "both must be among its arms"),
        ('"log_loss"', '"auc"', "the score 'auc' is none of"),
        ('"b0"\nscore = "log_loss"', '"va-kernel"\nscore = "accuracy"', "twice"),
        ('equivalence = 0.5', 'equivalence = 0.0', "equivalence above 0"),
        ('"--epochs", "2"', '"--epochs", 2', "list of strings"),
        ("title", "title =", "not valid TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_plan_is_said(plan, old, new, message):
    assert old in TEXT
    plan.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_plan(plan)


def test_a_plan_lies_beside_its_runs_and_is_not_exchanged(plan, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    keep_plan(read_plan(plan), out)
    assert (out / FILE).read_bytes() == plan.read_bytes()
    keep_plan(read_plan(plan), out)
    plan.write_text(TEXT.replace("0.5", "0.4"))
    with pytest.raises(ConfigError, match="is another plan"):
        keep_plan(read_plan(plan), out)
    later = tmp_path / "later"
    (later / "runs/b0/seed0").mkdir(parents=True)
    (later / "runs/b0/seed0/config.json").write_text("{}")
    with pytest.raises(ConfigError, match="begun without a plan"):
        keep_plan(read_plan(plan), later)


def test_several_banks_are_used_and_none_twice(tmp_path):
    files = []
    for seed in range(3):
        files.append(tmp_path / f"bank{seed}.safetensors")
        demo_bank(width=32, seed=seed).save(files[-1])
    config = AblateConfig(bank=tuple(files))
    assert make_banks(config, tmp_path / "banks", None) == {5: [f.resolve() for f in files]}
    with pytest.raises(BankError, match="are the same bank"):
        make_banks(replace(config, bank=(files[0], files[1], files[0])), tmp_path / "banks", None)
