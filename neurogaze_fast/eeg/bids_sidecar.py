"""The tables beside a recording, as in BIDS: which channels are bad, of what type, and where."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.delimited import DelimitedTable, DelimitedTextError, read_delimited
from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.sphere import HEAD, Sphere
from neurogaze_fast.eeg.units import microvolts_per

if TYPE_CHECKING:
    from neurogaze_fast.eeg.open_recording import Recording

NOTHING = ("", "n/a", "nan")
"""How tables write that there is no value."""
SUFFIXES = ("channels.tsv", "electrodes.tsv", "coordsystem.json", "eeg.json")
"""Files beside a recording."""
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
_FORWARD_X = ("eeglab", "eeglab-hj", "ctf", "4dbti")
"""Systems whose x points to the nose; the head frame's points to the right ear."""
_FORWARD_Y = ("captrak", "elektaneuromag")


def entities(name: str) -> dict[str, str]:
    """The key-value pairs of a BIDS file's name: "sub-01_task-x_eeg.edf" has sub and task."""
    return dict(re.findall(r"(?:^|_)([A-Za-z]+)-([^_.]+)", name))


def is_bids(file: Path) -> bool:
    """Whether a file's name is that of a BIDS EEG recording."""
    return bool(re.match(r"sub-[^_.]+_(?:.*_)?eeg\.", file.name))


def beside(file: Path, suffix: str) -> Path | None:
    """The nearest file that applies to a recording, by BIDS's inheritance; None: there is none.

    It lies in the recording's folder or one above it (up to the one that holds sub-...), ends in
    "_" + suffix (or is all of it), and has no pair of key and value that the recording lacks; of
    several in one folder, the one with most pairs.
    """
    own = entities(file.name)
    for folder in file.parents:
        fitting = [
            (len(pairs), path)
            for path in sorted(folder.glob(f"*{suffix}"))
            if (path.name == suffix or path.name.endswith("_" + suffix))
            and (pairs := entities(path.name)).items() <= own.items()
        ]
        if fitting:
            return max(fitting)[1]
        if (folder / f"sub-{own.get('sub', '')}").is_dir():  # the data set's root
            return None
    return None


def cell(table: DelimitedTable, fields: tuple[str, ...], *names: str) -> str:
    """A row's value in the first of these columns that there is; empty for n/a and the like."""
    at = table.column(*names)
    text = "" if at is None else fields[at]
    return "" if text.casefold() in NOTHING else text


def table_of(file: Path, suffix: str) -> Path | None:
    """The file beside a recording that ends in `suffix`; None: there is none.

    A BIDS recording's by its rules; another's is called after it ("rec1_channels.tsv" for
    "rec1.csv"), or just "channels.tsv" where it is of all recordings in the folder.
    """
    if is_bids(file):
        return beside(file, suffix)
    named = (file.with_name(f"{file.stem}_{suffix}"), file.with_name(suffix))
    return next((path for path in named if path.is_file()), None)


def sidecars(path: Path) -> list[Path]:
    """What lies beside a recording, or beside those of a folder, and says something of them."""
    if path.is_dir():
        return sorted(one for name in SUFFIXES for one in path.rglob(f"*{name}"))
    found = (table_of(path, name) for name in SUFFIXES)
    return [one for one in found if one is not None]


def told_names(file: Path) -> list[str]:
    """The names in channels.tsv, in its order.

    Raises:
        UnreadableError: the table cannot be read.
    """
    path = table_of(file, "channels.tsv")
    if path is None:
        return []
    with _said():
        table = read_delimited(path, ("name", "type", "units", "status"))
        return [cell(table, row.fields, "name") or "n/a" for row in table.rows]


def told_rate(file: Path) -> float | None:
    """SamplingFrequency in eeg.json, Hz; None: it is not said.

    Raises:
        UnreadableError: the file cannot be read, or holds no such number.
    """
    path = table_of(file, "eeg.json")
    if path is None:
        return None
    with _said():
        told = json.loads(path.read_text("utf-8-sig"))
        rate = float(told["SamplingFrequency"]) if "SamplingFrequency" in told else None
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"{path.name}: SamplingFrequency is {rate}")
        return rate


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What is wrong with a table beside a recording as what is wrong with the recording."""
    try:
        yield
    except (DelimitedTextError, OSError, ValueError, TypeError) as cause:
        raise UnreadableError("a table beside the recording cannot be read", str(cause)) from cause


def with_sidecars(recording: Recording, file: Path) -> Recording:
    """The recording with what channels.tsv and electrodes.tsv beside it say.

    Status bad makes a channel bad; a type other than EEG keeps it out; units count where the file
    itself names none. Positions are taken where the file has none and their system is one whose
    axes are known (coordsystem.json).

    Raises:
        UnreadableError: a table is there and cannot be read.
    """
    with _said():
        _channels(recording, table_of(file, "channels.tsv"))
        if not recording.points and (electrodes := table_of(file, "electrodes.tsv")):
            recording.points, recording.sphere = _points(electrodes, file)
    return recording


def _channels(recording: Recording, path: Path | None) -> None:
    from neurogaze_fast.eeg.open_recording import unknown_unit

    table = path and read_delimited(path, ("name", "type", "units", "status"))
    if not table or table.column("name") is None:
        return
    told = {cell(table, row.fields, "name").casefold(): row.fields for row in table.rows}
    for number, channel in enumerate(recording.channels):
        fields = told.get(channel.label.strip().casefold())
        if fields is None:
            continue
        kind, unit = cell(table, fields, "type"), cell(table, fields, "units")
        if cell(table, fields, "status").casefold() == "bad":
            channel = replace(channel, bad=True)
        if kind and kind.casefold() != "eeg":
            channel = replace(channel, problem=f"a channel of type {kind} in channels.tsv")
        elif unit and not channel.has_unit:
            channel = replace(channel, unit=unit)
            if microvolts_per(unit) is None:
                channel = replace(channel, problem=channel.problem or unknown_unit(unit))
            elif channel.problem == unknown_unit(""):
                channel = replace(channel, problem=None)
        recording.channels[number] = channel


def _points(path: Path, file: Path) -> tuple[dict[str, np.ndarray], Sphere]:
    """Label -> metres in the head frame, and the sphere of these places."""
    described = table_of(file, "coordsystem.json")
    system = json.loads(described.read_text("utf-8")) if described else {}
    name = str(system.get("EEGCoordinateSystem", "")).casefold()
    scale = _METRES.get(str(system.get("EEGCoordinateUnits", "")))
    table = read_delimited(path, ("name", "x", "y", "z"))
    if scale is None or name not in _FORWARD_X + _FORWARD_Y:
        return {}, HEAD  # of a template, or of a system that is not told: names say it as well
    from mne.channels import make_dig_montage

    from neurogaze_fast.eeg.places import montage_points

    found = {}
    for row in table.rows:
        place = [cell(table, row.fields, axis) for axis in ("x", "y", "z")]
        if all(place):
            x, y, z = (float(value) * scale for value in place)
            here = (-y, x, z) if name in _FORWARD_X else (x, y, z)
            found[cell(table, row.fields, "name")] = np.array(here)
    if len(found) < 4:
        return {}, HEAD
    return montage_points(list(found), make_dig_montage(found, coord_frame="head"))
