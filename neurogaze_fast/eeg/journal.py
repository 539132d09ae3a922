"""What was measured, kept piece by piece: a stopped job goes on from it, and shards are joined.

FOLDER/job.json says what is measured, FOLDER/piece-00000.safetensors, -00001, ... hold the windows'
band power; each is an artifact whose manifest is written last (see artifacts.py), so a piece is
there whole or not at all. The manifest of a piece says which job it belongs to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import canonical_json, check_fields, verified_open, write_artifact
from neurogaze_fast.eeg.content import file_label, identity, whole_hash
from neurogaze_fast.eeg.job import FIELDS, Job, job_id, refuse_another
from neurogaze_fast.eeg.measure import Found, Part
from neurogaze_fast.eeg.pieces import owners
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import ArtifactError
from neurogaze_fast.locks import lock_file

KIND = "EEG measurements"
JOB_FILE = "job.json"
FOLDER = "measured"
LOCK_FILE = ".lock"
"""There while a process is at it, or was when it was killed."""
Shard = tuple[int, int]
"""(i, n): the i-th of n, from 1."""
_ARRAYS = ("power", "level", "start", "flags", "signals", "positions")
_FACTS = ("source", "subject", "clip", "film", "valence", "arousal", "lowpass")


class Journal:
    """The measurements of a job, or of a shard of it."""

    def __init__(self, folder: Path, job: Job, shard: Shard | None) -> None:
        self.folder, self.shard = Path(folder), shard
        self.job: Job = json.loads(canonical_json(job))  # the same object as when read again
        self._id = job_id(job)
        self.hashes: dict[str, list[str]] = {}
        """Identity -> label and SHA-256 of the recordings read, as pieces are written or loaded."""

    @property
    def told(self) -> str | None:
        """The shard as --shard says it."""
        return None if self.shard is None else f"{self.shard[0]}/{self.shard[1]}"

    @property
    def mine(self) -> list[int]:
        """The pieces to measure, by number."""
        number, count = self.shard or (1, 1)
        people = [person for _, person, _ in self.job["pieces"]]
        return [at for at, owner in enumerate(owners(people, count)) if owner == number - 1]

    @classmethod
    def open(cls, folder: Path, job: Job, shard: Shard | None) -> Journal:
        """The journal of a folder, new or to be continued.

        Raises:
            ConfigError, DataError: the folder holds measurements of another job.
        """
        journal = cls(folder, job, shard)
        if (journal.folder / JOB_FILE).exists():
            before = cls.read(folder)
            advice = (
                "Give the command that was used before, choose another --out, or remove "
                f"{folder} to measure anew."
            )
            there, here = (
                each.job | {"options": each.job["options"] | {"shard": each.told}}
                for each in (before, journal)
            )
            refuse_another(here, there, journal.folder, advice)
            return journal
        content = canonical_json({"job": job, "shard": None if shard is None else list(shard)})
        write_artifact(journal.folder / JOB_FILE, content, {"kind": KIND, "job": journal._id})
        return journal

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """The journal of a folder.

        Raises:
            ArtifactError: there is none, or it is altered or malformed.
        """
        path = Path(folder) / JOB_FILE
        data, brief = verified_open(path)
        content = json.loads(data) if brief.get("kind") == KIND else {}
        check_fields(content, {"job": FIELDS, "shard?": list}, path)
        shard = content["shard"]
        return cls(folder, content["job"], (shard[0], shard[1]) if shard else None)

    def done(self) -> set[int]:
        """The pieces that are there, whole; a damaged one counts as not there."""
        found = set()
        for number in self.mine:
            try:
                self._open(number)
            except ArtifactError:
                continue
            found.add(number)
        return found

    def write(self, number: int, found: list[Found], roots: Mapping[str, Path]) -> None:
        """Keep a piece.

        Args:
            number: which one.
            found: what became of its trials, in order.
            roots: see :func:`~neurogaze_fast.eeg.content.identity`.
        """
        from safetensors.numpy import save

        tensors: dict[str, np.ndarray] = {}
        items: list[dict[str, Any]] = []
        files: dict[str, list[str]] = {}
        for at, each in enumerate(found):
            item: dict[str, Any] = {"windows": list(each.windows.items())}
            if isinstance(each.kept, LeftOut):
                item["left_out"] = [each.kept.what, each.kept.reason]
            else:
                part, path = each.kept, each.kept.trial.path
                name = identity(path, roots)
                if name not in self.hashes:
                    self.hashes[name] = [file_label(path), whole_hash(path)]
                files[name] = self.hashes[name]
                item["trial"] = {key: getattr(part.trial, key) for key in _FACTS}
                item["trial"] |= {"file": name, "stand_ins": list(part.trial.stand_ins.items())}
                item |= {"ch_names": list(part.ch_names), "bands": list(part.bands)}
                for key in _ARRAYS:
                    if (value := getattr(part, key)) is not None:
                        tensors[f"{at}.{key}"] = np.ascontiguousarray(value)
            items.append(item)
        brief = {"kind": KIND, "job": self._id, "piece": number, "items": items, "files": files}
        write_artifact(self._path(number), save(tensors), brief)

    def load(self, number: int) -> list[Found]:
        """What was kept of a piece.

        Raises:
            ArtifactError: it is missing, altered, or of another job, or one of its recordings is
                not the one that other pieces were read from.
        """
        from safetensors.numpy import load

        data, brief = self._open(number)
        for name, found in brief["files"].items():
            if self.hashes.setdefault(name, found)[1] != found[1]:
                raise ArtifactError(
                    f"{name} was changed while it was measured: {self.folder} holds pieces of what "
                    "it was before and after. Remove that folder and prepare again."
                )
        tensors = load(data)
        return [_restored(item, at, tensors) for at, item in enumerate(brief["items"])]

    def _open(self, number: int) -> tuple[bytes, dict[str, Any]]:
        path = self._path(number)
        data, brief = verified_open(path)
        if [brief.get(key) for key in ("kind", "job", "piece")] != [KIND, self._id, number]:
            raise ArtifactError(
                f"{path} is intact but belongs to another job than {JOB_FILE} beside it: the "
                "folders were mixed up. Restore the original files or measure again."
            )
        return data, brief

    def _path(self, number: int) -> Path:
        return self.folder / f"piece-{number:05d}.safetensors"


def _restored(item: dict[str, Any], at: int, tensors: dict[str, np.ndarray]) -> Found:
    windows = Counter(dict(item["windows"]))
    if "left_out" in item:
        what, reason = item["left_out"]
        return Found(LeftOut(Path(), what, reason), windows)
    facts, names = item["trial"], tuple(item["ch_names"])
    trial = Trial(
        **{key: facts[key] for key in _FACTS},
        signal=np.empty((len(names), 0), np.float32),
        baseline=None,
        sfreq=0.0,
        ch_names=names,
        path=Path(facts["file"]),
        stand_ins=dict(facts["stand_ins"]),
    )
    arrays: dict[str, Any] = {key: tensors.get(f"{at}.{key}") for key in _ARRAYS}
    return Found(Part(trial=trial, ch_names=names, bands=tuple(item["bands"]), **arrays), windows)


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, however it ends; make it, and remove it if it stays empty.

    Raises:
        RunInUseError: another process holds it.
    """
    taken = (
        f"Another process is preparing {folder} at this moment, so it was left alone. Wait "
        "until that one ends or stop it; then the same command goes on from what it kept."
    )
    try:
        with lock_file(folder / LOCK_FILE, taken, lambda _: None):
            yield
    finally:
        with suppress(OSError):  # it is in use
            folder.rmdir()
