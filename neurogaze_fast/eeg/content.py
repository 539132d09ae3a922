"""What a recording is known by: its name without where it lies, and hashes of what it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from neurogaze_fast.artifacts import canonical_json, sha256_bytes, sha256_file

ENDS = 1 << 16
"""Bytes at the start and at the end of a file that a quick look reads."""


COMPANIONS = {".vhdr": (".eeg", ".vmrk", ".dat"), ".set": (".fdt",)}
"""Recordings in several files: the one that is named, and what lies beside it under its name."""


def file_label(path: Path) -> str:
    """The name of a file with its folder's, for provenance: not where it lies."""
    return "/".join(path.parts[-2:])


def identity(path: Path, roots: Mapping[str, Path]) -> str:
    """The same text for the same file wherever the data lie: an option, and the way from what it
    names."""
    for option, root in roots.items():
        if path == root:
            return f"{option}/{path.name}"
        if path.is_relative_to(root):
            return f"{option}/{path.relative_to(root).as_posix()}"
    return path.as_posix()  # named by a table, and elsewhere


def whole_hash(path: Path) -> str:
    """SHA-256 of all of a recording; of names and hashes where it is several files."""
    parts = _files(path)
    if parts == [path]:
        return sha256_file(path)
    top = path if path.is_dir() else path.parent
    held = {part.relative_to(top).as_posix(): sha256_file(part) for part in parts}
    return sha256_bytes(canonical_json(held))


def quick_look(path: Path) -> tuple[int, str]:
    """Bytes of a recording, and SHA-256 of its first and last 64 KiB: cheap for any size.

    (-1, "") where there is no such file.
    """
    parts = _files(path)
    if parts != [path]:
        held = [[part.name, *_ends(part)] for part in parts]
        return len(held), sha256_bytes(canonical_json(held))
    return _ends(path)


def _ends(path: Path) -> tuple[int, str]:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            ends = file.read(ENDS)
            file.seek(max(0, size - ENDS))
            return size, sha256_bytes(ends + file.read(ENDS))
    except OSError:
        return -1, ""


def _files(path: Path) -> list[Path]:
    """All files of a recording: those of a folder, or a header's and what belongs to it."""
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    kinds = COMPANIONS.get(path.suffix.lower(), ())
    if not kinds or not path.parent.is_dir():
        return [path]
    beside = sorted(path.parent.iterdir())
    return [path, *(f for f in beside if f.stem == path.stem and f.suffix.lower() in kinds)]
