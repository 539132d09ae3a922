"""Image files that tables name: how they are spelt on the disk, and which names mean one file."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

Inode = tuple[int, int]
"""A file's device and number."""


@dataclass
class _Folder:
    entries: dict[str, str] = field(default_factory=dict)
    """Name, and name in any case, -> entry."""
    inodes: dict[str, Inode] = field(default_factory=dict)
    """Entry -> its file, of those that are no links."""


class FileFinder:
    """Looks files up below a folder, listing each folder once: a stat for every image is slow."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[str, _Folder | None] = {}

    def find(self, file: str) -> str | None:
        """`file` as it is spelt on the disk, or None where it is not there.

        Accents may be composed in a table and decomposed on the disk (or the other way round), and
        the case may differ, as Windows lets it, where only one file is meant then. An absolute path
        is taken as it is.
        """
        if os.path.isabs(file):
            return file if os.path.exists(file) else None
        return self._find(file)

    def inode(self, found: str) -> Inode:
        """Which file a found one is, as cheaply as can be; see :func:`one_files`."""
        folder = self._listed.get(str(PurePosixPath(found).parent))
        known = folder.inodes.get(PurePosixPath(found).name) if folder else None
        return known or _inode(self._root / found)

    def _find(self, file: str) -> str | None:
        path = PurePosixPath(file)
        if path.parent == path:
            return None
        parent = str(path.parent)
        folder = self._folder(parent)
        if folder is None:
            spelt = self._find(parent)
            if spelt is None:
                return None
            parent, folder = spelt, self._folder(spelt)
        if folder is None:
            return None
        exact = unicodedata.normalize("NFC", path.name)
        name = folder.entries.get(exact) or folder.entries.get(_any_case(exact))
        return str(PurePosixPath(parent) / name) if name else None

    def _folder(self, name: str) -> _Folder | None:
        """What lies in a folder; None where there is no such folder."""
        if name not in self._listed:
            try:
                device = os.stat(self._root / name).st_dev
                with os.scandir(self._root / name) as entries:
                    files = [
                        (entry.name, None if entry.is_symlink() else entry.inode())
                        for entry in entries
                    ]
            except OSError:
                self._listed[name] = None
                return None
            found = _Folder(inodes={entry: (device, inode) for entry, inode in files if inode})
            for entry, _ in files:
                key = _any_case(unicodedata.normalize("NFC", entry))
                found.entries[key] = "" if key in found.entries else entry  # two differ by case
            found.entries.update({unicodedata.normalize("NFC", entry): entry for entry, _ in files})
            self._listed[name] = found
        return self._listed[name]


def one_files(paths: Sequence[str], inodes: Sequence[Inode]) -> list[Hashable]:
    """For each path a key that it shares with those, and only those, that name the same file.

    Args:
        inodes: What :meth:`FileFinder.inode` says of each. It is not to be relied upon alone: some
            file systems give all entries of a listing one number.
    """
    known = dict(zip(paths, inodes, strict=True))
    shared = Counter(known.values())
    keys: dict[str, Hashable] = {
        path: _inode(path) if shared[inode] > 1 else path for path, inode in known.items()
    }
    return [keys[path] for path in paths]


def _inode(path: str | Path) -> Inode:
    try:
        found = os.stat(path)
    except OSError:
        return (0, hash(str(path)))  # gone since; whoever reads it says so
    # A file system without numbers leaves the path without its links.
    return (found.st_dev, found.st_ino or hash(os.path.realpath(path)))


def _any_case(name: str) -> str:
    return "\0" + name.casefold()  # no file's own name
