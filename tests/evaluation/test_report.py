"""The page and the terminal table of a run."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.calibration import Scaling, calibration
from neurogaze_fast.evaluation.metrics import split_scores
from neurogaze_fast.evaluation.plots import plot_confusion, plot_curves
from neurogaze_fast.evaluation.remarks import remarks
from neurogaze_fast.evaluation.report import score_table, write_report

pytestmark = pytest.mark.filterwarnings("error")

VOID = {"meta", "img", "br", "hr", "link", "input"}


class StrictParser(HTMLParser):
    """Fails on a tag that is not closed in order; keeps the text and all attributes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.attributes, self.tags, self.text = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def history_of(epochs):
    return [
        {"epoch": e, "seconds": 2.5, "train": {"total": 1 / e}, "valid": {"macro_f1": 0.1 * e}}
        for e in range(1, epochs + 1)
    ]


def scores_of(classes, n=400, seed=0, duplicates=0.1):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n)
    logits = rng.normal(size=(n, 8))
    logits[np.arange(n), labels] += 1.5
    return split_scores(logits, labels, rng.random(n) < duplicates)


@pytest.fixture
def metrics():
    valid = scores_of(np.arange(8))
    return {
        "valid": valid,
        "test": scores_of([1, 2, 3], seed=1),
        "synthetic": False,
        "selected": {"epoch": 2, "by": "macro_f1", "on": "valid"},
        "last": {"valid": scores_of(np.arange(8), seed=2)},
    }


def report_of(run, metrics, **changes):
    given = {
        "config": {},
        "metrics": metrics,
        "history": history_of(3),
        "provenance": {},
        **changes,
    }
    return write_report(run, **given).read_text(encoding="utf-8")


