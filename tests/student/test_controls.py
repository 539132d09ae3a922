"""What each control keeps of the bank, and what it takes away."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import BankError
from neurogaze_fast.prototypes import spectrum
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.prototypes.grid import emotion_cells
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.controls import emotion_affinity, prototypes_and_cells
from neurogaze_fast.student.objective import Objective, ObjectiveWeights, Targets

BANK = demo_bank(width=64)
KINDS = (
    "bank", "random", "shuffled", "same-spectrum", "va-kernel", "classes", "valence-arousal",
    "learnable", "learnable-random",
)  # fmt: skip
SPECTRAL = ("same-spectrum", "va-kernel")


def other_bank():
    """A bank whose geometry has little to do with the circumplex, and a strong common direction."""
    draw = np.random.default_rng(5)
    rows = draw.standard_normal((25, 6)) * [3, 2, 1, 0.5, 0.3, 0.2] + [4, 0, 0, 0, 0, 0]
    rows = rows @ np.linalg.qr(draw.standard_normal((64, 6)))[0].T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return replace(BANK, prototypes=rows.astype(np.float32))


def made(kind, seed=0, **options):
    return prototypes_and_cells(BANK, TrainConfig(prototypes=kind, seed=seed, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_prototypes_are_unit_vectors_and_targets_distributions(kind):
    prototypes, cells = made(kind)
    assert prototypes.dtype == cells.dtype == np.float32
    assert cells.shape == (8, len(prototypes))
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cells.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", SPECTRAL)
@pytest.mark.parametrize("bank", [BANK, other_bank()], ids=["demo", "other"])
def test_the_spectrum_and_the_common_direction_are_the_banks(kind, bank):
    found, _ = prototypes_and_cells(bank, TrainConfig(prototypes=kind))
    theirs = np.linalg.svd(bank.prototypes, compute_uv=False)
    ours = np.linalg.svd(found, compute_uv=False)
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * theirs[0])
    # Nothing lies outside of the bank's own directions, and the strongest of them is the same.
    _, _, directions = np.linalg.svd(bank.prototypes, full_matrices=False)
    common = np.linalg.svd(found)[2][0]
    assert abs(common @ directions[0]) > 0.9
    mean = (bank.prototypes @ bank.prototypes.T).mean()
    assert (found @ found.T).mean() == pytest.approx(mean, abs=0.2)
    assert made("random")[0].mean(0) @ made("random")[0].mean(0) < 0.1  # which random ones lose


def test_the_kernel_is_smooth_on_the_circumplex_and_knows_only_the_spectrum():
    bank = other_bank()
    kernel, _ = prototypes_and_cells(bank, TrainConfig(prototypes="va-kernel"))
    centres = bank.centres
    distance = ((centres[:, None] - centres[None]) ** 2).sum(2)
    off = ~np.eye(25, dtype=bool)

    def smoothness(rows):
        return np.corrcoef((rows @ rows.T)[off], distance[off])[0, 1]

    assert smoothness(kernel) < -0.7
    assert abs(smoothness(bank.prototypes)) < 0.3
    shuffled = replace(bank, prototypes=bank.prototypes[np.random.default_rng(0).permutation(25)])
    again, _ = prototypes_and_cells(shuffled, TrainConfig(prototypes="va-kernel", seed=9))
    np.testing.assert_allclose(again @ again.T, kernel @ kernel.T, atol=1e-4)


def test_a_spectrum_that_is_not_met_is_refused(monkeypatch):
    monkeypatch.setattr(spectrum, "ROUNDS", 1)
    with pytest.raises(BankError, match="--prototypes random or shuffled"):
        made("same-spectrum")


def test_learnable_prototypes_start_as_their_namesakes():
    assert np.array_equal(made("learnable")[0], BANK.prototypes)
    random = made("learnable-random")[0] @ made("learnable-random")[0].T
    assert abs(random[~np.eye(25, dtype=bool)].mean()) < 0.05


@pytest.mark.parametrize("kind", ["bank", "learnable", "learnable-random"])
def test_only_learnable_prototypes_are_trained(kind):
    config = TrainConfig(prototypes=kind)
    prototypes, cells = prototypes_and_cells(BANK, config)
    start = torch.from_numpy(prototypes.copy())
    weights = ObjectiveWeights.from_config(config)
    objective = Objective("b2", weights, torch.ones(8), torch.from_numpy(prototypes), 64)
    labels = torch.arange(16) % 8
    targets = torch.nn.functional.one_hot(labels, 8).float()
    batch = Targets(labels, targets, None, torch.from_numpy(cells)[labels])
    torch.manual_seed(0)
    total = objective(torch.randn(16, 64), torch.randn(16, 8), batch, 1.0)["total"]
    learns = kind != "bank"
    assert [name for name, _ in objective.named_parameters()] == ["prototypes"] * learns
    if learns:
        total.backward()
        torch.optim.SGD(objective.parameters(), 1.0).step()
        assert (objective.prototypes.detach() - start).abs().max() > 1e-4
    assert "prototypes" in objective.state_dict()


def test_distinct_cells_keep_anger_and_contempt_apart():
    def cosine(cells, a, b):
        a, b = (cells[EMOTIONS.index(name)].astype(float) for name in (a, b))
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    near, apart = made("bank")[1], made("bank", distinct_cells=True)[1]
    assert cosine(near, "anger", "contempt") == pytest.approx(0.98, abs=0.005)
    assert cosine(apart, "anger", "contempt") == pytest.approx(0.67, abs=0.005)
    assert cosine(apart, "surprise", "fear") < 0.7
    one_each = made("bank", distinct_cells=True, hard_cells=True)[1]
    assert sorted(one_each.sum(0)) == [0] * 17 + [1] * 8
    assert np.array_equal(one_each.argmax(1), apart.argmax(1))
    # happiness stays right, sadness left and low
    assert BANK.centres[apart[1].argmax()].tolist() == pytest.approx([0.8, 0.0])
    assert BANK.centres[apart[3].argmax()][0] < 0


@pytest.mark.parametrize("kind", ["bank", "random", "shuffled", *SPECTRAL, "learnable"])
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


@pytest.mark.parametrize("kind", ["random", "shuffled", "same-spectrum", "learnable-random"])
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
