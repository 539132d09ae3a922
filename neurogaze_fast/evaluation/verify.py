"""Compare a finished run with its fingerprint.json: hash by hash, and by scoring it again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from neurogaze_fast.artifacts import sha256_file, unseal
from neurogaze_fast.errors import ArtifactError, NeurogazeError
from neurogaze_fast.evaluation.fingerprint import FILE
from neurogaze_fast.evaluation.metrics import FORMS, SUMMARY, split_scores
from neurogaze_fast.evaluation.metrics_file import METRICS_FILE, read_json
from neurogaze_fast.evaluation.run_record import RunRecord, find_faces, read_run
from neurogaze_fast.evaluation.scoring import predict_split
from neurogaze_fast.evaluation.training_images import FILE as IMAGES_FILE
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.student.model_file import MODEL_FILE
from neurogaze_fast.training.run_folder import BANK_FILE, CONFIG_FILE

CLOSE = 1e-6
"""How far a score may lie from the recorded one, as a fraction, on the same kind of device."""
IMAGES = 2
"""How many images may be answered otherwise on another kind of device."""


@dataclass(frozen=True)
class Check:
    """One thing of a run that was compared with its fingerprint."""

    what: str
    result: Literal["ok", "differs", "not checkable"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.result}" + (f" ({self.detail})" if self.detail else "")


def verify_run(
    path: Path,
    *,
    device: torch.device,
    batch_size: int = 512,
    kind: str | None = None,
    data: Path | None = None,
) -> Iterator[Check]:
    """Compare a run with its fingerprint, hash by hash, and score its splits again.

    Args:
        path: run folder, or the model file in it.
        device: where to score; batch_size: images at a time.
        kind, data: where the training set lies now, if not where it lay.

    Raises:
        ArtifactError: the run has no fingerprint.json, or one that is no JSON object.
    """
    folder = path if path.is_dir() else path.parent
    recorded = read_json(folder / FILE)
    if not recorded:
        raise ArtifactError(
            f"{folder} has no {FILE}: it was trained by an older version of neurogaze_fast, or is "
            "not finished. Its model is still checked against its manifest whenever it is read "
            "(evaluate without --verify); train it again for a run that can be verified."
        )
    yield _sealed("fingerprint.json", recorded)
    yield _config(folder, recorded)
    yield _file("model", folder / MODEL_FILE, recorded.get("model_sha256"))
    bank = recorded.get("bank")
    yield (
        Check("bank", "ok", "none was used")
        if bank is None
        else _file("bank", folder / BANK_FILE, _at(recorded, "bank", "sha256"))
    )
    yield _file("metrics.json", folder / METRICS_FILE, recorded.get("metrics_sha256"))
    metrics = _json_or_empty(folder / METRICS_FILE)
    images = _at(metrics, "training_images", "sha256")
    yield _file("training images", folder / IMAGES_FILE, images)
    try:
        run = read_run(folder)
    except NeurogazeError as error:
        unread = f"the run cannot be read: {error}"
        yield Check("data", "not checkable", unread)
        yield Check("scores", "not checkable", unread)
        return
    try:
        faces = find_faces(run, kind if data else None, data)[1]
        found = faces.sha256
    except (NeurogazeError, OSError) as error:
        yield Check("data", "not checkable", str(error))
        yield Check("scores", "not checkable", "the data cannot be read")
        return
    wanted = _at(recorded, "data", "sha256")
    yield _equal("data", found, wanted)
    if found != wanted:
        yield Check("scores", "not checkable", "the data differ")
        return
    same_device = recorded.get("scored_on") == device.type
    yield from _scores(run, faces, metrics, device, batch_size, same_device)


def _scores(
    run: RunRecord,
    faces: FaceSet,
    metrics: dict[str, Any],
    device: torch.device,
    batch_size: int,
    same_device: bool,
) -> Iterator[Check]:
    splits = [name for name in faces.splits if _at(metrics, name, "8way") is not None]
    if not splits:
        yield Check("scores", "not checkable", "metrics.json holds no scored split")
    for split in splits:
        found = predict_split(
            run.model.to(device),
            faces,
            split,
            size=run.metadata["size"],
            device=device,
            batch_size=batch_size,
            flip=run.metadata.get("flip", False),
        )
        now = split_scores(found.logits, found.labels, found.labels < 0)
        yield compare_scores(split, metrics[split], now, same_device)


def compare_scores(
    split: str, recorded: dict[str, Any], now: dict[str, Any], same_device: bool
) -> Check:
    """Whether a split's scores are the recorded ones: equal, or on another device nearly so."""
    what = f"scores of {split}"
    try:
        if recorded["n"] != now["n"]:
            return Check(what, "differs", f"{recorded['n']} images are recorded, {now['n']} found")
        if same_device:
            gap = max(
                abs(recorded[form][name] - now[form][name]) for form in FORMS for name in SUMMARY
            )
            detail = f"largest difference {gap:.2g}"
            return Check(what, "ok" if gap <= CLOSE else "differs", detail)
        hits = [
            {e: n * scores["8way"]["recall"][e] for e, n in now["n_by_emotion"].items()}
            for scores in (recorded, now)
        ]
        moved = sum(abs(round(hits[0][e]) - round(hits[1][e])) for e in hits[0])
        accuracy = abs(recorded["8way"]["accuracy"] - now["8way"]["accuracy"]) * now["n"]
    except (KeyError, TypeError) as cause:
        return Check(what, "differs", f"metrics.json lacks or garbles {cause}")
    detail = f"another kind of device: {moved} images more or less are right, {IMAGES} may be"
    return Check(what, "ok" if max(moved, round(accuracy)) <= IMAGES else "differs", detail)


def _sealed(what: str, sealed: dict[str, Any]) -> Check:
    try:
        unseal(sealed)
    except ValueError as cause:
        return Check(what, "differs", str(cause))
    return Check(what, "ok")


def _config(folder: Path, recorded: dict[str, Any]) -> Check:
    found = _json_or_empty(folder / CONFIG_FILE)
    if not found:
        return Check(CONFIG_FILE, "differs", "it is gone or no JSON object")
    check = _sealed(CONFIG_FILE, found)
    if check.result != "ok":
        return check
    if found.get("config") != recorded.get("configuration"):
        return Check(CONFIG_FILE, "differs", "its options are not those of the fingerprint")
    return _equal(CONFIG_FILE, found["sha256"], recorded.get("config_sha256"))


def _file(what: str, path: Path, wanted: str | None) -> Check:
    if wanted is None:
        return Check(what, "not checkable", "its hash is not recorded")
    try:
        return _equal(what, sha256_file(path), wanted)
    except OSError as cause:
        return Check(what, "differs", f"{path.name} cannot be read: {cause.strerror}")


def _equal(what: str, found: str, wanted: str | None) -> Check:
    if found == wanted:
        return Check(what, "ok")
    detail = f"sha256 {found[:12]}... was found, {str(wanted)[:12]}... is recorded"
    return Check(what, "differs", detail)


def _at(value: Any, *keys: str) -> Any:
    """A value inside nested objects; None where what was written there is something else."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _json_or_empty(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (ArtifactError, OSError):
        return {}
