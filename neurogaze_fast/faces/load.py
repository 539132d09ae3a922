"""From the words of the command line to a face set."""

from __future__ import annotations

import os
from pathlib import Path

from neurogaze_fast.errors import ConfigError, OutputExistsError
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.ferplus import read_ferplus
from neurogaze_fast.faces.synthetic import SYNTHETIC_MARKER, write_demo_faces


def load_faces(kind: str | None, data: Path | None) -> FaceSet:
    """Read a face set; without `data`, draw the demo set once into the cache and read that.

    Raises:
        ConfigError: a kind that needs --data without it. DataError: the set cannot be read.
    """
    kind = kind or ("ferplus" if data else "demo")
    if kind == "ferplus":
        if data is None:
            raise ConfigError(
                "--faces ferplus needs --data DIR, the folder with fer2013.csv and "
                "fer2013new.csv (or the FER2013Train/Valid/Test folders)."
            )
        return read_ferplus(data)
    folder = data or demo_folder()
    if not (folder / SYNTHETIC_MARKER).exists():
        _draw(folder)
    return read_ferplus(folder)


def _draw(folder: Path) -> None:
    try:
        write_demo_faces(folder)
    except (OSError, OutputExistsError) as cause:
        if (folder / SYNTHETIC_MARKER).exists():
            return  # another process drew them meanwhile
        if isinstance(cause, OutputExistsError):
            raise
        raise ConfigError(
            f"The demo faces cannot be written to {folder} ({cause.strerror}). Set NEUROGAZE_CACHE "
            "to a folder that can be written."
        ) from cause


def demo_folder() -> Path:
    """Where the demo set is kept between runs: the user's cache folder, by package version."""
    from neurogaze_fast import __version__

    cache = os.environ.get("NEUROGAZE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "neurogaze_fast"
    )
    return Path(cache) / f"demo-faces-{__version__}"
