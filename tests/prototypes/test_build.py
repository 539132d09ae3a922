"""Building the bank: averages, filling and refusals, against a slow account of the same rules."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogaze_fast.errors import BankError, ConfigError, DataError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.build import (
    RATING_LEVELS,
    build_bank,
    nearest_cells,
    reachable,
)
from neurogaze_fast.prototypes.grid import cell_centres


def slow_bank(embeddings, va, subjects, grid, min_subjects=1, centre=False):
    """Cell by cell, in plain Python."""
    members = {k: [] for k in range(grid * grid)}
    for row, (valence, arousal) in enumerate(va):
        column = min(math.floor(round((valence + 1) * grid / 2, 9)), grid - 1)
        line = min(math.floor(round((arousal + 1) * grid / 2, 9)), grid - 1)
        members[line * grid + column].append(row)
    own = {}
    for k, rows in members.items():
        if rows and len({subjects[r] for r in rows}) >= min_subjects:
            mean = sum(embeddings[r] / np.linalg.norm(embeddings[r]) for r in rows) / len(rows)
            own[k] = mean / np.linalg.norm(mean)
    if centre:
        middle = sum(own.values()) / len(own)
        own = {k: (p - middle) / np.linalg.norm(p - middle) for k, p in own.items()}
    centres, rows, sources = cell_centres(grid), [], []
    for k in range(grid * grid):
        if k in own:
            rows.append(own[k])
            sources.append(set())
            continue
        distance = {j: round(float(np.linalg.norm(centres[k] - centres[j])), 9) for j in own}
        near = {j for j, d in distance.items() if d == min(distance.values())}
        mean = sum(own[j] for j in near)
        rows.append(mean / np.linalg.norm(mean))
        sources.append(near)
    return np.array(rows), sources, [len(members[k]) for k in range(grid * grid)]


def windows(count, seed=0, width=6, levels=None):
    generator = np.random.default_rng(seed)
    embeddings = generator.standard_normal((count, width)) + 1.0
    va = (
        generator.choice(levels, (count, 2))
        if levels is not None
        else generator.uniform(-1, 1, (count, 2))
    )
    return embeddings, va, generator.integers(0, 4, count)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    grid=st.integers(2, 7),
    seed=st.integers(0, 10_000),
    centre=st.booleans(),
    min_subjects=st.integers(1, 2),
)
def test_bank_is_the_slow_one(count, grid, seed, centre, min_subjects):
    embeddings, va, subjects = windows(count, seed)
    try:
        bank = build_bank(
            embeddings, va, subjects, grid=grid, centre=centre, min_subjects=min_subjects
        )
    except BankError:
        # Nothing of its own, or centring with so few cells that means vanish.
        assert centre or min_subjects > 1
        return
    rows, sources, counts = slow_bank(embeddings, va, subjects, grid, min_subjects, centre)
    np.testing.assert_allclose(bank.prototypes, rows, atol=1e-5)
    assert [set(np.flatnonzero(row)) for row in bank.filled_from] == sources
    assert bank.counts.tolist() == counts


def test_counts_subjects_and_lengths():
    embeddings = np.array([[1.0, 0], [0, 5.0], [3.0, 0]])
    va = np.array([[-0.8, -0.8], [-0.8, -0.8], [0.8, 0.8]])
    bank = build_bank(embeddings, va, np.array([7, 9, 7]), provenance={"synthetic": True})
    assert bank.counts[[0, 24]].tolist() == [2, 1]
    assert bank.subjects[[0, 24]].tolist() == [2, 1]
    assert bank.counts.sum() == 3
    # Each window counts by its direction alone, however long its embedding is.
    np.testing.assert_allclose(bank.prototypes[0], [math.sqrt(0.5)] * 2, atol=1e-6)
    np.testing.assert_allclose(bank.prototypes[24], [1, 0], atol=1e-6)
    assert bank.synthetic
    # The anti-diagonal's middle ties: both corners fill it.
    assert set(np.flatnonzero(bank.filled_from[12])) == {0, 24}
    assert set(np.flatnonzero(bank.filled_from[1])) == {0}


@pytest.mark.parametrize(
    ("va", "cell"),
    [
        ((1.0, 1.0), 24), ((-1.0, -1.0), 0), ((0.6, 0.0), 14), ((0.2, -0.2), 13), ((-0.6, 0.6), 21),
        ((0.59999, 0.0), 13), ((1.0, -1.0), 4),
    ],
)  # fmt: skip
def test_edges_belong_to_the_upper_cell_and_one_to_the_last(va, cell):
    bank = build_bank(np.ones((1, 3)), np.array([va]), np.zeros(1))
    assert np.flatnonzero(bank.counts).tolist() == [cell]


def test_one_window_fills_the_whole_grid():
    bank = build_bank(np.array([[3.0, 4.0]]), np.zeros((1, 2)), np.array(["s"]))
    np.testing.assert_allclose(bank.prototypes, np.tile([0.6, 0.8], (25, 1)), atol=1e-6)
    assert bank.filled_from.sum() == 24
    assert not bank.filled_from[12].any()


def test_order_of_the_windows_does_not_matter():
    embeddings, va, subjects = windows(200, levels=RATING_LEVELS["mahnob"])
    first = build_bank(embeddings, va, subjects, min_subjects=2)
    order = np.random.default_rng(1).permutation(200)
    other = build_bank(embeddings[order], va[order], subjects[order], min_subjects=2)
    np.testing.assert_allclose(first.prototypes, other.prototypes, atol=1e-6)
    for name in ("counts", "subjects", "filled_from"):
        np.testing.assert_array_equal(getattr(first, name), getattr(other, name))


def test_a_cell_of_too_few_people_is_filled_but_still_counted():
    embeddings = np.eye(3)[[0, 0, 1, 2]]
    va = np.array([[-0.8, -0.8]] * 2 + [[0.8, 0.8]] * 2)
    bank = build_bank(embeddings, va, np.array([1, 1, 1, 2]), min_subjects=2)
    assert set(np.flatnonzero(bank.filled_from[0])) == {24}
    assert bank.counts[0] == 2
    assert bank.subjects[0] == 1
    np.testing.assert_allclose(bank.prototypes[0], bank.prototypes[24])


def test_centring_takes_out_what_all_cells_share():
    embeddings, va, subjects = windows(300)
    embeddings = embeddings + 10
    plain = build_bank(embeddings, va, subjects)
    spread = build_bank(embeddings, va, subjects, centre=True)
    off = ~np.eye(25, dtype=bool)
    assert (plain.prototypes @ plain.prototypes.T)[off].min() > 0.9
    assert abs((spread.prototypes @ spread.prototypes.T)[off].mean()) < 0.1
    np.testing.assert_array_equal(plain.filled_from, spread.filled_from)


def test_nothing_of_its_own_is_refused():
    one = (np.ones((1, 3)), np.zeros((1, 2)), np.zeros(1))
    with pytest.raises(BankError, match="at least 2 subject"):
        build_bank(*one, min_subjects=2)
    with pytest.raises(BankError, match="None of the 25 cells"):
        build_bank(np.zeros((0, 3)), np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(BankError, match="alone, with centring"):
        build_bank(*one, centre=True)


def test_opposite_windows_and_neighbours_have_no_mean():
    opposite = np.array([[1.0, 0], [-1.0, 0]])
    with pytest.raises(BankError, match="over the windows of cell 12 is zero"):
        build_bank(opposite, np.zeros((2, 2)), np.zeros(2))
    corners = np.array([[-0.8, -0.8], [0.8, 0.8]])
    with pytest.raises(BankError, match="nearest cells of cell 4 is zero"):
        build_bank(opposite, corners, np.zeros(2))


@pytest.mark.parametrize(
    ("embeddings", "va", "message"),
    [
        (np.ones((2, 3)), np.zeros((3, 2)), "not "),
        (np.ones((2, 3)), np.array([[0, 0], [np.nan, 0]]), "Window 1"),
        (np.array([[1.0, np.inf], [1, 1]]), np.zeros((2, 2)), "Window 0"),
        (np.array([[1.0, 1], [0, 0]]), np.zeros((2, 2)), "window 1 has length 0"),
    ],
)
def test_bad_windows_are_named(embeddings, va, message):
    with pytest.raises(DataError, match=message):
        build_bank(embeddings, va, np.zeros(2))


def test_impossible_options_are_refused():
    with pytest.raises(ConfigError, match="grid"):
        build_bank(np.ones((1, 2)), np.zeros((1, 2)), np.zeros(1), grid=1)


def test_a_built_bank_is_saved_and_read_back(tmp_path):
    bank = build_bank(*windows(100), provenance={"synthetic": False, "by": "rating"})
    bank.save(tmp_path / "bank")
    loaded = PrototypeBank.load(tmp_path / "bank.safetensors", width=6, grid=5)
    np.testing.assert_array_equal(bank.prototypes, loaded.prototypes)
    assert loaded.provenance["by"] == "rating"
    assert not loaded.synthetic


def test_nearest_cells_tie_exactly():
    own = np.zeros(25, bool)
    own[[1, 5, 7, 11]] = True  # the four neighbours of cell 6
    assert set(np.flatnonzero(nearest_cells(own, 5)[6])) == {1, 5, 7, 11}
    assert not nearest_cells(own, 5)[own].any()


def test_what_a_rating_scale_can_reach():
    five, nine = RATING_LEVELS["dreamer"], RATING_LEVELS["mahnob"]
    assert [reachable(five, five, grid).sum() for grid in (5, 7, 9)] == [25, 25, 25]
    assert [reachable(nine, nine, grid).sum() for grid in (5, 7, 9)] == [25, 49, 81]
    only = reachable(np.array([0.0]), np.array([-1.0, 1.0]), 5)
    assert np.flatnonzero(only).tolist() == [2, 22]
