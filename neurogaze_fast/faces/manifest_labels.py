"""From the labels of a csv manifest to emotions: by name, never by a number's place."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.naming import ALIASES, emotion_named, names_no_emotion

CLASS_MAP = "class_map.json"
_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")
_EXAMPLE = '{"0": "neutral", "1": "happiness", ...}'


def read_labels(
    path: Path, table: Sequence[tuple[int, dict[str, str]]]
) -> list[tuple[str, str | None]]:
    """(label as found, its emotion or None) of every row.

    Args:
        path: The csv.
        table: (row, {"name" or "id" or both: the field's text}) of every row; at least one row.

    Raises:
        DataError: numbers that nothing explains, unknown names, or a number with two meanings.
    """
    column = "name" if "name" in table[0][1] else "id"
    numeric = [
        (number, fields[column]) for number, fields in table if _NUMBER.fullmatch(fields[column])
    ]
    names: dict[int, str] = {}
    if numeric:
        names = _class_map(path, numeric[0])
    if column == "name" and "id" in table[0][1]:
        _check_ids(path, table)
    labels: list[tuple[str, str | None]] = []
    unknown: dict[str, int] = {}
    for number, fields in table:
        label = fields[column]
        name = names.get(int(float(label)), "") if _NUMBER.fullmatch(label) else label
        emotion = emotion_named(name)
        if emotion is None and label and not names_no_emotion(name):
            unknown.setdefault(label, number)
        labels.append((label, emotion))
    if unknown:
        named = ", ".join(f"{label!r} (row {row})" for label, row in list(unknown.items())[:8])
        raise DataError(
            f"{path} has {len(unknown)} label(s) that name no emotion: {named}. Name them after "
            f"one of {', '.join(EMOTIONS)} (also {', '.join(ALIASES)}), none, uncertain or "
            f"unknown; numbers are looked up in {CLASS_MAP} beside the csv."
        )
    return labels


def _check_ids(path: Path, table: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Where rows have a name and an id, each id must stand for one emotion."""
    first: dict[str, tuple[str, int]] = {}
    for number, fields in table:
        name, label = fields["name"], fields["id"]
        if not (name and label):
            continue
        # An id column that holds names as well must hold the same ones.
        key = str(int(float(label))) if _NUMBER.fullmatch(label) else label
        meaning = emotion_named(name) or name.lower()
        known, row = first.setdefault(key, (meaning, number))
        if known != meaning:
            raise DataError(
                f"{path}: label {label} is {known} in row {row} but {meaning} in row {number}. "
                "Correct the rows, or take the column of numbers out: names are what counts."
            )


def _class_map(path: Path, example: tuple[int, str]) -> dict[int, str]:
    """Number -> name, by class_map.json beside the csv; either of its two forms."""
    file = path.parent / CLASS_MAP
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise TypeError("it holds no object")
        if all(isinstance(value, str) for value in content.values()):
            pairs = [(int(key), value) for key, value in content.items()]
        else:
            pairs = [(int(value), key) for key, value in content.items()]
    except FileNotFoundError:
        row, label = example
        raise DataError(
            f"{path} has labels as numbers only (such as {label} in row {row}), and numbers mean "
            f"another emotion in every data set. Add a column label_name, or write {file} that "
            f"says what they are: {_EXAMPLE}."
        ) from None
    except (OSError, ValueError, TypeError) as cause:
        raise DataError(f"{file} is no class map ({cause}). It should hold {_EXAMPLE}.") from cause
    names: dict[int, str] = {}
    for number, name in pairs:
        if emotion_named(name) is None and not names_no_emotion(name):
            raise DataError(
                f"{file} calls {number} {name!r}, which names no emotion. Use one of "
                f"{', '.join(EMOTIONS)} (also {', '.join(ALIASES)}), none, uncertain or unknown."
            )
        if emotion_named(names.setdefault(number, name)) != emotion_named(name):
            raise DataError(f"{file} calls {number} both {names[number]!r} and {name!r}.")
    return names
