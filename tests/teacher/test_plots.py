"""The pictures of a teacher and of a bank: made for every shape of input, whole, or refused."""

import numpy as np
import pytest

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.prototypes.build import build_bank
from neurogaze_fast.prototypes.plots import plot_coverage, plot_topomaps
from neurogaze_fast.teacher.plots import plot_scores, plot_teacher_curves
from neurogaze_fast.teacher.scores import bootstrap
from tests.helpers import is_picture
from tests.teacher.helpers import map_set

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("epochs", [1, 12])
def test_curves(tmp_path, epochs):
    history = [
        {
            "epoch": epoch,
            "learning_rate": 1e-3 / epoch,
            "windows_per_second": 900.0,
            "train": {"total": 1 / epoch, "mse": 0.3, "discordance": 0.5, "consistency": 0.0},
            "valid": {"ccc_valence": -0.1, "ccc_arousal": 0.2},
        }
        for epoch in range(1, epochs + 1)
    ]
    history[0]["valid"] = {}
    plot_teacher_curves(history, tmp_path / "curves.png")
    assert is_picture(tmp_path / "curves.png")
    with pytest.raises(ConfigError, match="no epochs"):
        plot_teacher_curves([], tmp_path / "none.png")


def result_of(prediction, target, subject):
    pooled = bootstrap(
        {"teacher": prediction, "ridge": prediction / 2, "mean": 0 * prediction}, target, subject
    )
    return {
        "pooled": {"window": pooled, "trial": pooled},
        "folds": [{"subjects": ["a", "b"]}],
        "bootstrap": {"draws": 1000, "interval": 0.95},
        "synthetic": True,
    }


def test_scores(tmp_path):
    generator = np.random.default_rng(0)
    target, subject = generator.uniform(-1, 1, (60, 2)), np.repeat(np.arange(6), 10)
    prediction = 0.5 * target + 0.1 * generator.standard_normal((60, 2))
    plot_scores(result_of(prediction, target, subject), tmp_path / "scores.png")
    assert is_picture(tmp_path / "scores.png")
    flat = np.full((60, 2), 0.5)  # undefined CCC and R2 everywhere
    plot_scores(result_of(flat, flat, subject), tmp_path / "flat.png")
    assert is_picture(tmp_path / "flat.png")
    with pytest.raises(ConfigError, match="--folds"):
        plot_scores({"synthetic": True}, tmp_path / "none.png")


@pytest.mark.parametrize("grid", [2, 5, 9])
def test_coverage(tmp_path, grid):
    generator = np.random.default_rng(0)
    bank = build_bank(
        generator.standard_normal((30, 4)),
        generator.uniform(-1, 1, (30, 2)),
        generator.integers(0, 3, 30),
        grid=grid,
    )
    plot_coverage(bank, tmp_path / "coverage.png", "30 windows")
    assert is_picture(tmp_path / "coverage.png")


def test_coverage_of_a_bank_without_windows(tmp_path):
    plot_coverage(demo_bank(width=4), tmp_path / "coverage.png")
    assert is_picture(tmp_path / "coverage.png")


def test_topomaps_of_every_labelled_source(tmp_path):
    maps = map_set(subjects=3, support=2)
    assert plot_topomaps(maps, tmp_path / "one.png") == 4
    rated = maps.subject == 3
    maps.valence[rated], maps.arousal[rated] = 0.25, 0.0  # mahnob: high valence, nothing else
    assert plot_topomaps(maps, tmp_path / "two.png") == 5
    assert is_picture(tmp_path / "one.png")
    assert is_picture(tmp_path / "two.png")
    with pytest.raises(ConfigError, match="no labelled windows"):
        plot_topomaps(maps.rows(maps.subject == 4), tmp_path / "none.png")
