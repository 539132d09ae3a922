"""D4: people and images on both sides of a split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scorecard.row import Counted, row


def _split_leaks(scale: float, cut: Callable[..., Any], duplicates: Callable[..., Any]) -> Counted:
    from neurogaze_fast.errors import DataError
    from neurogaze_fast.faces.faceset import FaceSet, FaceSplit
    from neurogaze_fast.prototypes.build import build_bank
    from neurogaze_fast.teacher.splits import rows_for
    from tests.teacher.helpers import map_set

    rng = np.random.default_rng(3)
    trials = {"people": round(2_000 * scale), "copies": round(200 * scale), "cells": 50}
    wrong: list[str] = []
    for trial in range(trials["people"]):
        names = [f"p{i}" for i in range(int(rng.integers(2, 40)))]
        train, held = cut(names, seed=trial)
        if set(train) & set(held) or set(train) | set(held) != set(names):
            wrong.append(f"{len(names)} people, seed {trial}: somebody is on both sides or nowhere")
    maps = map_set(subjects=6, trials=2, windows=3, support=2)
    for _ in range(20):
        names = list(maps.subjects[:6])
        held = rng.choice(names, 2, replace=False)
        rows = rows_for(maps, [n for n in names if n not in held], list(held))
        seen = {maps.subjects[i] for i in maps.subject[np.r_[rows.train, rows.support]]}
        if seen & set(held):
            wrong.append("a window of somebody held out is trained on")
        try:
            rows_for(maps, names, [names[0]])
            wrong.append("an overlap is accepted")
        except DataError:
            pass
    for _ in range(trials["copies"]):
        images = rng.integers(0, 256, (60, 12, 12), np.uint8)
        planted = sorted(rng.choice(20, int(rng.integers(0, 6)), replace=False))
        images[[40 + int(i) for i in planted]] = images[[int(i) for i in planted]]
        votes = np.eye(10, dtype=np.uint8)[rng.integers(0, 8, 60)] * 10
        parts = {
            name: FaceSplit(
                name, images[rows], votes[rows], np.array([f"{name}{i}" for i in rows]), rows + 1
            )
            for name, rows in (("train", np.arange(40)), ("valid", np.arange(40, 60)))
        }
        listed = duplicates(FaceSet(parts, "drawn", "drawn", True))
        if sorted(entry["row"] - 41 for entry in listed) != planted:
            wrong.append(f"copies {planted} planted, {listed} listed")
    for _ in range(trials["cells"]):
        least = int(rng.integers(1, 6))
        subjects = rng.integers(0, 8, 300)
        bank = build_bank(
            rng.normal(size=(300, 16)), rng.choice([-1, -0.5, 0, 0.5, 1], (300, 2)), subjects,
            min_subjects=least, provenance={"synthetic": True},
        )  # fmt: skip
        own = ~bank.filled_from.any(1)
        if (bank.subjects[own] < least).any():
            wrong.append(f"a cell of fewer than {least} people has a prototype of its own")
    count = trials["people"] + 40 + trials["copies"] + trials["cells"]
    figure = (
        f"{trials['people']} splits by person, {trials['copies']} sets with planted copies, "
        f"{trials['cells']} banks with a least number of people"
    )
    return Counted(count, len(wrong), figure, {"wrong": wrong[:10]})


def canary_d4(folder: Path) -> Counted:
    """A split that cuts windows, and copies looked for by name."""

    def by_window(names: list[str], seed: int) -> tuple[set[str], set[str]]:
        windows = np.repeat(names, 3)
        np.random.default_rng(seed).shuffle(windows)
        return set(windows[::2].tolist()), set(windows[1::2].tolist())

    def by_name(faces: Any) -> list[dict[str, Any]]:
        train = set(faces["train"].names.tolist())
        return [{"row": 41 + i} for i, n in enumerate(faces["valid"].names) if n in train]

    return _split_leaks(0.1, by_window, by_name)


@row(
    "D4",
    "people and images that could be on both sides of a split (synthetic sets)",
    "no person on both sides; every planted copy listed; no prototype of fewer people than asked",
    canary_d4,
)
def d4(folder: Path, scale: float) -> Counted:
    """2,000 splits, 200 sets, 50 banks."""
    from neurogaze_fast.teacher.splits import split_subjects, subject_folds

    def cut(names: list[str], seed: int) -> tuple[Any, Any]:
        if seed % 2:
            return split_subjects(names, seed=seed)
        folds = subject_folds(names, min(5, len(names)), seed=seed)
        assert sorted(n for fold in folds for n in fold) == sorted(names)
        return [n for fold in folds[1:] for n in fold], folds[0]

    return _split_leaks(scale, cut, lambda faces: faces.duplicates)
