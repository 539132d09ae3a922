"""Scores by group against arithmetic and simulations; a manifest's column finds its images."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast import evaluate as evaluate_command
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.evaluation.calibration import calibration_scores
from neurogaze_fast.evaluation.config import EvaluateConfig
from neurogaze_fast.evaluation.groups import (
    NOT_STATED,
    SMALLEST,
    group_remark,
    group_rows,
    group_scores,
)
from neurogaze_fast.evaluation.intervals import wilson
from tests.helpers import is_picture


def answers(labels, right, rng):
    """Logits [N, 8] that are right where they should be, and else say the next emotion."""
    logits = 0.1 * rng.standard_normal((len(labels), 8))
    logits[np.arange(len(labels)), (labels + ~right) % 8] += 3
    return logits


def test_scores_are_those_of_the_groups_images():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)  # three emotions are absent
    groups = np.array(["old", "young", ""])[rng.integers(0, 3, 400)]
    logits = answers(labels, rng.random(400) < 0.7, rng)
    found = group_scores(logits, labels, groups)
    assert set(found["groups"]) == {"old", "young", NOT_STATED}
    from sklearn.metrics import f1_score

    for name, group in found["groups"].items():
        mine = groups == ("" if name == NOT_STATED else name)
        said, truth = logits[mine].argmax(1), labels[mine]
        assert group["n"] == mine.sum()
        assert group["accuracy"] == pytest.approx((said == truth).mean())
        f1 = f1_score(truth, said, labels=range(5), average="macro", zero_division=0)
        assert group["macro_f1"] == pytest.approx(f1)
        assert group["ece"] == pytest.approx(calibration_scores(logits[mine], truth)["ece"])
        assert group["intervals"]["accuracy"] == list(wilson((said == truth).sum(), mine.sum()))
        for emotion, rate in group["error_rate"].items():
            of = truth == EMOTIONS.index(emotion)
            assert rate["n"] == of.sum()
            assert rate["rate"] == pytest.approx((said[of] != truth[of]).mean())
            assert rate["interval"][0] <= rate["rate"] <= rate["interval"][1]
    accuracies = {name: group["accuracy"] for name, group in found["groups"].items()}
    gap = found["largest_gap"]
    assert gap["accuracy"] == pytest.approx(max(accuracies.values()) - min(accuracies.values()))
    assert gap["between"][0] == max(accuracies, key=accuracies.get)
    assert gap["interval"][0] < gap["accuracy"] < gap["interval"][1]


def mixed(rng, gap=0.0):
    """Two groups of which one shows mostly what is hard; `gap`: how much worse it is answered."""
    groups = np.array(["a"] * 200 + ["b"] * 200)
    labels = np.where(rng.random(400) < np.where(groups == "a", 0.8, 0.2), 1, 6)
    ease = np.where(labels == 1, 0.95, 0.45) - gap * (groups == "b")
    return answers(labels, rng.random(400) < ease, rng), labels, groups


def test_a_group_with_hard_emotions_does_not_look_worse_for_that_alone(monkeypatch):
    monkeypatch.setattr("neurogaze_fast.evaluation.groups.EXCHANGES", 200)
    rng = np.random.default_rng(1)
    p, deviations = [], []
    for _ in range(80):
        found = group_scores(*mixed(rng))
        assert found["largest_gap"]["accuracy"] > 0.1  # in plain accuracy it always looks worse
        p.append(found["p"])
        deviations.append(found["groups"]["b"]["deviation"])
    assert np.mean(np.array(p) < 0.05) < 0.11
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.15)
    assert abs(np.mean(deviations)) < 0.01
    worse = [group_scores(*mixed(rng, gap=0.2)) for _ in range(20)]
    assert np.mean([found["p"] < 0.05 for found in worse]) > 0.9
    assert all(found["groups"]["b"]["deviation"] < 0 for found in worse)


def test_p_values_are_corrected_for_the_number_of_groups(monkeypatch):
    monkeypatch.setattr("neurogaze_fast.evaluation.groups.EXCHANGES", 200)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(80):
        labels = rng.integers(0, 2, 400)
        groups = np.array([f"g{n}" for n in rng.integers(0, 8, 400)])
        found.append(group_scores(answers(labels, rng.random(400) < 0.7, rng), labels, groups)["p"])
    assert np.mean(np.array(found) < 0.05) < 0.13  # eight tests of 5 % each would give a third


def test_small_groups_are_shown_and_not_compared():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 8, 100 + SMALLEST - 1)
    groups = np.array(["many"] * 100 + ["few"] * (SMALLEST - 1))
    found = group_scores(answers(labels, rng.random(len(labels)) < 0.6, rng), labels, groups)
    assert found["groups"]["few"]["small"]
    assert found["groups"]["few"]["p_corrected"] is None
    assert (found["p"], found["largest_gap"]) == (None, None)
    assert "nothing is compared" in group_remark("age", found)
    assert any("few images" in row[0] for row in group_rows(found))


@pytest.mark.parametrize("values", [["x"] * 60, [str(n) for n in range(60)]])
def test_what_is_no_grouping_is_refused(values):
    labels = np.arange(60) % 8
    with pytest.raises(DataError, match="2 to 50"):
        group_scores(np.eye(8)[labels], labels, np.array(values))


def test_a_manifests_column_finds_its_images(finished, drawn, tmp_path, capsys):
    """Rows in any order, some left out by their label: every image keeps its own group."""
    images, votes, _ = drawn
    order = np.random.default_rng(4).permutation(100)
    with open(tmp_path / "faces.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "label_name", "Age"])
        for place, row in enumerate(order):
            Image.fromarray(images[row]).save(tmp_path / f"{row}.png")
            label = "unknown" if place % 9 == 0 else EMOTIONS[votes[row][:8].argmax()]
            writer.writerow([f"{row}.png", label, "young" if row < 50 else "old"])
    out = tmp_path / "out"
    words = [str(finished), "--faces", "manifest", "--data", str(tmp_path / "faces.csv")]
    evaluate_command.main([*words, "--groups", "age", "--out", str(out)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "docs/groups.md" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    found = metrics["groups"]
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name, group in found["groups"].items():
        mine = [r for r in rows if (int(r["name"].split(".")[0]) < 50) == (name == "young")]
        assert group["n"] == len(mine)
        right = np.mean([r["label"] == r["predicted"] for r in mine])
        assert group["accuracy"] == pytest.approx(right)
    assert sum(group["n"] for group in found["groups"].values()) == metrics["all"]["n"]
    assert is_picture(out / "groups.png")
    assert "By age" in (out / "report.html").read_text()
    absent = EvaluateConfig(
        finished, faces="manifest", data=tmp_path / "faces.csv", groups="gender", out=tmp_path / "b"
    )
    with pytest.raises(DataError, match=r"no column 'gender': its columns are image_path"):
        evaluate_command.evaluate(absent)
    assert not (tmp_path / "b").exists()
    with pytest.raises(ConfigError, match="column of a manifest"):
        evaluate_command.evaluate(EvaluateConfig(finished, groups="age", out=tmp_path / "c"))
