"""What each control keeps of the bank, and what it takes away."""

import numpy as np
import pytest
import torch

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import BankError
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.prototypes.grid import emotion_cells
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.controls import emotion_affinity, prototypes_and_cells
from neurogaze_fast.student.objective import Objective, ObjectiveWeights, Targets

BANK = demo_bank(width=64)
KINDS = ("bank", "random", "shuffled", "classes", "valence-arousal")


def made(kind, seed=0, **options):
    return prototypes_and_cells(BANK, TrainConfig(prototypes=kind, seed=seed, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_prototypes_are_unit_vectors_and_targets_distributions(kind):
    prototypes, cells = made(kind)
    assert prototypes.dtype == cells.dtype == np.float32
    assert cells.shape == (8, len(prototypes))
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cells.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["bank", "random", "shuffled"])
def test_controls_on_the_grid_keep_its_targets(kind):
    assert np.array_equal(made(kind)[1], emotion_cells(5))


def test_the_bank_itself_is_left_as_it_is():
    assert np.array_equal(made("bank")[0], BANK.prototypes)


def test_shuffled_is_the_bank_in_another_order():
    shuffled = made("shuffled")[0]
    assert not np.array_equal(shuffled, BANK.prototypes)
    order = np.lexsort(shuffled.T), np.lexsort(BANK.prototypes.T)
    assert np.array_equal(shuffled[order[0]], BANK.prototypes[order[1]])


def test_random_prototypes_know_nothing_of_each_other():
    cosines = made("random")[0] @ made("random")[0].T
    assert abs(cosines[~np.eye(25, dtype=bool)].mean()) < 0.05
    neighbours = BANK.prototypes @ BANK.prototypes.T
    assert neighbours[0, 1] > 0.5  # which the bank's do


@pytest.mark.parametrize("kind", ["random", "shuffled"])
def test_a_seed_gives_the_same_control_and_another_another(kind):
    assert np.array_equal(made(kind, 3)[0], made(kind, 3)[0])
    assert not np.array_equal(made(kind, 3)[0], made(kind, 4)[0])


def test_class_prototypes_have_one_target_each():
    prototypes, cells = made("classes")
    assert np.array_equal(prototypes @ prototypes.T, np.eye(8))
    assert np.array_equal(cells, np.eye(8))


def test_soft_labels_follow_the_circumplex():
    affinity = emotion_affinity(0.3)
    anger, contempt, happiness = (EMOTIONS.index(n) for n in ("anger", "contempt", "happiness"))
    assert affinity[anger, anger] > affinity[anger, contempt] > 100 * affinity[anger, happiness]
    np.testing.assert_allclose(emotion_affinity(1e-3), np.eye(8), atol=1e-6)


def test_centring_takes_the_mean_direction_away():
    prototypes, _ = made("bank", centre_bank=True)
    plain = (BANK.prototypes @ BANK.prototypes.T).mean()
    assert (prototypes @ prototypes.T).mean() < plain / 5


def test_centring_a_bank_of_equal_prototypes_is_refused():
    same = np.repeat(BANK.prototypes[:1], 25, axis=0)
    bank = type(BANK)(same, BANK.counts, BANK.subjects, BANK.filled_from)
    with pytest.raises(BankError, match="--centre-bank"):
        prototypes_and_cells(bank, TrainConfig(centre_bank=True))


def test_soft_labels_are_compared_with_the_students_softmax():
    config = TrainConfig(prototypes="valence-arousal")
    prototypes, cells = prototypes_and_cells(BANK, config)
    torch.manual_seed(0)
    features, logits = torch.randn(16, 64), torch.randn(16, 8, requires_grad=True)
    labels = torch.arange(16) % 8
    targets = torch.from_numpy(cells)[labels]
    batch = Targets(labels, torch.nn.functional.one_hot(labels, 8).float(), None, targets)
    weights = ObjectiveWeights.from_config(config)
    objective = Objective("b3", weights, torch.ones(8), torch.from_numpy(prototypes), 64)
    values = objective(features, logits, batch, 1.0)
    p = logits.double().softmax(1)
    expected = (targets.double() * (targets.double().log() - p.log())).sum(1).mean()
    torch.testing.assert_close(values["proto"].double(), expected)
    assert values["geo_cap"] > 0  # D-Geo is still there
    (gradient,) = torch.autograd.grad(values["proto"], logits)
    assert gradient.abs().sum() > 0
