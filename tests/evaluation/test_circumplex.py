"""The valence/arousal read-out, its scores, and the pictures of a scored split."""

import numpy as np
import pytest

from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.evaluation.calibration import Scaling, calibration, probabilities
from neurogaze_fast.evaluation.circumplex import expected_va, va_scores
from neurogaze_fast.evaluation.score_plots import EMOTION_STYLE, plot_circumplex, plot_reliability
from tests.helpers import is_picture

pytestmark = pytest.mark.filterwarnings("error")


def test_a_sure_face_lies_where_its_emotion_does():
    places = np.array([VALENCE_AROUSAL[emotion] for emotion in EMOTIONS])
    np.testing.assert_allclose(expected_va(np.eye(8)), places)
    mixed = expected_va(np.array([[0.5, 0.5, 0, 0, 0, 0, 0, 0]]))
    np.testing.assert_allclose(mixed, [(places[0] + places[1]) / 2])


def test_scores_of_annotated_rows_only():
    annotated = np.array([[0.5, 0.0], [-0.5, 0.2], [np.nan, np.nan], [0.1, -0.4]], np.float32)
    predicted = np.array([[0.4, 0.0], [-0.6, 0.2], [0.9, 0.9], [0.0, -0.4]])
    found = va_scores(predicted, annotated)
    assert (found["n"], found["read_out"]) == (3, "expected")
    assert found["arousal"]["ccc"] == pytest.approx(1)
    assert found["arousal"]["rmse"] == pytest.approx(0, abs=1e-7)
    assert found["valence"]["rmse"] == pytest.approx(0.1)
    # 2 cov / (var + var + squared difference of means), by numpy
    p, t = predicted[[0, 1, 3], 0], annotated[[0, 1, 3], 0].astype(float)
    ccc = 2 * np.cov(p, t, ddof=0)[0, 1] / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
    assert found["valence"]["ccc"] == pytest.approx(ccc)
    assert va_scores(predicted, None) is None
    assert va_scores(predicted, np.full((4, 2), np.nan)) is None
    alike = va_scores(np.full((2, 2), 0.25), np.full((2, 2), 0.25))
    assert alike["valence"] == {"ccc": None, "rmse": 0.0}


@pytest.mark.parametrize(("n", "classes"), [(300, range(8)), (1, [4])])
def test_pictures_of_any_split(tmp_path, n, classes):
    rng = np.random.default_rng(0)
    labels = rng.choice(list(classes), n)
    logits = rng.normal(size=(n, 8))
    for scaling in (Scaling("halves", cross_fit=True), Scaling("unavailable: none was kept")):
        scores, divisor = calibration(logits, labels, scaling)
        plot_reliability(logits, labels, divisor, scores, tmp_path / "reliability.png")
        assert is_picture(tmp_path / "reliability.png")
    plot_circumplex(expected_va(probabilities(logits)), labels, tmp_path / "c.png", "x " * 90)
    assert is_picture(tmp_path / "c.png")


def test_every_emotion_has_a_colour_and_marker_of_its_own():
    assert tuple(EMOTION_STYLE) == EMOTIONS
    colours, markers = zip(*EMOTION_STYLE.values(), strict=True)
    assert len(set(colours)) == len(set(markers)) == len(EMOTIONS)
