"""Files that can be trusted: SHA-256, canonical manifests, atomic writes and verified reads.

An artifact is two files: ``NAME.ext`` and ``NAME.manifest.json``. The manifest is canonical JSON
(sorted keys, no spaces, one trailing newline) holding the artifact's SHA-256, its provenance, and
its own SHA-256 computed with that field blank. Because the bytes must equal the canonical form of
what they parse to, any flipped byte of either file is refused. The hash guards against damage and
mix-ups; it is not a signature, so it cannot stop somebody who rewrites both files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from neurogaze_fast.errors import ArtifactError, NeurogazeError

MANIFEST_SCHEMA = 1
_SELF_HASH = "manifest_sha256"
_FIELDS = {"file": str, "bytes": int, "sha256": str, "provenance": dict}
_NOT_OURS = (
    "It was edited, or another program or version wrote it: restore it from a copy or make it "
    "again."
)


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, ASCII, a trailing newline."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return (text + "\n").encode("ascii")


def seal(description: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with its own SHA-256 added, so that a later edit is noticed."""
    return {**description, "sha256": sha256_bytes(canonical_json(description))}


def unseal(sealed: dict[str, Any]) -> dict[str, Any]:
    """The object :func:`seal` was given.

    Raises:
        ValueError: it was changed since.
    """
    description = {key: value for key, value in sealed.items() if key != "sha256"}
    if sealed.get("sha256") != sha256_bytes(canonical_json(description)):
        raise ValueError("its hash differs: it was edited")
    return description


def check_fields(
    value: Any,
    fields: Mapping[str, Any],
    source: str | Path,
    error: type[NeurogazeError] = ArtifactError,
    *,
    within: str = "",
) -> None:
    """Refuse a JSON object that lacks a field its reader needs, or holds another type there.

    A seal says that a file is whole, not that it is one of ours: whoever changes it can seal it
    again.

    Args:
        value: What was parsed, of any type.
        fields: Name -> type, tuple of types, or a mapping like this one for an object inside it.
            A name that ends in "?" may be absent or null. A whole number counts as a float.
        source: The file, for the message; within: the path of `value` inside it.

    Raises:
        ArtifactError (or `error`): the first field that is wrong, by name.
    """
    if not isinstance(value, dict):
        raise error(f"{source} holds {_brief(value)} for {within or 'its content'}, not an "
                    f"object. {_NOT_OURS}")  # fmt: skip
    for name, kind in fields.items():
        key = name.removesuffix("?")
        label = f"{within}.{key}" if within else key
        found = value.get(key)
        if found is None and name != key:
            continue
        if key not in value:
            raise error(f"{source} has no {label!r}. {_NOT_OURS}")
        if isinstance(kind, Mapping):
            check_fields(found, kind, source, error, within=label)
            continue
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not (type(found) in kinds or (type(found) is int and float in kinds)):
            expected = " or ".join(each.__name__ for each in kinds)
            raise error(
                f"{source} holds {_brief(found)} for {label!r}, where {expected} belongs. "
                f"{_NOT_OURS}"
            )


def _brief(value: Any) -> str:
    return f"{value!r:.60}"


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` so that a crash leaves either the old file or the new one, never a part."""
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` only once the block ends without an error.

    Order: write to a temporary file beside it, flush, fsync, rename, fsync the folder.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (a no-op where folders cannot be opened)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def manifest_path(path: Path) -> Path:
    """``NAME.manifest.json`` beside ``NAME.ext``."""
    return Path(path).with_suffix(".manifest.json")


def write_artifact(path: Path, data: bytes, provenance: dict[str, Any]) -> str:
    """Write `data` and its manifest atomically; return the data's SHA-256.

    `provenance` is any JSON object: configuration, hashes of what the artifact was made from.
    The manifest is written last, so an artifact with a valid manifest is always complete.
    """
    path = Path(path)
    digest = sha256_bytes(data)
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "file": path.name,
        "bytes": len(data),
        "sha256": digest,
        "provenance": provenance,
        _SELF_HASH: "",
    }
    manifest[_SELF_HASH] = sha256_bytes(canonical_json(manifest))
    sealed = canonical_json(manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)
    atomic_write(manifest_path(path), sealed)
    return digest


def verified_open(
    path: Path, error: type[ArtifactError] = ArtifactError
) -> tuple[bytes, dict[str, Any]]:
    """Read an artifact once, check it against its manifest, and return (bytes, provenance).

    The bytes returned are the bytes hashed: parse these, do not open the file again.

    Raises:
        ArtifactError (or `error`): file or manifest missing, altered, or not for one another.
    """
    path = Path(path)
    manifest = read_manifest(path, error)
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise error(f"{path} cannot be read ({cause.strerror}).") from cause
    if len(data) != manifest["bytes"] or sha256_bytes(data) != manifest["sha256"]:
        raise error(
            f"{path} is not the file its manifest describes: {len(data)} bytes with SHA-256 "
            f"{sha256_bytes(data)[:16]}..., expected {manifest['bytes']} bytes with "
            f"{manifest['sha256'][:16]}.... It was altered or damaged after it was written; "
            "restore it from a copy or make it again."
        )
    return data, manifest["provenance"]


def read_manifest(path: Path, error: type[ArtifactError] = ArtifactError) -> dict[str, Any]:
    """The verified manifest of artifact `path` (its data is not read)."""
    path = Path(path)
    sidecar = manifest_path(path)
    try:
        raw = sidecar.read_bytes()
    except OSError as cause:
        raise error(
            f"{sidecar} cannot be read ({cause.strerror}). Every artifact needs its manifest "
            f"beside it: copy both {path.name} and {sidecar.name}."
        ) from cause
    altered = f"{sidecar} was altered or damaged: restore it from a copy or make {path.name} again."
    try:
        manifest = json.loads(raw)
        blank = {**manifest, _SELF_HASH: ""}
        intact = canonical_json(manifest) == raw and manifest[_SELF_HASH] == sha256_bytes(
            canonical_json(blank)
        )
    except (ValueError, TypeError, KeyError, RecursionError) as cause:
        raise error(altered) from cause
    if not intact:
        raise error(altered)
    if manifest.get("schema") != MANIFEST_SCHEMA:
        raise error(
            f"{sidecar} has schema {manifest.get('schema')!r}, this version reads "
            f"{MANIFEST_SCHEMA}: use the version of neurogaze_fast that wrote it."
        )
    check_fields(manifest, _FIELDS, sidecar, error)
    if manifest["file"] != path.name:
        raise error(
            f"{sidecar} describes {manifest['file']!r}, not {path.name!r}: the files were "
            "renamed or mixed up; restore the original names."
        )
    return manifest