def printed(metrics, width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(score_table(metrics))
    return console.file.getvalue()


def line_of(text, start):
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_the_page_stands_alone(tmp_path, metrics):
    plot_curves(history_of(3), tmp_path / "curves.png")
    plot_confusion(np.eye(8, dtype=int), tmp_path / "confusion.png", "valid")
    Image.new("L", (4, 4)).save(tmp_path / "extra_plot.png")
    page = report_of(tmp_path, metrics)
    parsed = StrictParser(page)

    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert not [key for key, _ in parsed.attributes if key.startswith("on") or key == "href"]
    assert "@import" not in page
    assert "url(" not in page
    sources = [value for key, value in parsed.attributes if key == "src"]
    embedded = [base64.b64decode(s.removeprefix("data:image/png;base64,")) for s in sources]
    names = ["curves.png", "confusion.png", "extra_plot.png"]
    assert embedded == [(tmp_path / name).read_bytes() for name in names]
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_forms_that_say_the_same_are_said_once(tmp_path):
    every = {"valid": scores_of(np.arange(8)), "synthetic": False}
    text = StrictParser(report_of(tmp_path, every)).text
    table = text[text.index("balanced accuracy, %") : text.index("8-way: argmax")]
    assert table.count("8-way") == 2  # with and without duplicates
    assert "present only" not in table
    some = {"valid": scores_of([0, 1, 2]), "synthetic": False}
    text = StrictParser(report_of(tmp_path, some)).text
    table = text[text.index("balanced accuracy, %") : text.index("8-way: argmax")]
    assert table.count("present only, 3 of 8") == 2


def test_the_page_holds_every_score_and_value(tmp_path, metrics):
    config = {"lr": 2e-4, "bank": {"file": "bank.safetensors", "options": {"grid": 5}}, "none": {}}
    provenance = {"sha256": {"fer2013.csv": "ab" * 32}, "torch": "2.14.1"}
    text = StrictParser(report_of(tmp_path, metrics, config=config, provenance=provenance)).text

    for scores in (metrics["valid"], metrics["test"], metrics["last"]["valid"]):
        for part in (scores, scores["without_duplicates"]):
            for form in ("8way", "present_only", "present_only_labels"):
                for name in ("accuracy", "macro_f1", "balanced_accuracy"):
                    assert f"{100 * part[form][name]:.2f}" in text
            for recall in part["8way"]["recall"].values():
                assert f"{100 * recall:.2f}" in text
    assert "present only, 3 of 8" in text
    assert "valid (last), no duplicates" in text
    assert all(emotion in text for emotion in EMOTIONS)
    assert "absent" in text
    assert "bank.options.grid 5" in text
    assert "sha256.fer2013.csv " + "ab" * 32 in text
    assert "epoch 2, chosen by macro_f1 on valid" in text
    assert "3 epochs took 7.5 s" in text
    assert "train.total" in text


def test_synthetic_results_carry_a_banner_and_real_ones_do_not(tmp_path, metrics):
    banner = 'class="synthetic" role="alert"'
    assert banner not in report_of(tmp_path, metrics)
    page = report_of(tmp_path, {**metrics, "synthetic": True})
    assert banner in page
    assert page.index(banner) < page.index("<table"), "above the first number"
    assert "know no EEG" not in page
    page = report_of(tmp_path, {**metrics, "synthetic_bank": True})
    assert page.index("know no EEG") < page.index("<table")
    assert banner not in page


def test_strings_are_escaped(tmp_path, metrics):
    bad = "<script>alert('x')</script> & \"q\""
    run = tmp_path / "a<b>&c"
    run.mkdir()
    Image.new("L", (4, 4)).save(run / "p<i>.png")
    changed = {
        **metrics,
        "<u>split": metrics["valid"],
        "selected": {"epoch": bad, "by": bad, "on": bad},
    }
    history = [{**entry, bad: bad} for entry in history_of(2)]
    page = report_of(
        run, changed, config={bad: bad}, provenance={bad: {bad: [bad]}}, history=history
    )
    parsed = StrictParser(page)
    assert not {"script", "b", "i", "u"} & set(parsed.tags)
    assert parsed.text.count(bad) >= 6
    assert "<u>split" in parsed.text
    assert "a<b>&c" in parsed.text


def test_a_name_that_is_no_unicode_does_not_fail_the_run(tmp_path, metrics):
    page = report_of(tmp_path, metrics, config={"data": "/data/\udcff"})
    assert "/data/\\udcff" in page


def test_no_history_no_pictures_and_only_duplicates(tmp_path):
    scores = scores_of([0, 1], duplicates=2.0)
    assert scores["without_duplicates"] is None
    metrics = {"valid": scores, "synthetic": False}
    parsed = StrictParser(report_of(tmp_path, metrics, history=[]))
    assert "none left, or not known which they are" in parsed.text
    assert "img" not in parsed.tags
    assert "details" not in parsed.tags
    assert re.search(r"no duplicates +0", printed(metrics))


def test_the_page_is_replaced_as_a_whole(tmp_path, metrics):
    path = write_report(tmp_path, config={}, metrics=metrics, history=[], provenance={})
    assert path == tmp_path / "report.html"
    first = path.read_bytes()
    assert write_report(tmp_path, config={}, metrics=metrics, history=[], provenance={}) == path
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_metrics_survive_a_round_trip_through_json(tmp_path, metrics):
    direct = report_of(tmp_path, metrics)
    assert report_of(tmp_path, json.loads(json.dumps(metrics, allow_nan=False))) == direct


@pytest.mark.parametrize(
    ("change", "message"),
    [({"synthetic": None}, "synthetic"), ({"valid": None}, "no scored split")],
)
def test_metrics_that_hide_something_are_refused(tmp_path, metrics, change, message):
    broken = {"valid": metrics["valid"], "synthetic": False, **change}
    with pytest.raises(DataError, match=message):
        report_of(tmp_path, broken)
    with pytest.raises(DataError, match=message):
        score_table(broken)
    assert list(tmp_path.iterdir()) == []


def test_the_table_shows_percentages_with_two_decimals(metrics):
    text = printed(metrics)
    scores, fresh = metrics["test"], metrics["test"]["without_duplicates"]
    order = [("8way", n) for n in ("accuracy", "macro_f1", "balanced_accuracy")]
    order += [("present_only", n) for n in ("accuracy", "macro_f1", "balanced_accuracy")]
    order += [("present_only_labels", "macro_f1")]  # the other two always equal 8-way
    lines = text.splitlines()
    row = lines.index(line_of(text, "test"))
    expected = [str(scores["n"]), *(f"{100 * scores[form][name]:.2f}" for form, name in order)]
    assert lines[row].split() == ["test", *expected]
    expected = [str(fresh["n"]), *(f"{100 * fresh[form][name]:.2f}" for form, name in order)]
    assert lines[row + 1].split() == ["no", "duplicates", *expected]
    assert line_of(text, "valid (last)")
    assert "SYNTHETIC" not in text


def test_present_only_columns_vanish_where_all_eight_occur(metrics):
    text = printed({"valid": metrics["valid"], "synthetic": False})
    assert text.count("8-way") == 3
    assert "only" not in text
    assert "labels" not in text


def test_the_table_says_synthetic_and_fits_a_terminal(metrics):
    metrics["valid"]["vote_ceiling"] = {
        "accuracy": 0.9164, "macro_f1": 0.829, "balanced_accuracy": 0.811,
    }  # fmt: skip
    text = printed({**metrics, "synthetic": True}, width=80)
    assert "SYNTHETIC FACES" in text
    assert max(map(len, text.splitlines())) <= 80
    assert line_of(text, "vote ceiling").split() == ["vote", "ceiling", "91.64", "82.90", "81.10"]
    assert line_of(text, "no duplicates")


def test_the_vote_ceiling_is_on_the_page(tmp_path, metrics):
    metrics["valid"]["vote_ceiling"] = dict.fromkeys(
        ("accuracy", "macro_f1", "balanced_accuracy"), 0.98765
    )
    text = StrictParser(report_of(tmp_path, metrics)).text
    assert "valid, vote ceiling 8-way 98.77 98.77 98.77" in text


def remark_of(metrics, start):
    return next(text for text in remarks(metrics) if text.startswith(start))


def test_the_page_and_the_terminal_say_what_the_scores_rest_on(tmp_path, metrics):
    rng = np.random.default_rng(0)
    labels = rng.choice([1, 2, 3], 300)
    logits = rng.normal(size=(300, 8))
    scores = split_scores(logits, labels, np.zeros(300, bool), draws=50)
    scores["duplicates"] = {"known": True, "n": 0}
    scores["calibration"], _ = calibration(logits, labels, Scaling("fitted on valid", 2.0))
    scores["valence_arousal"] = None
    given = {"all": scores, "synthetic": False, "selected": metrics["selected"]}
    given["data"] = {
        "same_as_training": False, "mapping": {"6": "anger"}, "left_out": {"all": {"no face": 7}},
    }  # fmt: skip
    text = StrictParser(report_of(tmp_path, given)).text
    for remark in remarks(given):
        assert remark in text
    assert "chosen by macro_f1 on valid of the set trained on" in text
    assert "used for nothing but this scoring" in text
    assert "6 = anger" in text
    assert "7 rows of all were left out: no face" in text
    assert "all: no image of neutral, anger, disgust, fear, contempt; " in text
    assert "all: no image also occurs in the training set" in text
    assert "T = 2.000, fitted on valid" in text
    assert "no annotated valence and arousal" in text
    low, high = scores["8way"]["intervals"]["macro_f1"]
    assert f"[{100 * low:.1f},\u00a0{100 * high:.1f}]".replace("\u00a0", " ") in text
    low, high = scores["8way"]["recall_intervals"]["sadness"]
    assert f"[{100 * low:.1f}, {100 * high:.1f}]" in text
    points = scores["images_per_macro_f1_point"]
    least = min(points, key=points.get)
    assert f"one point of macro-F1 is {points[least]:.1f} {least} images, or " in text
    assert "vote ceiling" not in remark_of(given, "The weights")


def test_remarks_where_little_is_known(metrics):
    scores = metrics["test"]
    scores["duplicates"] = {"known": False, "n": 0, "why": "not comparable"}
    logits, labels = np.eye(8), np.arange(8)
    scores["calibration"], _ = calibration(logits, labels, Scaling("unavailable: none"))
    scores["valence_arousal"] = {
        "read_out": "expected", "n": 2,
        "valence": {"ccc": None, "rmse": 0.5}, "arousal": {"ccc": 0.25, "rmse": 0.125},
    }  # fmt: skip
    given = {"test": scores, "synthetic": False}
    assert "is unknown (not comparable)" in remark_of(given, "test: whether")
    assert remark_of(given, "test: calibration").endswith("temperature scaling: unavailable: none.")
    found = remark_of(given, "test: read-out")
    assert "2 annotations: valence CCC undefined, RMSE 0.500; arousal CCC 0.250" in found
    last = {"selected": {"epoch": 3, "by": "last", "on": "valid"}, **given}
    assert "nothing was chosen" in remark_of(last, "The weights")
