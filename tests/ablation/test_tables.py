"""Tables made from the summary alone; the page of results shows those of the committed runs."""

import json
from pathlib import Path

import pytest

from neurogaze_fast.ablation.plots import plot_differences, plot_timeline
from neurogaze_fast.ablation.report import write_ablation
from neurogaze_fast.ablation.results import collect
from neurogaze_fast.ablation.statistics import Estimate
from neurogaze_fast.ablation.summary import summarise
from neurogaze_fast.ablation.tables import arm_rows, difference_rows, latex, markdown, notes
from neurogaze_fast.errors import DataError
from tests.ablation.runs import fingerprint, write_run


@pytest.fixture
def summary(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "b0", seed, [0.2, 0.50 + 0.01 * seed])
        write_run(tmp_path, "b3", seed, [0.3, 0.60 + 0.01 * seed])
    write_run(tmp_path, "shuffled", 0, [0.3, 0.61])
    return summarise(collect(tmp_path), {"random": "not run yet"})


def test_summary_is_plain_json(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_arms(summary):
    rows = {row[0].split(":")[0]: row for row in arm_rows(summary)}
    assert rows["b0"][1:4] == ["3", "70.00 ± 0.00", "51.00 ± 1.00"]
    assert rows["shuffled"][1:4] == ["1", "70.00", "61.00"]
    assert rows["random"][1] == "not run"
    assert rows["b3"][5].split(" / ")[1] == "60.00"  # without duplicates, a point less
    assert rows["b3"][7] == "20"


def test_differences_carry_their_interval_and_a_star(summary):
    rows = {row[0]: row for row in difference_rows(summary)}
    assert rows["b3 - b0"][3] == "+10.00* [+10.00, +10.00]"
    assert rows["b3 - shuffled"][3] == "-1.00 (one seed)"
    assert summary["one_image"] == pytest.approx(0.005)
    assert "0.50 points" in notes(summary)
    assert "SYNTHETIC BANK" in notes(summary)


def test_markdown_and_latex_are_whole(summary):
    lines = markdown(summary).splitlines()
    for line in lines:
        if line.startswith("|"):
            assert line.count("|") in (lines[0].count("|"), 8)
    text = latex(summary)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {5}
    assert r"$\pm$" in text
    assert "±" not in "".join(body)


def test_pictures(tmp_path, summary):
    plot_timeline(collect(tmp_path), tmp_path / "t.png")
    rows = [("b3 - b0", Estimate.of([0.1, 0.11])), ("b3 - random", Estimate.of([0.01]))]
    plot_differences(rows, tmp_path / "d.png", one_image=0.005)
    for name in ("t.png", "d.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="nothing to draw"):
        plot_timeline([], tmp_path / "none.png")


def test_nothing_is_written_before_a_run_has_finished(tmp_path):
    assert write_ablation(tmp_path, left_out={}, planned=[]) == {}
    assert not list(tmp_path.iterdir())


def test_a_study_keeps_what_tells_its_runs_apart_and_no_folder_of_the_machine(
    tmp_path, monkeypatch
):
    from benchmarks import results_table

    monkeypatch.setattr(results_table, "STUDIES", tmp_path / "studies")
    made = fingerprint(bank="x")
    made |= {key: "a hash" for key in results_table.OF_FINGERPRINT if key not in made}
    made["environment"] |= dict.fromkeys(("numpy", "cpu_capability", "native"), "known")
    made["data"] = {"source": "/somewhere", "sha256": "y"}
    made["configuration"] = {"data": "/somewhere"}
    for seed in (0, 1):
        write_run(tmp_path / "out", "b0", seed, [0.5], made=made)
        write_run(tmp_path / "out", "b3", seed, [0.6], made=made)
    write_ablation(tmp_path / "out", left_out={}, planned=[])
    (tmp_path / "out/runs/b3/seed1/valid_logits.npz").write_bytes(b"logits")
    results_table.add(tmp_path / "out", "study")
    study = tmp_path / "studies/study"
    kept = [path.relative_to(study) for path in study.rglob("valid_logits.npz")]
    assert kept == [Path("runs/b3/seed1/valid_logits.npz")]
    (again, *_) = collect(study)
    assert again.bank == "x"
    assert again.fingerprint["environment"]["threads"] == 1
    assert "/somewhere" not in "".join(p.read_text() for p in study.rglob("*.json"))
    summary = results_table.summary_of(study)
    assert summary == json.loads((tmp_path / "out/ablation.json").read_text())
    assert summary["core_hours"] == pytest.approx(40 / 3600)


def test_the_page_shows_the_committed_results():
    from benchmarks import results_table

    text = results_table.PAGE.read_text()
    assert results_table.STUDIES.is_dir()
    assert results_table.replaced(text) == text, "run python -m benchmarks.results_table"


def test_corrupted_scores_are_given_to_the_arm_they_are_of(tmp_path):
    """Whatever order the runs were scored in; a folder of other arms is refused."""
    from benchmarks.corruption_study import scored

    folder = tmp_path / "corruptions/seed0"
    folder.mkdir(parents=True)
    runs = {f"{arm}/seed0": {"of": arm} for arm in ("b0", "shuffled", "b1")}
    content = {"reference": "b0/seed0", "runs": runs}
    (folder / "corruptions.json").write_text(json.dumps(content))
    _, found = scored(tmp_path, tmp_path, ["b0", "b1", "shuffled"], 0, 1)
    assert {arm: run["of"] for arm, run in found.items()} == {arm: arm for arm in found}
    with pytest.raises(SystemExit, match="remove it"):
        scored(tmp_path, tmp_path, ["b0", "b1"], 0, 1)


def test_a_corruption_study_goes_on_where_the_earlier_networks_are_not(tmp_path, monkeypatch):
    from benchmarks import corruption_study as module

    def of(value):
        names = ("mean_accuracy", "mce", "relative_mce")
        return {"clean": {"accuracy": value}, **dict.fromkeys(names, value),
                "by_kind": {kind: {"mean_accuracy": value} for kind in module.KINDS}}  # fmt: skip

    out, arms = tmp_path / "plan", ["b0", "b1"]
    facts = {"n": 9, "seed": 0, "synthetic": False}
    before = module._result(out, facts, {arm: {"0": module.kept(of(0.5))} for arm in arms})
    (tmp_path / "2026-01-01-cpu-corruptions.json").write_text(json.dumps(before))
    (out / "runs/b0/seed1").mkdir(parents=True)
    (out / "runs/b0/seed1/model.safetensors").touch()
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "whole_seeds", lambda out: (["b1", "b0"], [1, 0, 2]))
    monkeypatch.setattr(module, "scored", lambda *_: (facts, {arm: of(0.25) for arm in arms}))
    first, second = module.study(out, tmp_path, 1)
    assert list(first["runs"]["b0"]) == ["0"] == list(first["runs"]["b1"])
    assert {seed: run["mce"] for seed, run in second["runs"]["b1"].items()} == {"0": 0.5, "1": 0.25}
    assert module.earlier(tmp_path / "another plan", arms, 0) is None
