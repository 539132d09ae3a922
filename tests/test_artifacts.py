"""Nothing altered gets through, and nothing is lost when a write fails."""

import json
import os

import numpy as np
import pytest

from neurogaze_fast import artifacts
from neurogaze_fast.artifacts import (
    atomic_write,
    canonical_json,
    manifest_path,
    verified_open,
    write_artifact,
)
from neurogaze_fast.errors import ArtifactError


@pytest.fixture
def artifact(tmp_path):
    path = tmp_path / "thing.bin"
    write_artifact(path, bytes(range(256)), {"made_from": ["a", "b"], "n": 3})
    return path


def test_round_trip(artifact):
    data, provenance = verified_open(artifact)
    assert data == bytes(range(256))
    assert provenance == {"made_from": ["a", "b"], "n": 3}


@pytest.mark.parametrize("which", ["data", "manifest"])
def test_every_flipped_bit_is_refused(artifact, which):
    victim = artifact if which == "data" else manifest_path(artifact)
    intact = victim.read_bytes()
    for position in range(len(intact)):
        for bit in range(8):
            damaged = bytearray(intact)
            damaged[position] ^= 1 << bit
            victim.write_bytes(damaged)
            with pytest.raises(ArtifactError, match=victim.name):
                verified_open(artifact)
    victim.write_bytes(intact)
    verified_open(artifact)


@pytest.mark.parametrize("which", ["data", "manifest"])
def test_truncation_extension_and_absence_are_refused(artifact, which):
    victim = artifact if which == "data" else manifest_path(artifact)
    intact = victim.read_bytes()
    for damaged in (b"", intact[:-1], intact + b"\n", intact * 2):
        victim.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            verified_open(artifact)
    victim.unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        verified_open(artifact)


def test_manifest_of_another_file_or_schema_is_refused(artifact, tmp_path):
    other = tmp_path / "other.bin"
    other.write_bytes(artifact.read_bytes())
    manifest_path(other).write_bytes(manifest_path(artifact).read_bytes())
    with pytest.raises(ArtifactError, match=r"not 'other\.bin'"):
        verified_open(other)

    manifest = json.loads(manifest_path(artifact).read_bytes())
    manifest |= {"schema": 99, "manifest_sha256": ""}
    manifest["manifest_sha256"] = artifacts.sha256_bytes(canonical_json(manifest))
    manifest_path(artifact).write_bytes(canonical_json(manifest))
    with pytest.raises(ArtifactError, match="schema 99"):
        verified_open(artifact)


def test_write_syncs_the_file_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        real_fsync(descriptor)

    def replace(source, target):
        calls.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    atomic_write(tmp_path / "x", b"1")
    assert calls == ["file", "rename", "folder"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file_and_no_leftover(tmp_path, monkeypatch, failing):
    path = tmp_path / "x"
    atomic_write(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_canonical_json_has_one_form_and_no_nan():
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == b'{"a":[1.5,"\\u00e9"],"b":1}\n'
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})


def test_random_manifests_never_crash_the_reader(artifact):
    generator = np.random.default_rng(0)
    sidecar = manifest_path(artifact)
    for junk in (b"[]", b"1", b"null", b"{}", b"\xff\xfe", b'{"schema":1}\n', b"[" * 5000):
        sidecar.write_bytes(junk)
        with pytest.raises(ArtifactError):
            verified_open(artifact)
    for _ in range(50):
        sidecar.write_bytes(generator.bytes(200))
        with pytest.raises(ArtifactError):
            verified_open(artifact)
