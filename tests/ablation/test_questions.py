"""What was asked before the runs is told from what was looked at afterwards; runs fit together."""

import json

import numpy as np
import pytest

from neurogaze_fast.ablation.identity import check_code, check_same, differences
from neurogaze_fast.ablation.planfile import read_plan
from neurogaze_fast.ablation.questions import answers, verdict, whole_seeds
from neurogaze_fast.ablation.report import write_ablation
from neurogaze_fast.ablation.results import collect, contrast, over_teachers
from neurogaze_fast.ablation.statistics import CROSSED, SEEDS
from neurogaze_fast.ablation.summary import summarise
from neurogaze_fast.ablation.tables import markdown, notes, question_rows
from neurogaze_fast.errors import ArtifactError, DataError
from neurogaze_fast.training_code import training_code
from tests.ablation.plans import TEXT
from tests.ablation.runs import fingerprint, write_run


def arm_of_runs(out, arm, accuracies, *, banks=("x",), threads=1, rng=None, nll=1.0):
    for seed, accuracy in enumerate(accuracies):
        answered = None
        if rng is not None:
            votes = np.zeros((200, 10), np.uint8)
            votes[np.arange(200), np.arange(200) % 8] = 10
            logits = rng.standard_normal((200, 8)).astype(np.float32)
            right = rng.random(200) < accuracy
            logits[right, np.arange(200)[right] % 8] += 20
            answered = (logits, votes)
        bank = None if arm in ("b0", "b1") else banks[seed % len(banks)]
        made = fingerprint(bank=bank, threads=threads)
        write_run(out, arm, seed, [0.3, 0.5], accuracy=accuracy, answers=answered, made=made,
                  nll=nll + 0.01 * seed)  # fmt: skip


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(TEXT.replace("banks = 1", "banks = 2"))
    return read_plan(path)


def test_questions_are_corrected_by_themselves(tmp_path, plan):
    arm_of_runs(tmp_path, "b0", [0.70, 0.71, 0.69], nll=1.1)
    arm_of_runs(tmp_path, "b3", [0.75, 0.77, 0.74], nll=1.0)
    arm_of_runs(tmp_path, "va-kernel", [0.745, 0.765, 0.74])
    results = collect(tmp_path)
    rows = {(r["arm"], r["against"]): r for r in answers(results, plan)}
    primary = rows["b3", "va-kernel"]["accuracy"]
    assert primary["asked"] == "primary"
    assert primary["p_corrected"] == primary["p"]  # one question
    assert rows["b3", "b0"]["log_loss"]["asked"] == "secondary"
    assert rows["b3", "b0"]["log_loss"]["mean"] == pytest.approx(-0.1)
    after = [
        r[s] for r in rows.values() for s in r
        if isinstance(r[s], dict) and r[s]["asked"] == "afterwards"
    ]  # fmt: skip
    assert len(after) == 2 * 5 - 2
    found = rows["b3", "b0"]["accuracy"]
    assert found["asked"] == "afterwards"
    assert found["p_corrected"] > 2 * found["p"] > 0
    alone = {(r["arm"], r["against"]): r for r in answers(results, None)}
    assert alone["b3", "va-kernel"]["accuracy"]["asked"] == "afterwards"


def test_only_whole_seeds_count(tmp_path, plan):
    arm_of_runs(tmp_path, "b0", [0.70, 0.71, 0.69])
    arm_of_runs(tmp_path, "b3", [0.75, 0.77, 0.74])
    arm_of_runs(tmp_path, "va-kernel", [0.745, 0.765])
    arm_of_runs(tmp_path, "random", [0.1, 0.1])
    whole = whole_seeds(collect(tmp_path), plan)
    assert sorted((r.arm, r.seed) for r in whole) == [
        (arm, seed) for arm in ("b0", "b3", "va-kernel") for seed in (0, 1)
    ]
    summary = write_ablation(tmp_path, left_out={}, planned=[], plan=plan)
    assert summary["plan"]["whole_seeds"] == [0, 1]
    assert summary["plan"]["sha256"] == plan.sha256
    text = notes(summary)
    assert "2 of 3 seeds are whole" in text
    assert plan.sha256[:16] in text
    page = (tmp_path / "ablation.html").read_text()
    assert "What was asked before the runs" in page
    assert "A small question" in page
    head = next(line for line in markdown(summary).splitlines() if "question" in line)
    assert "p of 0.5 or more" in head
    assert [r[0] for r in question_rows(summary)] == ["b3 - va-kernel (primary)", "b3 - b0"]


def test_before_the_first_whole_seed_nothing_is_written(tmp_path, plan):
    arm_of_runs(tmp_path, "b0", [0.70, 0.71])
    assert write_ablation(tmp_path, left_out={}, planned=[], plan=plan) == {}
    assert not (tmp_path / "ablation.json").exists()


