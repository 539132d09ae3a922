"""Which code a model was trained by: one hash of every file of this package that decides it.

A commit says too much (a change of the documentation) and too little (files that differ from it).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOMS = ("faces", "ops", "prototypes", "reference", "student", "training")
"""Folders of the package that decide what a student learns, beside the files on the ground and the
native libraries."""


def training_code(package: Path | None = None) -> str:
    """Hex SHA-256 over names and contents of those files, of `package` or of the one running."""
    package = Path(__file__).parent if package is None else package
    files = [*package.glob("*.py"), *package.glob("*.so"), *package.glob("*.pyd")]
    for room in ROOMS:
        files += (package / room).rglob("*.py")
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda p: p.relative_to(package).as_posix()):
        name = path.relative_to(package).as_posix().encode()
        content = hashlib.sha256(path.read_bytes()).digest()
        digest.update(len(name).to_bytes(4, "little") + name + content)
    return digest.hexdigest()
