"""Taking a run up again: its recorded options, and which of them may differ now."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from neurogaze_fast.artifacts import unseal
from neurogaze_fast.errors import ConfigError

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
        before: what fields were, in effect, in versions that did not have them yet.

    Raises:
        ConfigError: unreadable, edited, or of another version.
    """
    try:
        values = {**(before or {}), **unseal(json.loads(Path(path).read_text()))["config"]}
        for name in paths:
            values[name] = None if values[name] is None else Path(values[name])
        for name in tuples:
            value = values.get(name, ())
            values[name] = (value,) if isinstance(value, str) else tuple(value)
        return kind(**values)
    except OSError as cause:
        raise ConfigError(
            f"{path} cannot be read ({cause.strerror}): is this a run folder?"
        ) from cause
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise ConfigError(
            f"{path} is damaged or was written by another version ({cause})."
        ) from cause


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
