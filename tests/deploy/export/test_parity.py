"""The report: what it measures, and that its limits bite."""

import json
import re

import numpy as np
import pytest

from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.export.parity import (
    LIMITS,
    ParityFaces,
    _broken,
    _interval,
    compare,
    table,
    take_faces,
)
from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.load import load_faces
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import load_model
from tests.deploy.small_model import SIZE


@pytest.fixture(scope="module")
def faces():
    images, votes = draw_faces("train", 24)
    prepared = np.stack([prepare_face(image, SIZE) for image in images])
    return ParityFaces(prepared, hard_labels(votes), "drawn", True)


pytestmark = pytest.mark.usefixtures("quick_timing")


class Altered:
    """An engine whose answers were changed."""

    name, detail, input_size = "altered", "altered, fp32", SIZE

    def __init__(self, engine, change, change_affect=lambda affect: affect):
        self._engine, self._change, self._change_affect = engine, change, change_affect

    def run(self, images):
        probabilities, affect = self._engine.run(images)
        return self._change(probabilities.copy()), self._change_affect(affect.copy())


@pytest.fixture(scope="module")
def engine(fitted_run):
    return open_engine(fitted_run, "torch", threads=1)


def report_of(fitted_run, engine, faces, precision="fp32"):
    return compare(engine, precision, load_model(fitted_run)[0], SIZE, faces)


def test_a_faithful_engine_passes(fitted_run, engine, faces):
    report = report_of(fitted_run, engine, faces)
    assert report["passed"]
    assert report["reasons"] == []
    assert report["label_agreement"] == 1
    assert report["torch"] == report["of_engine"]
    assert report["faces"] == {"n": 24, "source": "drawn", "synthetic": True}
    assert report["max_valence_arousal_difference"] < 1e-4
    assert 0 < report["time"]["one_p50_ms"] <= report["time"]["one_p99_ms"]
    assert report["time"]["images_per_second"] > 0
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert table(report).row_count == 10


def test_small_changes_fail_fp32(fitted_run, engine, faces):
    def shift(p):
        p[0, 0] += 0.01
        return p

    report = report_of(fitted_run, Altered(engine, shift), faces)
    assert not report["passed"]
    assert "a probability changed by 1.00e-02, more than 1e-04" in report["reasons"][0]


def test_other_labels_fail_every_precision(fitted_run, engine, faces):
    def reverse(p):
        p[:12] = p[:12, ::-1]
        return p

    for precision in LIMITS:
        report = report_of(fitted_run, Altered(engine, reverse), faces, precision)
        assert not report["passed"]
        assert "labels are the same (ties left out; 95 % interval" in " ".join(report["reasons"])


def test_other_valence_and_arousal_fail_every_precision(fitted_run, engine, faces):
    for change in (lambda affect: affect[:, ::-1], lambda affect: affect + 0.002):
        altered = Altered(engine, lambda p: p, change)
        for precision in LIMITS:
            report = report_of(fitted_run, altered, faces, precision)
            assert not report["passed"]
            assert "valence and arousal lie" in report["reasons"][0]


def test_int8_may_lose_one_point_of_macro_f1():
    report = {
        "max_probability_difference": 0.2,
        "label_agreement_without_ties": 0.98,
        "label_agreement_interval": [0.97, 0.987],
        "macro_f1_change": -0.009,
        "valence_arousal_error": 1e-7,
    }
    assert _broken(report, LIMITS["int8"]) == []
    reasons = _broken({**report, "macro_f1_change": -0.02}, LIMITS["int8"])
    assert reasons == ["macro-F1 lost 2.00 points, more than 1"]
    assert len(_broken(report, LIMITS["bf16"])) == 1
    assert _broken({**report, "label_agreement_interval": [0.99, 0.999]}, LIMITS["fp16"]) == []


def test_one_face_of_a_thousand_does_not_decide_about_a_precision():
    report = {
        "max_probability_difference": 0.2, "macro_f1_change": 0.0, "valence_arousal_error": 1e-7,
    }  # fmt: skip

    def reasons(same, n, precision):
        agreement = {
            "label_agreement_without_ties": same / n,
            "label_agreement_interval": _interval(np.arange(n) < same),
        }
        return _broken(report | agreement, LIMITS[precision])

    assert reasons(988, 994, "bf16") == []  # 99.4 %: one face fewer than 99.5 % asks for
    (why,) = reasons(980, 994, "bf16")
    assert re.search(r"98\.592 % .* 95 % interval 97\.6\d to 99\.1\d %.* fewer than 99\.5 %", why)
    # fp32 may change nothing: a single label is too many however many faces there were.
    assert len(reasons(993, 994, "fp32")) == 2
    assert _interval(np.zeros(0, bool)) == [1.0, 1.0]


def test_ties_do_not_count_against_an_engine(fitted_run, engine, faces, monkeypatch):
    monkeypatch.setattr("neurogaze_fast.deploy.export.parity.TIE", 2.0)  # then every face is one
    report = report_of(fitted_run, Altered(engine, lambda p: p[:, ::-1]), faces, "fp16")
    assert report["ties"] == 24
    assert report["label_agreement"] < 1
    assert report["label_agreement_without_ties"] == 1


def test_faces_are_spread_over_the_split(small_set):
    found = load_faces(None, small_set)
    chosen = take_faces(found, "valid", 7, SIZE)
    assert chosen.images.shape == (7, SIZE, SIZE, 3)
    index, targets = found["valid"].labelled("argmax")
    assert chosen.labels[0] == targets[0].argmax()
    assert chosen.labels[-1] == targets[-1].argmax()
    assert len(take_faces(found, "valid", 10_000, SIZE).labels) == len(index)
    with pytest.raises(DataError, match="no 'test' split"):
        take_faces(found, "test", 7, SIZE)