def test_answers_of_runs_widen_the_interval(tmp_path):
    rng = np.random.default_rng(0)
    arm_of_runs(tmp_path, "b0", [0.70, 0.71, 0.70, 0.71], rng=rng)
    arm_of_runs(tmp_path, "b3", [0.75, 0.76, 0.75, 0.76], rng=rng)
    results = collect(tmp_path)
    found = contrast(results, "b3", "b0", "accuracy")
    assert found.holds == CROSSED
    assert found.se > 0.005  # the same difference in all four seeds: on these very images none
    assert "bootstrap crossed over both" in notes(summarise(results, {}))
    (tmp_path / "runs/b3/seed1/valid_logits.npz").unlink()
    moved = (tmp_path / "runs").rename(tmp_path / "moved").rename(tmp_path / "elsewhere")
    (tmp_path / "new").mkdir()
    moved.rename(tmp_path / "new/runs")
    with pytest.raises(ArtifactError, match=r"valid_logits\.npz cannot be read"):
        contrast(collect(tmp_path / "new"), "b3", "b0", "accuracy")


def test_without_answers_the_interval_says_that_it_knows_no_other_images(tmp_path):
    arm_of_runs(tmp_path, "b0", [0.70, 0.71])
    arm_of_runs(tmp_path, "b3", [0.75, 0.77])
    assert contrast(collect(tmp_path), "b3", "b0", "accuracy").holds == SEEDS
    assert "no other images" in notes(summarise(collect(tmp_path), {}))


def test_teachers_are_a_factor_of_their_own(tmp_path):
    arm_of_runs(tmp_path, "b0", [0.70] * 6)
    arm_of_runs(tmp_path, "b3", [0.71, 0.74, 0.71, 0.74, 0.72, 0.75], banks=("x", "y"))
    found = over_teachers(collect(tmp_path), "b3", "b0", "accuracy")
    assert found.n == 2
    assert found.mean == pytest.approx(0.0283, abs=1e-3)
    assert summarise(collect(tmp_path), {})["banks"] == 2


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ({"code": "bb"}, "code"),
        ({"threads": 2}, "number of threads"),
        ({"cpu": "two"}, "processor"),
        ({"bank": "y"}, "bank"),
        (None, "fingerprint.json"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(tmp_path, made, what):
    write_run(tmp_path, "b3", 0, [0.5], made=fingerprint(bank="x"))
    write_run(tmp_path, "b2", 0, [0.5], made=fingerprint(bank="x"))
    write_run(tmp_path, "b2", 1, [0.5], made=fingerprint(bank="z"))  # another seed may
    assert differences(collect(tmp_path)) == []
    other = None if made is None else fingerprint(**{"bank": "x"} | made)
    write_run(tmp_path, "va-kernel", 0, [0.5], made=other)
    with pytest.raises(DataError, match=rf"{what}: .*--mixed"):
        summarise(collect(tmp_path), {})
    summary = summarise(collect(tmp_path), {}, mixed=True)
    assert summary["mixed"][0].startswith(what)
    assert check_same(collect(tmp_path), mixed=True) == summary["mixed"]
    assert f"MIXED RUNS, which differ in {what}" in notes(summary)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_runs_of_other_code_are_not_added_to(tmp_path):
    write_run(tmp_path, "b0", 0, [0.5], made=fingerprint(code=training_code()))
    write_run(tmp_path, "b1", 0, [0.5])  # an older version's says nothing
    check_code(collect(tmp_path), mixed=False)
    write_run(tmp_path, "b2", 0, [0.5], made=fingerprint(code="aa"))
    with pytest.raises(DataError, match=r"b2/seed0 was trained by other code.*--mixed"):
        check_code(collect(tmp_path), mixed=False)
    check_code(collect(tmp_path), mixed=True)


def test_the_hash_of_the_code_is_of_what_decides_what_is_learnt(tmp_path):
    package = tmp_path / "package"
    for name in ("train.py", "student/step.py", "faces/labels.py", "evaluation/plots.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("one")
    first = training_code(package)
    (package / "evaluation/plots.py").write_text("two")
    (package / "student/step.pyc").write_text("two")
    assert training_code(package) == first
    (package / "student/step.py").write_text("two")
    second = training_code(package)
    assert second != first
    (package / "student/step.py").rename(package / "student/steps.py")
    assert training_code(package) not in (first, second)


def test_verdicts_tell_shown_small_and_open_apart():
    def of(p, equivalent):
        return verdict({"p": p, "p_corrected": p, "p_equivalent": equivalent}, 0.5)

    assert of(0.01, 0.9) == "shown"
    assert of(0.01, 0.01) == "shown, and shown to be smaller than 0.5"
    assert of(0.4, 0.01) == "shown to be smaller than 0.5"
    assert of(0.4, 0.4) == "open"
    assert verdict({"p": None}, 0.5) == "open: one seed shows nothing"
