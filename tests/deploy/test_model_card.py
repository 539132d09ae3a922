"""MODEL_CARD.md and the shipped README speak of the shipped weights and no others."""

import copy
import json
import re
from pathlib import Path

import pytest

from benchmarks.ship_model import BEGIN, CARD, END, with_card
from neurogaze_fast.deploy.model_card import Described, card, config_json, readme
from neurogaze_fast.deploy.shipped import SHIPPED
from neurogaze_fast.emotions import EMOTIONS


@pytest.fixture
def model():
    return Described.read(SHIPPED)


def test_the_card_agrees_with_the_shipped_files(model):
    text = Path(CARD).read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    between = text.split(BEGIN + "\n")[1].split(END)[0]
    assert between == card(model), "run benchmarks/ship_model.py, or write the card anew"
    assert (SHIPPED / "README.md").read_text(encoding="utf-8") == readme(model)
    assert (SHIPPED / "config.json").read_bytes() == config_json(model)


def test_it_holds_the_figures_of_metrics_json(model):
    """Read back from the text, so that a figure in the wrong row is noticed."""
    once = json.loads((SHIPPED / "metrics.json").read_text())["once"]["valid"]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in card(model).splitlines()
        if line.startswith("|")
    ]
    table = {row[0]: row[1:] for row in rows}
    for name, scores in (
        ("argmax", once["8way"] | {"n": once["n"]}),
        ("argmax, without duplicates",
         once["without_duplicates"]["8way"] | {"n": once["without_duplicates"]["n"]}),
        ("majority (the literature's)", once["rules"]["majority"]),
        ("argmax, ties shared", once["rules"]["ties_shared"]),
    ):  # fmt: skip
        n, accuracy, f1 = (float(re.match(r"[\d.]+", cell)[0]) for cell in table[name][:3])
        assert n == scores["n"]
        assert accuracy == pytest.approx(100 * scores["accuracy"], abs=0.051)
        assert f1 == pytest.approx(100 * scores["macro_f1"], abs=0.051)
    for emotion in EMOTIONS:
        images, recall = table[emotion][:2]
        assert int(images) == once["n_by_emotion"][emotion]
        assert re.fullmatch(r"\d+ \[\d+, \d+\]", recall)
        assert int(recall.split()[0]) == round(100 * once["8way"]["recall"][emotion])


def test_it_names_the_weights_the_terms_and_what_they_are_not_for(model):
    text = card(model)
    assert model.sha256[:16] in text
    assert "license: other" in text
    assert "nobody in them agreed" in text
    assert "Not for" in text
    assert f"divided by {model.temperature:.3f}" in text


def test_another_model_gives_another_card(model):
    other = copy.deepcopy(model)
    other.metrics["once"]["valid"]["8way"]["accuracy"] += 0.01
    assert card(other) != card(model)
    teacher = {"sha256": "ab" * 32, "models": ["cd" * 32, "ef" * 32], "synthetic": True}
    other.provenance["kd_teacher"] = teacher
    assert "`cdcdcdcdcdcdcdcd...`, `efefefefefefefef...`" in card(other)
    assert "one of them learned from drawn faces" in card(other)
    bare = Described(model.sha256, 1, model.provenance, {})
    assert "No scores were stored" in card(bare)
    assert "model-index" not in readme(bare)


def test_the_rest_of_the_file_stays():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_card(text, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
