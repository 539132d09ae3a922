"""Taking a run up again: its recorded options, and which of them may differ now."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.training.run_folder import read_config

Config = TypeVar("Config")


def config_from_json(
    kind: type[Config],
    path: Path,
    paths: Sequence[str],
    tuples: Sequence[str] = (),
    before: Mapping[str, Any] | None = None,
) -> Config:
    """The options in a run folder's config.json.

    Args:
        paths: fields that hold paths.
        tuples: fields that hold several words; where a run of an older version has one, a single
            word.
        before: what fields were, in effect, in versions that did not have them yet; others take
            their default.

    Raises:
        ConfigError: unreadable, edited, or of another version.
    """
    values = {**(before or {}), **read_config(path)["config"]}
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(
                f"{path} holds an option {name!r} that this version does not know: use the version "
                "of neurogaze_fast that wrote it."
            )
        if name in paths and isinstance(value, str):
            values[name] = Path(value)
        if name in tuples and isinstance(value, str | list):
            values[name] = (value,) if isinstance(value, str) else tuple(value)
        if not _fits(values[name], hints[name]):
            raise ConfigError(
                f"{path} holds {value!r:.60} for {name!r}, which that option cannot be: it was "
                "edited or is of another version. Restore it from a copy."
            )
    try:
        return kind(**values)
    except ConfigError as cause:
        raise ConfigError(f"{path} holds options that cannot be: {cause}") from cause


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value (or a path) is of an option's type."""
    if get_origin(hint) is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        each = get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(item, each) for item in value)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return isinstance(value, Path) if hint is Path else type(value) is hint


def differing(config: Any, recorded: Any, free: Collection[str]) -> list[str]:
    """Fields in which two configurations of one kind differ, leaving out those in `free`."""
    return [
        f.name
        for f in fields(config)
        if f.name not in free and getattr(config, f.name) != getattr(recorded, f.name)
    ]


def refuse_changes(config: Any, recorded: Any, free: Collection[str], run: Path) -> None:
    """Refuse to continue `run` with other options than it was started with.

    Raises:
        ConfigError: an option differs that is not in `free`.
    """
    changed = differing(config, recorded, free)
    if changed:
        flags = ", ".join("--" + name.replace("_", "-") for name in changed)
        raise ConfigError(
            f"{flags} cannot change while {run} is continued: the result would belong to neither "
            "setting. Leave them out, or start a new run."
        )
