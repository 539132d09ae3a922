"""Who is trained on and who is held out: always whole people, never windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.errors import ConfigError, DataError

if TYPE_CHECKING:
    from neurogaze_fast.eeg.maps import MapSet


@dataclass(frozen=True)
class SplitRows:
    """Rows of a map set by their use; no person has windows on both sides."""

    train: np.ndarray
    """int64 [n]: labelled windows of the training subjects."""
    support: np.ndarray
    """int64 [m]: unlabelled windows of everybody who is not held out."""
    held: np.ndarray
    """int64 [v]: labelled windows of the held-out subjects."""


def split_subjects(
    names: Sequence[str], n_train: int = 16, n_valid: int = 7, seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split people into training and validation.

    With exactly `n_train + n_valid` people (DREAMER's 23 by default) the numbers are kept; any
    other number is split in the same proportion, with at least one on each side. The paper gives
    no split; this one is our choice. It depends on the names and the seed, not on their order.

    Returns:
        (training, validation), both sorted.

    Raises:
        DataError: a name occurs twice, or fewer than two people.
        ConfigError: a side without people was asked for.
    """
    order = _shuffled(names, seed)
    if n_train < 1 or n_valid < 1:
        raise ConfigError(
            f"A split of {n_train} training and {n_valid} validation subjects leaves one side "
            "empty: ask for at least one of each."
        )
    if len(order) != n_train + n_valid:
        share = n_train / (n_train + n_valid)
        n_train = min(max(round(len(order) * share), 1), len(order) - 1)
    return tuple(sorted(order[:n_train])), tuple(sorted(order[n_train:]))


def subject_folds(names: Sequence[str], folds: int, seed: int = 0) -> list[tuple[str, ...]]:
    """The people held out in each of `folds` folds; everybody is held out exactly once.

    More folds than people means one person each (leave-one-subject-out).

    Raises:
        DataError: a name occurs twice, or fewer than two people.
        ConfigError: fewer than two folds.
    """
    if folds < 2:
        raise ConfigError(f"--folds is {folds}; it must be 0 (no scores) or at least 2.")
    order = _shuffled(names, seed)
    parts = np.array_split(np.arange(len(order)), min(folds, len(order)))
    return [tuple(sorted(order[i] for i in part)) for part in parts]


def labelled_subjects(maps: MapSet) -> tuple[str, ...]:
    """The people with at least one labelled window; the others are support."""
    return tuple(maps.subjects[i] for i in np.unique(maps.subject[maps.labelled]))


def rows_for(maps: MapSet, train: Sequence[str], held: Sequence[str]) -> SplitRows:
    """The rows of `maps` when `train` are trained on and `held` are held out.

    Nothing of a held-out person is trained on, not even the unlabelled windows.

    Raises:
        DataError: somebody is on both sides or unknown, or a side has no labelled window.
    """
    both = sorted(set(train) & set(held))
    unknown = sorted((set(train) | set(held)) - set(maps.subjects))
    if both or unknown:
        raise DataError(
            f"Subjects {', '.join(both or unknown)} "
            f"{'are on both sides of the split' if both else 'do not occur in the maps'}: "
            "split the subjects of these maps."
        )
    number = {name: i for i, name in enumerate(maps.subjects)}
    known = maps.labelled
    in_train = np.isin(maps.subject, [number[name] for name in train])
    in_held = np.isin(maps.subject, [number[name] for name in held])
    rows = SplitRows(
        train=np.flatnonzero(known & in_train),
        support=np.flatnonzero(~known & ~in_held),
        held=np.flatnonzero(known & in_held),
    )
    for side, found in (("training", rows.train), ("held-out", rows.held)):
        if len(found) == 0:
            raise DataError(
                f"The {side} subjects have no labelled window, so there is nothing to learn from "
                "or to score. Check the ratings given to prepare."
            )
    return rows


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    ordered = sorted(names)
    twice = sorted({a for a, b in pairwise(ordered) if a == b})
    if twice:
        raise DataError(f"Subjects {', '.join(twice)} occur twice: names must be unique.")
    if len(ordered) < 2:
        raise DataError(
            f"{len(ordered)} labelled subject(s) were found; a split by subject needs at least "
            "two. Add recordings with ratings."
        )
    return [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
