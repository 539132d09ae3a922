"""The pictures: made for every shape of input, whole, and refused where nothing can be drawn."""

import math

import numpy as np
import pytest

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.evaluation.metrics import confusion
from neurogaze_fast.evaluation.plots import LOSS_STYLE, plot_bank, plot_confusion, plot_curves
from neurogaze_fast.student.objective import TERMS
from tests.helpers import is_picture

pytestmark = pytest.mark.filterwarnings("error")


def history_of(epochs):
    return [
        {
            "epoch": epoch,
            "seconds": 2.5,
            "images_per_second": 8000.0 + epoch,
            "learning_rate": 2e-4 * (1 - epoch / (epochs + 1)),
            "train": {
                "total": 1 / epoch,
                "ce": 0.9 / epoch,
                "kd": 3.0,
                "proto": 0.1,
                "geo_cap": 0.0,
                "geo_margin": 0.2,
            },
            "valid": {
                "accuracy": 0.5 + 0.3 * epoch / epochs,
                "macro_f1": 0.4,
                "balanced_accuracy": 0.45,
            },
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_curves_of_any_length(tmp_path, epochs):
    plot_curves(history_of(epochs), tmp_path / "curves.png")
    assert is_picture(tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"], "nothing else is left"


def test_curves_bridge_missing_and_broken_numbers(tmp_path):
    history = history_of(4)
    del history[1]["valid"]
    history[2]["train"] = {"total": math.nan, "ce": math.inf}
    history[3]["learning_rate"] = None
    plot_curves(history, tmp_path / "curves.png", best=2)
    assert is_picture(tmp_path / "curves.png")
    plot_curves([{"epoch": 1}], tmp_path / "bare.png")
    assert is_picture(tmp_path / "bare.png")


def test_the_best_epoch_can_be_named(tmp_path):
    history = history_of(5)  # macro-F1 is the same in all: the first wins unless told
    plot_curves(history, tmp_path / "first.png")
    plot_curves(history, tmp_path / "one.png", best=1)
    plot_curves(history, tmp_path / "four.png", best=4)
    first, one, four = ((tmp_path / f"{n}.png").read_bytes() for n in ("first", "one", "four"))
    assert first == one
    assert one != four


def test_curves_need_an_epoch(tmp_path):
    with pytest.raises(ConfigError, match="no epochs"):
        plot_curves([], tmp_path / "curves.png")


def test_confusion_with_and_without_absent_classes(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 300)
    full = confusion(rng.normal(size=(300, 8)), labels)
    plot_confusion(full, tmp_path / "full.png", "valid")
    part = full.copy()
    part[[0, 7]] = 0
    plot_confusion(part, tmp_path / "part.png", "a long title " * 20)
    plot_confusion(np.zeros((8, 8), int), tmp_path / "empty.png", "")
    assert all(is_picture(tmp_path / f"{name}.png") for name in ("full", "part", "empty"))


@pytest.mark.parametrize("matrix", [np.zeros((7, 7), int), np.full((8, 8), -1)])
def test_confusion_of_another_shape_is_refused(tmp_path, matrix):
    with pytest.raises(ConfigError, match="confusion matrix"):
        plot_confusion(matrix, tmp_path / "confusion.png", "")


def grid_of(size):
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    arousal, valence = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([valence.ravel(), arousal.ravel()], axis=1)


@pytest.mark.parametrize("size", [1, 5, 9])
def test_bank_of_any_grid(tmp_path, size):
    counts = np.arange(size * size)
    plot_bank(grid_of(size), counts, counts == 0, tmp_path / "bank.png")
    assert is_picture(tmp_path / "bank.png")


def test_bank_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="G \\* G"):
        plot_bank(grid_of(5)[:24], np.ones(24), np.zeros(24, bool), tmp_path / "bank.png")
    with pytest.raises(ConfigError, match="counts"):
        plot_bank(grid_of(5), np.ones(24), np.zeros(25, bool), tmp_path / "bank.png")


def test_every_term_of_the_objective_has_a_curve():
    assert set(LOSS_STYLE) == set(TERMS)
