"""Embeddings made elsewhere, in the place of a teacher's: one row a window (or a clip).

A csv (any form of :mod:`~neurogaze_fast.delimited`), columns in any order::

    subject,clip,valence,arousal,e0,e1,e2,...

Everybody's clip of one name is the same film. Ratings are on [-1, 1]; every column that is none of
the named ones is a number of the embedding. A .npz holds the same: `subject`, `clip`, `valence`,
`arousal` [N] and `embedding` [N, D].
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import sha256_file
from neurogaze_fast.delimited import read_delimited
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import DataError
from neurogaze_fast.teacher.baselines import ridge_prediction
from neurogaze_fast.teacher.folds import score_split, targets
from neurogaze_fast.teacher.splits import (
    Fold,
    SplitRows,
    clip_folds,
    folds_of,
    labelled_clips,
    labelled_subjects,
    subject_folds,
)

COLUMNS = ("subject", "clip", "valence", "arousal")


def read_table(path: Path) -> MapSet:
    """The table as windows whose "band power" [N, 1, D] is the embedding; their maps are empty.

    Raises:
        DataError: missing, no table, a column is missing, a value that is no number, or a rating
            outside [-1, 1].
    """
    path = Path(path)
    columns, embedding = _npz(path) if path.suffix.lower() == ".npz" else _csv(path)
    va = np.stack([columns["valence"], columns["arousal"]], axis=1).astype(np.float32)
    if not np.isfinite(embedding).all() or not np.isfinite(va).all():
        bad = np.flatnonzero(~(np.isfinite(embedding).all(1) & np.isfinite(va).all(1)))[0]
        raise DataError(f"{path}: row {bad + 1} has a value that is not finite. Leave it out.")
    if (np.abs(va) > 1).any():
        raise DataError(
            f"{path} has the rating {va[np.abs(va) > 1][0]:g}: ratings are on [-1, 1], as "
            "(r - 3) / 2 for 1..5 and (r - 5) / 4 for 1..9."
        )
    subjects, subject = np.unique(columns["subject"], return_inverse=True)
    clips, clip = np.unique(columns["clip"], return_inverse=True)
    count = len(va)
    return MapSet(
        maps=np.zeros((count, 1, 2, 2), np.float16),
        power=embedding[:, None].astype(np.float32),
        valence=va[:, 0].copy(),
        arousal=va[:, 1].copy(),
        subject=subject.astype(np.int64),
        trial=(subject * len(clips) + clip).astype(np.int64),
        start=np.zeros(count, np.float32),
        flags=np.zeros(count, np.uint8),
        subjects=tuple(map(str, subjects)),
        names=tuple(f"e{i}" for i in range(embedding.shape[1])),
        bands=("embedding",),
        provenance={"synthetic": False, "table": path.name},
        sha256=sha256_file(path),
        clip=clip.astype(np.int64),
        clips=tuple(map(str, clips)),
    )


def score_table(
    table: MapSet, *, folds: int = 5, clip_folds_: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Scores of a ridge on the embeddings, as scores.json has them for a teacher.

    They are honest only as far as the embeddings are: a network that was trained on these people or
    films elsewhere has seen them, which nothing here can tell.
    """
    people = subject_folds(labelled_subjects(table), folds, seed)
    names, ratings = labelled_clips(table)
    clips = clip_folds(names, ratings, clip_folds_, seed) if len(names) > 1 else []

    def answer(fold: Fold, rows: SplitRows) -> tuple[np.ndarray, np.ndarray]:
        predicted, _ = ridge_prediction(
            table.power[rows.train], targets(table, rows.train), table.subject[rows.train],
            table.power[rows.held], None if fold.clips is None else table.film[rows.train],
        )  # fmt: skip
        return predicted, table.power

    result: dict[str, Any] = {"synthetic": False, "normalise": "none"}
    if clips:
        both = folds_of("both", people, clips)
        result["people_and_clips_out"] = score_split(table, both, answer, seed=seed)[0]
    return result | score_split(table, folds_of("people", people, ()), answer, seed=seed)[0]


def _csv(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    table = read_delimited(path, COLUMNS)
    places = {name: table.column(name) for name in COLUMNS}
    missing = [name for name, place in places.items() if place is None]
    others = [i for i in range(len(table.header)) if i not in places.values()]
    if missing or not others:
        what = f"the column(s) {', '.join(missing)}" if missing else "columns of an embedding"
        raise DataError(
            f"{path} lacks {what}; found {', '.join(table.header[:12])}. It needs subject, clip, "
            "valence, arousal and one column for each number of the embedding."
        )
    if not table.rows:
        raise DataError(f"{path} has no rows. Give one per window or clip.")
    columns: dict[str, np.ndarray] = {}
    for name, place in places.items():
        texts = [row.fields[place] for row in table.rows if place is not None]
        numbers = name in ("valence", "arousal")
        columns[name] = _numbers(path, name, texts, table.rows) if numbers else np.array(texts)
    parts = [
        _numbers(path, table.header[i], [row.fields[i] for row in table.rows], table.rows)
        for i in others
    ]
    return columns, np.stack(parts, axis=1)


def _numbers(path: Path, name: str, texts: list[str], rows: Any) -> np.ndarray:
    found = np.empty(len(texts))
    for number, text in enumerate(texts):
        try:
            found[number] = float(text)
        except ValueError as cause:
            raise DataError(
                f"{path}, line {rows[number].line}: {name} is {text!r}, expected a number."
            ) from cause
    return found


def _npz(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in COLUMNS}
            embedding = np.asarray(file["embedding"], np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as cause:
        raise DataError(
            f"{path} cannot be read ({cause}). It needs the arrays subject, clip, valence, arousal "
            "[N] and embedding [N, D]."
        ) from cause
    lengths = {name: value.shape for name, value in columns.items()}
    if embedding.ndim != 2 or any(shape != embedding.shape[:1] for shape in lengths.values()):
        raise DataError(f"{path} holds {lengths} beside an embedding {embedding.shape}: every "
                        "array has one row a window.")  # fmt: skip
    columns["subject"], columns["clip"] = (columns[n].astype(str) for n in ("subject", "clip"))
    return columns, embedding
