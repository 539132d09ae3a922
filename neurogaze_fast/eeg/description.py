"""Description files: what a published data set calls its clips, films and ratings, as TOML.

Those in the package are known by name (``faced-bids``); the next set is a file, and no code.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import MISSING, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from neurogaze_fast.errors import ConfigError

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class BidsDescription:
    """How the tables of a BIDS tree name what is needed; every key has a default."""

    about: str = ""
    """Which data set, and what this file was checked against."""
    task: str = ""
    """Only recordings of this task; empty: all."""
    column: str = "trial_type"
    """Column of events.tsv that says what an event is."""
    clips: tuple[str, ...] = ()
    """Its values that are clips; none: every event of 10 s or more."""
    end: tuple[str, ...] = ()
    """Values that end a clip whose own duration is missing or 0."""
    seconds: float = 0.0
    """How long such a clip lasts where no event ends it; 0: not known."""
    baseline: float = 0.0
    """Seconds before each clip that are its baseline."""
    film: str = ""
    """Column, of the events or else of the ratings, that says which film a clip was; empty:
    `column` itself."""
    ratings: str = ""
    """Table of ratings, a pattern below ROOT in which {subject} is the label of the person; "none":
    there are no ratings; empty: the events, then beh/, phenotype/ and participants.tsv."""
    match: str = ""
    """Column of that table that names the film as the events do; empty: rows are in the order of
    the clips."""
    valence: str = "valence"
    """Column of the valence; {film} in it is the film's name."""
    arousal: str = "arousal"
    """Column of the arousal, likewise."""
    scale: tuple[float, ...] = ()
    """Lowest and highest rating; none: the option's."""


@dataclass(frozen=True)
class ArrayDescription:
    """How the arrays of a data set are laid out, one file a person."""

    name: str
    """Short name, before each person's."""
    files: tuple[str, ...]
    """Patterns below the folder; of .mat, .dat and .pkl."""
    rate: float
    """Hz."""
    sites: tuple[str, ...]
    """The channels from the first on, in order; further channels are left out."""
    axes: str
    """The signal's axes in order, such as "trial channel time"; of one trial "time channel"."""
    about: str = ""
    """Which data set, and what this file was checked against."""
    subject: str = r"(\d+)"
    """Regular expression on the file's name, whose group is the person."""
    signal: str = ""
    """Key of the signal, a regular expression: where several fit, each is a trial, by the number
    in its name; empty: the file is the array."""
    unit: str = "uV"
    """Of the signal."""
    baseline: float = 0.0
    """Seconds at the start of each trial that are its baseline."""
    seconds: float = 0.0
    """Of each trial, counted from its end; 0: all."""
    ratings: str = ""
    """Key of the ratings [trial, question], "struct.field" for a field; empty: unlabelled."""
    ratings_file: str = ""
    """File of the ratings below the folder, with {subject} and {file} (its name without the end);
    empty: the same file."""
    ratings_trial: str = ""
    """Key of the number (from 1) of the trial that each row of the ratings is of; empty: in
    order."""
    valence: int = 0
    """Question that is the valence, from 0."""
    arousal: int = 1
    """Question that is the arousal, from 0."""
    scale: tuple[float, ...] = ()
    """Lowest and highest rating."""


def shipped() -> dict[str, str]:
    """Name -> text of the descriptions in the package."""
    folder = files("neurogaze_fast.eeg") / "descriptions"
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    return {f.name[:-5]: f.read_text("utf-8") for f in found if f.name.endswith(".toml")}


def read_description(name: str, kind: type[Kind]) -> Kind:
    """A description by the name of one in the package, or of a file.

    Args:
        name: Such as "faced-bids", or a path that ends in .toml.
        kind: The class of the description, whose fields are the keys there may be.

    Raises:
        ConfigError: there is none of this name; it is no TOML; a key is not known, is missing, or
            holds another type.
    """
    known = shipped()
    text = known.get(name.casefold())
    if text is None:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as cause:
            raise ConfigError(
                f"--description {name} is neither a text file nor one of {', '.join(known)}."
            ) from cause
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"The description {name} is no TOML: {cause}.") from cause
    return _built(table, kind, name)


def _built(table: dict[str, Any], kind: type[Kind], name: str) -> Kind:
    keys = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    lacking = [
        key
        for key, field in keys.items()
        if field.default is MISSING and field.default_factory is MISSING and key not in table
    ]
    unknown = [key for key in table if key not in keys]
    if lacking or unknown:
        wrong = f"has {', '.join(unknown)}" if unknown else f"lacks {', '.join(lacking)}"
        raise ConfigError(
            f"The description {name} {wrong}. A {kind.__name__} has the keys {', '.join(keys)}."
        )
    values: dict[str, Any] = {}
    for key, value in table.items():
        wanted = str(keys[key].type)
        if wanted == "str" and isinstance(value, str):
            values[key] = value
        elif wanted == "float" and _is_number(value) and value >= 0:
            values[key] = float(value)
        elif wanted == "int" and isinstance(value, int) and not isinstance(value, bool):
            values[key] = value
        elif wanted == "tuple[float, ...]" and _is_scale(value):
            values[key] = tuple(map(float, value))
        elif (
            wanted == "tuple[str, ...]"
            and isinstance(value, list)
            and all(isinstance(each, str) for each in value)
        ):
            values[key] = tuple(value)
        else:
            expected = {
                "str": "a text", "float": "a number from 0 on", "int": "a whole number",
                "tuple[float, ...]": "the lowest and the highest rating, as [1, 9]",
                "tuple[str, ...]": "a list of texts",
            }[wanted]  # fmt: skip
            raise ConfigError(f"The description {name}: {key} is {value!r}, expected {expected}.")
    return kind(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_scale(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(map(_is_number, value))
        and value[0] < value[1]
    )
