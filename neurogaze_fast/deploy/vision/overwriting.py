"""Nothing that is read is written over, and nothing is written twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from neurogaze_fast.deploy.vision.inputs import NAME_BYTES, Input
from neurogaze_fast.deploy.vision.results import part_of
from neurogaze_fast.errors import ConfigError


def timeline_name(name: Path) -> Path:
    """Where the timeline of a video goes whose annotated copy is `name`."""
    stem = name.stem
    while len(os.fsencode(f"{stem}-timeline.png")) > NAME_BYTES:
        stem = stem[:-1]
    return name.with_name(f"{stem}-timeline.png")


def refuse_overwriting(
    inputs: Sequence[Input], out: Path | None, tables: Sequence[Path], model: Path | None
) -> None:
    """Refuse to write over a file that is to be read, or one file twice.

    Args:
        tables: The results files.

    Raises:
        ConfigError: a file to write has the path of an input, of the model, or of another one.
    """
    real = os.path.realpath  # unlike Path's, no error for links in a circle
    sources = {real(path) for path in (*(i.path for i in inputs), *([model] if model else ()))}
    written = set()
    for item, folder in ((item, out) for item in inputs if out is not None):
        copy = folder / item.name
        if real(copy) in sources:
            raise ConfigError(
                f"The annotated copy of {item.path} would replace {copy}, which is one of the "
                "files to read. Give another --out."
            )
        written.add(real(copy))
        timeline = folder / timeline_name(item.name)
        if item.video and real(timeline) in sources:
            raise ConfigError(
                f"The timeline of {item.path} would replace {timeline}, which is one of the files "
                "to read. Give another --out."
            )
    for table in tables:
        for path in (table, part_of(table)):
            target, what = real(path), ""
            if os.path.isdir(target):
                what = "a folder"
            elif target in sources:
                what = "one of the files to read"
            elif target in written:
                what = "written by this run already"
            if what:
                raise ConfigError(
                    f"The results cannot be written to {table}: {path} is {what}. Give --csv and "
                    "--json other names."
                )
            written.add(target)
