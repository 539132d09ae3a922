"""Data sets that are arrays (.mat, .pkl, .dat), read by a description of their layout."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.eeg.defects import (
    damage,
    last_seconds,
    one_line,
    rating_defect,
    signal_defect,
    unit_rating,
)
from neurogaze_fast.eeg.description import ArrayDescription
from neurogaze_fast.eeg.labels import sites_of
from neurogaze_fast.eeg.mat_check import MatDamageError
from neurogaze_fast.eeg.mat_read import read_mats
from neurogaze_fast.eeg.pieces import Piece, left_out_piece
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.safe_pickle import read_pickle
from neurogaze_fast.eeg.units import microvolts_per
from neurogaze_fast.errors import ConfigError, DataError


def read_arrays(root: Path, described: ArrayDescription) -> Iterator[Trial | LeftOut]:
    """Every trial of every file that the description names below a folder.

    The trial of one number is the same film for everybody. A trial is left out, counted, where it
    is damaged, shorter than 10 s, or has a rating that is no number or outside the scale.

    Raises:
        DataError: there is no file, or one is not laid out as described; says what was found.
        ConfigError: the description contradicts itself.
    """
    for piece in array_pieces(root, described):
        yield from piece.read()


def array_pieces(root: Path, described: ArrayDescription) -> list[Piece]:
    """A piece for each file; arguments and errors as above."""
    root, scale = Path(root), microvolts_per(described.unit)
    sites = sites_of(described.sites)
    if scale is None or sorted(described.axes.split()) not in (
        ["channel", "time"], ["channel", "time", "trial"]
    ):  # fmt: skip
        raise ConfigError(
            f"The description {described.name}: unit is {described.unit!r} and axes "
            f"{described.axes!r}; it takes uV, mV or V, and channel and time, and maybe trial."
        )
    if described.ratings and len(described.scale) != 2:
        raise ConfigError(f"The description {described.name} has ratings but no scale for them.")
    found = sorted({path for pattern in described.files for path in root.glob(pattern)})
    if not found:
        raise DataError(f"{root} holds no file {' or '.join(described.files)}.")
    reason = "a channel that is no site of the 10-20 system, or a second one there"
    unknown = [
        LeftOut(root, f"channel {label}", reason)
        for label, site in zip(described.sites, sites, strict=True)
        if site is None
    ]

    def piece(file: Path, match: re.Match[str]) -> Piece:
        def read() -> Iterator[Trial | LeftOut]:
            content = _load(file)
            trials = _trials(content, described, file)
            ratings = _ratings(content, described, root, file, match[1], len(trials))
            del content
            for number, values in enumerate(trials, start=1):
                rated = ratings[number - 1]
                yield _trial(values, rated, number, described, sites, scale, file, match)

        return Piece(_below(root, file), f"{described.name}-{match[1]}", (file,), read)

    pieces = left_out_piece("channels", unknown)
    taken: dict[str, Path] = {}
    for file in found:
        match = re.search(described.subject, file.stem)
        if match is None:
            raise DataError(f"{file}: its name does not fit subject = {described.subject!r}.")
        if (other := taken.setdefault(file.stem, file)) != file:
            twin = LeftOut(file, file.name, f"the same name as {_below(root, other)}")
            pieces += left_out_piece(_below(root, file), [twin])
        else:
            pieces.append(piece(file, match))
    return pieces


def _below(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()


def ratings_of(root: Path, described: ArrayDescription) -> list[Path]:
    """The files of ratings beside those of signals, where the description has any."""
    if not described.ratings_file:
        return []
    pattern = described.ratings_file.replace("{subject}", "*").replace("{file}", "*")
    return sorted(Path(root).glob(pattern))


def _trial(
    values: np.ndarray,
    ratings: tuple[Any, Any] | None,
    number: int,
    described: ArrayDescription,
    sites: list[str | None],
    scale: float,
    file: Path,
    match: re.Match[str],
) -> Trial | LeftOut:
    what = f"{file.name}, trial {number}"
    if len(values) < len(sites):
        raise DataError(
            f"{file}: trial {number} has {len(values)} channels, and the description names "
            f"{len(sites)} sites. Are the axes {described.axes}? Its shape is {list(values.shape)}."
        )
    kept = [at for at, site in enumerate(sites) if site is not None]
    signal = np.asarray(values[kept], np.float32) * np.float32(scale)
    split = round(described.baseline * described.rate)
    rest, signal = (signal[:, :split] if split else None), signal[:, split:]
    signal = last_seconds(signal, described.rate, described.seconds or None)
    reason = signal_defect(signal, described.rate)
    if reason is None and rest is not None:
        reason = damage(rest, "baseline", described.rate)
    rated = [None if ratings is None else unit_rating(each, *described.scale) for each in
             ratings or (None, None)]  # fmt: skip
    wrong = None
    if ratings is not None:
        wrong = rating_defect(ratings, described.scale[0], described.scale[1], "its scale")
    if wrong and not reason:
        reason, what = wrong[0], f"{what} ({wrong[1]})"
    if reason:
        return LeftOut(file, what, reason)
    return Trial(
        source=described.name,
        subject=f"{described.name}-{match[1]}",
        clip=f"{file.stem}_clip-{number:02d}",
        film=f"clip-{number:02d}",
        signal=np.ascontiguousarray(signal),
        baseline=None if rest is None else np.ascontiguousarray(rest),
        sfreq=described.rate,
        ch_names=tuple(site for site in sites if site is not None),
        valence=rated[0],
        arousal=rated[1],
        path=file,
    )


def _load(file: Path) -> Any:
    if file.suffix.lower() != ".mat":
        return read_pickle(file)
    if not file.is_file():
        raise DataError(f"{file} is missing, and the description names it: copy it there.")
    try:
        return read_mats(file)
    except (MatDamageError, zlib.error, OSError) as cause:
        raise DataError(
            f"{file} cannot be read as a MATLAB file of version 5 to 7 ({one_line(cause)}): it is "
            "damaged, or of version 7.3 (save it with -v7)."
        ) from cause


def _trials(content: Any, described: ArrayDescription, file: Path) -> list[np.ndarray]:
    """[channel, time] of each trial."""
    if described.signal:
        names = content if isinstance(content, dict) else {}
        keys = [key for key in names if re.fullmatch(described.signal, str(key))]
        if not keys:
            known = ", ".join(map(str, names)) or "no names at all"
            raise DataError(f"{file} has no variable {described.signal}; it has {known}.")
        keys.sort(key=lambda key: [int(part) for part in re.findall(r"\d+", str(key))])
        content = content[keys[0]] if len(keys) == 1 else [content[key] for key in keys]
    axes = described.axes.split()
    if isinstance(content, np.ndarray) and content.dtype != object:
        if "trial" in axes and content.ndim == 3:
            content = list(np.moveaxis(content, axes.index("trial"), 0))
        else:
            content = [content]
    if not isinstance(content, list | np.ndarray):
        raise DataError(f"{file}: the signal is a {type(content).__name__}, expected an array.")
    order = [axis for axis in axes if axis != "trial"]
    trials = []
    for each in content.reshape(-1) if isinstance(content, np.ndarray) else content:
        if not (isinstance(each, np.ndarray) and each.ndim == 2 and each.dtype.kind in "iuf"):
            shape = list(getattr(each, "shape", ())) or type(each).__name__
            raise DataError(f"{file}: a trial is {shape}, expected numbers [{', '.join(order)}].")
        trials.append(each if order[0] == "channel" else each.T)
    return trials


def _ratings(
    content: Any, described: ArrayDescription, root: Path, file: Path, subject: str, trials: int
) -> list[tuple[Any, Any] | None]:
    """(valence, arousal) as written, of each trial; None: unlabelled."""
    if not described.ratings:
        return [None] * trials
    if described.ratings_file:
        name = described.ratings_file.replace("{subject}", subject).replace("{file}", file.stem)
        file = root / name
        content = _load(file)
    found = _column(content, described.ratings, file)
    if trials == 1 and found and all(np.ndim(each) == 0 for each in found):
        found = [np.array(found)]  # of one trial the ratings may be a list, and not a list of lists
    rows = [np.ravel(row) for row in found]
    if described.ratings_trial:
        numbers = [np.ravel(n) for n in _column(content, described.ratings_trial, file)]
        single = all(n.size == 1 and n.dtype.kind in "iuf" for n in numbers)
        if len(numbers) != len(rows) or not single:
            raise DataError(
                f"{file}: {described.ratings_trial} is not one number for each of the {len(rows)} "
                f"rows of {described.ratings}."
            )
        by_trial = {int(n[0]): row for n, row in zip(numbers, rows, strict=True)}
        rows = [by_trial.get(number, np.zeros(0)) for number in range(1, trials + 1)]
    if len(rows) != trials:
        raise DataError(f"{file}: {described.ratings} has {len(rows)} rows for {trials} trials.")

    def at(row: np.ndarray, question: int) -> Any:
        return row[question] if question < len(row) else None

    return [(at(row, described.valence), at(row, described.arousal)) for row in rows]


def _column(content: Any, key: str, file: Path) -> list[Any]:
    """The rows of a variable, or of a field of a struct array."""
    name, _, field = key.partition(".")
    value = content.get(name) if isinstance(content, dict) else None
    if value is not None and field:
        fields = value.dtype.names or ()
        value = value.reshape(-1)[field] if field in fields else None
    if not isinstance(value, np.ndarray):
        known = ", ".join(map(str, content)) if isinstance(content, dict) else "no names at all"
        raise DataError(f"{file} has no {key}; it has {known}.")
    return list(value.reshape(-1) if value.dtype == object else value)
