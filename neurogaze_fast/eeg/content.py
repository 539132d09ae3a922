"""What a recording is known by: its name without where it lies, and hashes of what it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from neurogaze_fast.artifacts import canonical_json, sha256_bytes, sha256_file

ENDS = 1 << 16
"""Bytes at the start and at the end of a file that a quick look reads."""


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
    """SHA-256 of all of a recording; of names and hashes where it is a folder."""
    if not path.is_dir():
        return sha256_file(path)
    held = {part.relative_to(path).as_posix(): sha256_file(part) for part in _files(path)}
    return sha256_bytes(canonical_json(held))


def quick_look(path: Path) -> tuple[int, str]:
    """Bytes of a recording, and SHA-256 of its first and last 64 KiB: cheap for any size.

    (-1, "") where there is no such file.
    """
    if path.is_dir():
        held = [[part.name, *quick_look(part)] for part in _files(path)]
        return len(held), sha256_bytes(canonical_json(held))
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            ends = file.read(ENDS)
            file.seek(max(0, size - ENDS))
            return size, sha256_bytes(ends + file.read(ENDS))
    except OSError:
        return -1, ""


def _files(folder: Path) -> list[Path]:
    return sorted(part for part in folder.rglob("*") if part.is_file())
