"""Features in two dimensions, and class means beside what the bank asks of them."""

import json

import numpy as np
import pytest
import torch

from neurogaze_fast import evaluate as evaluate_command
from neurogaze_fast.evaluation.feature_plots import plot_features, plot_geometry
from neurogaze_fast.evaluation.features import (
    agreement,
    bank_geometry,
    cells_of_votes,
    cka,
    class_means,
    features_of,
    neighbour_map,
    principal_plane,
)
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.prototypes.grid import emotion_cells
from neurogaze_fast.student.networks import build_student
from tests.helpers import is_picture


def test_features_are_what_the_classifier_sees(drawn):
    torch.manual_seed(0)
    model = build_student("compact-half").eval()
    images = drawn[0][:10]
    found = features_of(model, images, size=32, device=torch.device("cpu"), batch_size=4)
    from neurogaze_fast.student.inference import predict_logits

    logits = predict_logits(model, images, size=32, device=torch.device("cpu"))
    np.testing.assert_allclose(model.fc(torch.from_numpy(found)).detach(), logits, atol=1e-4)


def test_the_plane_is_that_of_principal_components():
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 9)) * [5, 3, 1, 1, 1, 1, 1, 1, 1] + 1
    points, shares = principal_plane(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    theirs = PCA(2).fit(unit)
    np.testing.assert_allclose(shares, theirs.explained_variance_ratio_)
    np.testing.assert_allclose(np.abs(points), np.abs(theirs.transform(unit)), atol=1e-9)


def test_neighbours_stay_together():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 16))
    labels = np.repeat(np.arange(3), 15)
    points = neighbour_map(centres[labels] + 0.05 * rng.standard_normal((45, 16)))
    distance = ((points[:, None] - points[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).all()
    assert neighbour_map(points[:5]) is None


def test_cka_is_blind_to_turning_and_scale_and_sees_another_order():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((8, 5))
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    assert cka(a, 3 * a @ turn + 7) == pytest.approx(1)
    assert cka(a, a[::-1]) < 0.8
    assert 0 <= cka(a, rng.standard_normal((8, 3))) < 0.9
    assert cka(a, np.ones((8, 2))) == 0


def test_class_means_made_as_the_bank_asks_agree_with_it():
    bank = demo_bank(width=32)
    asked = bank_geometry(bank.prototypes, bank.grid)
    expected = emotion_cells(5).astype(float) @ bank.prototypes
    np.testing.assert_allclose(asked, expected)
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 8
    means = class_means(asked[labels] + 0.01 * rng.standard_normal((80, 32)), labels)
    found = agreement(means, asked)
    assert found["cka"] > 0.95
    assert found["p"] < 0.01
    assert found["chance"] < found["cka"] - 0.2
    other = agreement(class_means(rng.standard_normal((80, 32)), labels), asked)
    assert other["p"] > 0.02
    absent = class_means(asked[labels], np.where(labels == 7, 0, labels))
    assert np.isnan(absent[7]).all()
    assert np.isfinite(agreement(absent, asked)["cka"])


def test_votes_point_to_the_cell_of_their_emotion():
    found = cells_of_votes(np.eye(8, dtype=np.float32), 5)
    assert found.tolist() == emotion_cells(5).argmax(1).tolist()


def test_pictures(tmp_path):
    rng = np.random.default_rng(0)
    labels, cells = np.arange(60) % 8, np.arange(60) % 25
    points = rng.standard_normal((60, 2))
    plot_features([("PCA", points), ("t-SNE", points)], labels, cells, 5, tmp_path / "f.png", "x")
    means = class_means(rng.standard_normal((60, 6)), labels)
    means[7] = np.nan
    found = {"cka": 0.5, "chance": 0.4, "p": 0.2}
    plot_geometry(means, rng.standard_normal((8, 4)), found, tmp_path / "g.png", "x")
    plot_geometry(means, None, None, tmp_path / "h.png", "x")
    for name in ("f.png", "g.png", "h.png"):
        assert is_picture(tmp_path / name)


def test_evaluate_draws_them(finished, tmp_path):
    out = tmp_path / "out"
    evaluate_command.main([str(finished), "--features", "--out", str(out)])
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 <= metrics["features"]["bank"]["cka"] <= 1
    assert len(metrics["features"]["variance"]) == 2
    page = (out / "report.html").read_text()
    assert "Geometry of the classes" in page
    for name in ("features.png", "geometry.png"):
        assert is_picture(out / name)
