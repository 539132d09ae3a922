"""Who and what is trained on and held out: whole people, whole films, or both; never windows.

Everybody watches the same films. Where people are held out and films are not, a teacher can be
right by recognising the film and remembering how others rated it. Only with films held out as well
does a score say that ratings were read from the EEG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.errors import ConfigError, DataError

if TYPE_CHECKING:
    from neurogaze_fast.eeg.maps import MapSet


SPLITS = ("both", "people", "clips")
"""What may be held out at a time: people and clips, people alone, clips alone."""
CLIP_DRAWS = 2000
"""Random groupings of the clips, of which the most even one is used."""
TITLES = {
    "both": "people and films never trained on",
    "people": "people never trained on, watching films that others were trained on",
    "clips": "films never trained on, watched by people that were",
}


@dataclass(frozen=True)
class Fold:
    """What one teacher of a split does not see."""

    name: str
    """Of its checkpoints' folder."""
    people: tuple[str, ...] | None
    """Held out; None: nobody is, because the split is by clips alone."""
    clips: tuple[str, ...] | None
    """Held out; None: none is, because the split is by people alone."""
    number: tuple[int, int]
    """(fold of people, fold of clips); 0 for what is not split."""


@dataclass(frozen=True)
class SplitRows:
    """Rows of a map set by their use; nothing that is held out has windows on both sides."""

    train: np.ndarray
    """int64 [n]: labelled windows of the training subjects and clips."""
    support: np.ndarray
    """int64 [m]: unlabelled windows of everybody, and of every clip, that is not held out."""
    held: np.ndarray
    """int64 [v]: labelled windows of the held-out subjects watching the held-out clips."""


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


def clip_folds(
    names: Sequence[str], ratings: np.ndarray, folds: int, seed: int = 0
) -> list[tuple[str, ...]]:
    """The clips held out in each of `folds` folds; every clip is held out exactly once.

    There are few films, so by chance a fold may hold the pleasant ones. Then the mean of the others
    is low where the held-out ratings are high, and who knows nothing scores clearly below 0. So of
    many random draws the one is taken whose folds have the most equal mean ratings.

    Args:
        names: of the clips.
        ratings: float [K, 2], the mean valence and arousal of each.
        folds: how many; more than clips means one clip each.
        seed: of the draws.

    Raises:
        DataError: fewer than two clips.
        ConfigError: fewer than two folds.
    """
    if folds < 2:
        raise ConfigError(f"--clip-folds is {folds}; it must be 0 (no films out) or at least 2.")
    if len(names) < 2:
        raise DataError(
            f"{len(names)} rated clip(s) were found; holding films out needs at least two. Add "
            "clips, or leave the splits both and clips out of --splits."
        )
    order = np.argsort(np.array(names))
    scaled = np.asarray(ratings, np.float64)[order]
    scaled = scaled - scaled.mean(0)
    scaled /= np.maximum(scaled.std(0), 1e-9)
    rng = np.random.default_rng([seed, 1])
    drawn = rng.permuted(np.tile(np.arange(len(names)), (CLIP_DRAWS, 1)), axis=1)
    parts = np.array_split(np.arange(len(names)), min(folds, len(names)))
    unequal = sum(np.square(scaled[drawn[:, part]].sum(1)).sum(1) / len(part) for part in parts)
    best = drawn[int(np.argmin(unequal))]
    return [tuple(sorted(names[order[best[i]]] for i in part)) for part in parts]


def folds_of(
    split: str, people: Sequence[tuple[str, ...]], clips: Sequence[tuple[str, ...]]
) -> list[Fold]:
    """The folds of one of :data:`SPLITS`; with "both", each of people with each of clips."""
    if split == "people":
        return [Fold(f"fold-{i}", held, None, (i, 0)) for i, held in enumerate(people)]
    if split == "clips":
        return [Fold(f"clips-{k}", None, held, (0, k)) for k, held in enumerate(clips)]
    return [
        Fold(f"fold-{i}-clips-{k}", who, what, (i, k))
        for i, who in enumerate(people)
        for k, what in enumerate(clips)
    ]


def labelled_clips(maps: MapSet) -> tuple[tuple[str, ...], np.ndarray]:
    """The clips with at least one labelled window, and their mean ratings, float64 [K, 2]."""
    known = maps.labelled & (maps.film >= 0)
    found, where = np.unique(maps.film[known], return_inverse=True)
    sums = np.zeros((len(found), 2))
    np.add.at(sums, where, np.stack([maps.valence[known], maps.arousal[known]], axis=1))
    return tuple(maps.clips[i] for i in found), sums / np.bincount(where)[:, None]


def rows_of(maps: MapSet, fold: Fold) -> SplitRows:
    """The rows of `maps` in one fold.

    Nothing of a held-out person or clip is trained on, not even the unlabelled windows. With both
    held out, the windows of held-out people watching other clips, and of other people watching
    held-out clips, are used for nothing.

    Raises:
        DataError: a side has no labelled window.
    """
    unseen = np.zeros(len(maps), bool)
    scored = np.ones(len(maps), bool)
    for held, names, column in (
        (fold.people, maps.subjects, maps.subject),
        (fold.clips, maps.clips, maps.film),
    ):
        if held is not None:
            out = np.isin(column, [names.index(name) for name in held])
            unseen |= out
            scored &= out
    known = maps.labelled
    rows = SplitRows(
        train=np.flatnonzero(known & ~unseen),
        support=np.flatnonzero(~known & ~unseen),
        held=np.flatnonzero(known & scored),
    )
    _require_rows(rows)
    return rows


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
    _require_rows(rows)
    return rows


def _require_rows(rows: SplitRows) -> None:
    for side, found in (("training", rows.train), ("held-out", rows.held)):
        if len(found) == 0:
            raise DataError(
                f"The {side} subjects have no labelled window, so there is nothing to learn from "
                "or to score. Check the ratings given to prepare, or use fewer folds."
            )


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
