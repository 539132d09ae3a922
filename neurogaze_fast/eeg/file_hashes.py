"""Which files a map set was made from, with what each held."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from neurogaze_fast.artifacts import sha256_file

COMPANIONS = {".vhdr": (".eeg", ".vmrk", ".dat"), ".set": (".fdt",)}
"""Recordings in several files: the one that is named, and what lies beside it under its name."""


def hashes(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Name (with its folder's) and SHA-256 of each file, once each."""
    files = [file for path in dict.fromkeys(paths) for file in files_of(path)]
    return [
        {"file": "/".join(file.parts[-2:]), "sha256": sha256_file(file)}
        for file in dict.fromkeys(files)
    ]


def files_of(path: Path) -> list[Path]:
    """All files of a recording: those of a folder, and those that belong to a header."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    kinds = COMPANIONS.get(path.suffix.lower(), ())
    if not kinds:
        return [path]
    beside = sorted(path.parent.iterdir())
    return [path] + [f for f in beside if f.stem == path.stem and f.suffix.lower() in kinds]
