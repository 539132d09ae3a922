"""From a teacher's embeddings to the frozen prototype bank."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurogaze_fast.errors import BankError, ConfigError, DataError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.grid import cell_of

RATING_LEVELS = {"dreamer": (np.arange(1, 6) - 3) / 2, "mahnob": (np.arange(1, 10) - 5) / 4}
"""What a rating can be on [-1, 1]: DREAMER asks for 1..5, MAHNOB-HCI for 1..9."""
_SHORTEST = 1e-6


def build_bank(
    embeddings: np.ndarray,
    va: np.ndarray,
    subjects: np.ndarray,
    *,
    grid: int = 5,
    min_subjects: int = 1,
    centre: bool = False,
    provenance: dict[str, Any] | None = None,
) -> PrototypeBank:
    """Average the embeddings of each valence/arousal cell and fill the empty cells.

    Each embedding is brought to unit length, so that a window counts by its direction alone; a
    cell's prototype is the mean of its windows, brought to unit length again. A cell without
    windows, or with windows of fewer than `min_subjects` people, takes the mean of the prototypes
    of the nearest cells that have their own, by the distance of centres; all that tie take part.
    The paper has the averaging and the filling; the second normalisation, the ties,
    `min_subjects` and `centre` are our choice.

    Args:
        embeddings: float [N, D] of the teacher's validation windows, and of no other.
        va: float [N, 2], (valence, arousal) on [-1, 1] of each: the rating, or a prediction.
        subjects: [N], who it was.
        grid: G; the bank has G * G cells.
        min_subjects: people a cell needs for a prototype of its own.
        centre: subtract the mean of the cells' own prototypes from each before filling (and
            bring them to unit length): a direction that all share tells no two cells apart.
        provenance: kept in the bank; should say ``synthetic``.

    Returns:
        The bank; counts and subjects are what was found in each cell, filled or not.

    Raises:
        ConfigError: an impossible grid or `min_subjects`.
        DataError: shapes that differ, a value that is not finite, an embedding of length 0.
        BankError: no cell has a prototype of its own, or a mean has no direction.
    """
    if grid < 2 or min_subjects < 1:
        raise ConfigError(
            f"A bank needs a grid of at least 2 and min_subjects of at least 1, not {grid} and "
            f"{min_subjects}."
        )
    embeddings, va, subjects = _checked(embeddings, va, subjects)
    cells = grid * grid
    cell = cell_of(va, grid)
    sums = np.zeros((cells, embeddings.shape[1]))
    np.add.at(sums, cell, embeddings)
    counts = np.bincount(cell, minlength=cells)
    pairs = np.unique(np.stack([cell, np.unique(subjects, return_inverse=True)[1]]), axis=1)
    people = np.bincount(pairs[0], minlength=cells)
    own = (counts > 0) & (people >= min_subjects)
    if not own.any():
        raise BankError(
            f"None of the {cells} cells has windows of at least {min_subjects} subject(s): there "
            f"are {len(embeddings)} windows of {len(np.unique(subjects))} subjects. Lower "
            "--min-subjects, use a coarser --grid, or hold out more subjects."
        )
    prototypes = np.zeros_like(sums)
    prototypes[own] = _unit(sums[own] / counts[own, None], np.flatnonzero(own), "windows")
    if centre:
        centred = prototypes[own] - prototypes[own].mean(0)
        prototypes[own] = _unit(centred, np.flatnonzero(own), "windows, after centring,")
    filled_from = nearest_cells(own, grid)
    empty = np.flatnonzero(~own)
    taken = filled_from[empty].astype(np.float64)
    means = taken @ prototypes / np.maximum(taken.sum(1, keepdims=True), 1)
    prototypes[empty] = _unit(means, empty, "nearest cells")
    return PrototypeBank(
        prototypes=prototypes.astype(np.float32),
        counts=counts.astype(np.int64),
        subjects=people.astype(np.int64),
        filled_from=filled_from,
        provenance=dict(provenance or {}),
    )


def nearest_cells(own: np.ndarray, grid: int) -> np.ndarray:
    """bool [K, K]: row k marks the nearest cells of `own` [K] if k is not one of them, all ties.

    Distances are between cell centres, in whole steps, so that ties are exact.
    """
    place = np.stack(np.divmod(np.arange(grid * grid), grid), axis=1)
    distance = ((place[:, None] - place[None]) ** 2).sum(2)
    distance = np.where(own[None, :], distance, np.iinfo(np.int64).max)
    nearest = distance == distance.min(axis=1, keepdims=True)
    return nearest & own[None, :] & ~own[:, None]


def reachable(valence: np.ndarray, arousal: np.ndarray, grid: int) -> np.ndarray:
    """bool [K]: cells that some pair of these rating levels falls into."""
    pairs = np.stack(np.meshgrid(valence, arousal), axis=2).reshape(-1, 2)
    found = np.zeros(grid * grid, bool)
    found[cell_of(pairs, grid)] = True
    return found


def _checked(
    embeddings: np.ndarray, va: np.ndarray, subjects: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in float64, the embeddings of unit length."""
    embeddings, va = np.asarray(embeddings, np.float64), np.asarray(va, np.float64)
    subjects = np.asarray(subjects)
    count = len(embeddings)
    if embeddings.ndim != 2 or va.shape != (count, 2) or subjects.shape != (count,):
        raise DataError(
            f"A bank is built from embeddings [N, D], va [N, 2] and subjects [N], not "
            f"{list(embeddings.shape)}, {list(va.shape)} and {list(subjects.shape)}."
        )
    finite = np.isfinite(embeddings).all(1) & np.isfinite(va).all(1)
    if not finite.all():
        raise DataError(
            f"Window {np.flatnonzero(~finite)[0]} has an embedding, valence or arousal that is not "
            f"finite ({np.count_nonzero(~finite)} of {count} have). Leave unlabelled windows out; "
            "if the embeddings are NaN, train the teacher again."
        )
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if (length == 0).any():
        raise DataError(
            f"The embedding of window {np.flatnonzero(length[:, 0] == 0)[0]} has length 0, so it "
            "has no direction to average. Train the teacher again."
        )
    return embeddings / length, va, subjects


def _unit(means: np.ndarray, cells: np.ndarray, of_what: str) -> np.ndarray:
    length = np.linalg.norm(means, axis=1, keepdims=True)
    if (length < _SHORTEST).any():
        cell = cells[np.flatnonzero(length[:, 0] < _SHORTEST)[0]]
        raise BankError(
            f"The mean over the {of_what} of cell {cell} is zero: they point in opposite "
            "directions (or there is one alone, with centring), so the cell has no direction. Use "
            "a coarser --grid, more validation subjects, or leave --centre out."
        )
    return means / length
