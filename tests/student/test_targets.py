"""What training learns from, row by row, against arithmetic done another way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurogaze_fast.faces.faceset import FaceSplit
from neurogaze_fast.faces.labels import class_weights
from neurogaze_fast.prototypes.grid import emotion_cells
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.objective import Objective, ObjectiveWeights, Targets
from neurogaze_fast.student.targets import training_rows

CPU = torch.device("cpu")
VOTES = np.array(
    [
        [6, 4, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 7, 3, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 9, 1],  # won by unknown: no row to train on
        [0, 0, 0, 5, 0, 0, 0, 3, 2, 0],
        [8, 0, 0, 0, 2, 0, 0, 0, 0, 0],
        [9, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    ],
    np.uint8,
)
KEPT = [0, 1, 3, 4, 5]
LABELS = [0, 1, 3, 0, 0]


@pytest.fixture
def split():
    n = len(VOTES)
    images = np.random.default_rng(0).integers(0, 256, (n, 16, 16), np.uint8)
    names = np.array([f"{row}.png" for row in range(n)])
    return FaceSplit("train", images, VOTES, names, np.arange(n) + 10)


def rows_of(split, **options):
    return training_rows(split, TrainConfig(**options), emotion_cells(5), CPU)


def test_rows_without_an_emotion_are_left_out_and_nothing_is_shifted(split):
    rows = rows_of(split)
    assert rows.source_rows.tolist() == [row + 10 for row in KEPT]
    assert np.array_equal(rows.images, split.images[KEPT])
    assert rows.targets.labels.tolist() == LABELS
    assert rows.targets.targets.argmax(1).tolist() == LABELS


def test_targets_over_the_cells_are_those_of_all_votes(split):
    found = rows_of(split).targets.cells.numpy()
    cells = emotion_cells(5).astype(np.float64)
    shares = VOTES[KEPT, :8] / VOTES[KEPT, :8].sum(1, keepdims=True)
    np.testing.assert_allclose(found, shares @ cells, atol=1e-6)
    hard = cells[LABELS]  # what the winner alone would give
    assert np.abs(found - hard).max(1).min() > 0.01


def test_the_crowd_is_the_teacher(split):
    votes = VOTES[KEPT, :8].astype(np.float64) + 0.1
    expected = np.log(votes / votes.sum(1, keepdims=True))
    np.testing.assert_allclose(rows_of(split).targets.teacher_logits.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("scheme", "power"), [("none", 0), ("fourth-root", 0.25), ("sqrt", 0.5),
                                               ("inverse", 1)])  # fmt: skip
def test_class_weights_are_those_of_the_rows(split, scheme, power):
    found = rows_of(split, class_weights=scheme).class_weights.numpy()
    weight = {0: 3.0**-power, 1: 1.0, 3: 1.0}  # three rows of neutral, one each of two others
    for label, value in weight.items():
        assert found[label] / found[1] == pytest.approx(value)
    assert found[[2, 4, 5, 6, 7]].tolist() == [0] * 5
    assert found[LABELS].mean() == pytest.approx(1)
    before = rows_of(split, class_weights=scheme, class_weight_mean="classes").class_weights.numpy()
    assert before[[0, 1, 3]].mean() == pytest.approx(1)
    np.testing.assert_allclose(before / before[1], found / found[1], rtol=1e-6)


def test_the_default_objective_is_what_it_was_times_one_factor(split):
    """Old weights beside class weights of mean 1, and the new ones beside rows of mean 1."""
    torch.manual_seed(0)
    # As on FERPlus: the rows' weights of the old scale average 0.436.
    labels = np.repeat(np.arange(8), [10309, 7528, 3562, 3515, 2467, 191, 652, 165])
    old_weights, new_weights = (
        torch.from_numpy(class_weights(labels, "sqrt", mean_over=over))
        for over in ("classes", "rows")
    )
    n = 64
    batch = Targets(
        labels=torch.arange(n) % 8,
        targets=torch.nn.functional.one_hot(torch.arange(n) % 8, 8).float(),
        teacher_logits=torch.randn(n, 8),
        cells=torch.softmax(torch.randn(n, 25), 1),
    )
    bank = torch.randn(25, 16)
    default = TrainConfig()
    factor = default.kd_weight
    old = replace(default, kd_weight=1.0, proto_weight=0.12, geo_weight=0.012, clip=1.0)
    gradients = []
    for config, weights in ((old, old_weights), (default, new_weights)):
        torch.manual_seed(1)
        features = (torch.randn(n, 16) + 0.4).requires_grad_()
        logits = torch.randn(n, 8, requires_grad=True)
        objective = Objective("b3", ObjectiveWeights.from_config(config), weights, bank, 16)
        total = objective(features, logits, batch, 1.0)["total"]
        gradients.append(torch.autograd.grad(total, (features, logits)))
    for before, after in zip(*gradients, strict=True):
        distance = (after / factor - before).norm() / before.norm()
        assert distance < 4e-3  # 2.3 stands for 2.2941
    assert default.clip == factor * old.clip  # the same gradients are clipped
