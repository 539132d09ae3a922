"""The LaTeX table: made of metrics.json alone, whole, and never a number without its warning."""

import json

import numpy as np
import pytest

from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.latex import escape, latex_table
from neurogaze_fast.evaluation.metrics import split_scores


def metrics_of(classes, name="valid", draws=50, **more):
    rng = np.random.default_rng(0)
    labels = rng.choice(classes, 120)
    logits = rng.normal(size=(120, 8))
    logits[np.arange(120), labels] += 1.5
    scores = split_scores(logits, labels, np.arange(120) < 9, draws=draws)
    return {name: scores, "synthetic": False, "model_sha256": "ab" * 32, **more}


def body(table):
    return [line for line in table.splitlines() if line.endswith(r"\\") and "tabular" not in line]


def test_every_score_comes_from_the_file():
    metrics = json.loads(json.dumps(metrics_of(range(8), data={"sha256": "cd" * 32})))
    table = latex_table(metrics)
    assert table.startswith("%")
    assert "% model sha256 " + "ab" * 32 in table
    assert "% data sha256 " + "cd" * 32 in table
    assert "SYNTHETIC" not in table
    head, whole, fresh = body(table)
    assert head.count("&") == whole.count("&") == fresh.count("&") == 5
    for line, part in ((whole, metrics["valid"]), (fresh, metrics["valid"]["without_duplicates"])):
        for name in ("accuracy", "macro_f1", "balanced_accuracy"):
            low, high = part["8way"]["intervals"][name]
            assert f"{100 * part['8way'][name]:.2f} [{100 * low:.1f}, {100 * high:.1f}]" in line
        assert f"& {part['n']} &" in line
    assert "no duplicates" in fresh
    assert r"\toprule" not in table, "nothing but plain LaTeX is needed"
    assert table.count(r"\begin{tabular}{llrrrr}") == table.count(r"\end{tabular}") == 1


def test_present_only_has_rows_where_an_emotion_is_absent():
    table = latex_table(metrics_of([1, 2, 4]))
    assert [line.split(" & ")[1] for line in body(table)[1:]] == [
        "8-way", "present only", "present only, labels",
    ] * 2  # fmt: skip
    assert "% data sha256 not recorded" in table


def test_synthetic_results_say_so_in_a_comment_and_in_the_table():
    table = latex_table(metrics_of(range(8)) | {"synthetic": True, "synthetic_bank": True})
    for word in ("SYNTHETIC FACES", "SYNTHETIC BANK"):
        lines = [line for line in table.splitlines() if word in line]
        assert [line.startswith("% ") for line in lines] == [True, False]
        assert r"\multicolumn{6}" in lines[1]


def test_names_cannot_break_the_table():
    metrics = metrics_of(range(8), name="50% a_b & {c}\n^~\\")
    table = latex_table(metrics | {"model_sha256": "x\n\\input{evil}"})
    assert r"50\% a\_b \& \{c\} \textasciicircum{}\textasciitilde{}\textbackslash{}" in table
    assert all(line.startswith("%") for line in table.splitlines() if "evil" in line)
    assert escape("#$") == r"\#\$"


def test_older_metrics_without_intervals_and_with_a_ceiling():
    metrics = metrics_of(range(8), draws=0)
    metrics["valid"]["vote_ceiling"] = dict.fromkeys(
        ("accuracy", "macro_f1", "balanced_accuracy"), 0.9
    )
    metrics["valid"]["without_duplicates"] = None
    lines = body(latex_table(metrics))
    assert len(lines) == 3
    assert "[" not in lines[1]
    assert lines[2].startswith("valid, vote ceiling & 8-way &  & 90.00 & 90.00 & 90.00")


def test_metrics_that_hide_whether_they_are_synthetic_are_refused():
    with pytest.raises(DataError, match="synthetic"):
        latex_table({**metrics_of(range(8)), "synthetic": None})
