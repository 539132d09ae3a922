"""A finished run as it is read back: verified model, metrics, and the set it learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from neurogaze_fast.artifacts import check_fields, sha256_file, unseal
from neurogaze_fast.config import Faces
from neurogaze_fast.errors import ArtifactError, CheckpointError, NeurogazeError
from neurogaze_fast.evaluation.metrics_file import read_json, read_metrics
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.load import WITH_TABLES, load_faces, recognised
from neurogaze_fast.student.inference import load_model
from neurogaze_fast.student.model_file import model_path
from neurogaze_fast.student.networks import Student
from neurogaze_fast.training.run_folder import CONFIG_FILE

_FACTS = {
    "synthetic": bool,
    "data": {"source": str, "sha256": str, "synthetic": bool},
    "selected": {"epoch": int, "value": float, "by": str, "on": str},
    "bank?": {"synthetic": bool},
}


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run."""

    folder: Path
    model: Student
    metadata: dict[str, Any]
    """Provenance in the model's manifest."""
    model_sha256: str
    metrics: dict[str, Any]
    """Its metrics.json; empty where there is none or it is another model's."""

    @property
    def temperature(self) -> float:
        """What a graph divides the logits by; 1 where the run fitted none (older versions)."""
        return float(self.metrics.get("once", {}).get("temperature", 1.0))

    @property
    def synthetic_bank(self) -> bool:
        """Whether its prototypes were made up."""
        return bool((self.metadata.get("bank") or {}).get("synthetic", False))


def read_run(path: Path) -> RunRecord:
    """A run by its folder or by its model file.

    Raises:
        CheckpointError: the model is missing or altered, or its manifest is not that of a run;
        ArtifactError: metrics.json is no JSON, or not that of a run.
    """
    model, metadata = load_model(path)
    file = model_path(path)
    digest = sha256_file(file)
    check_fields(metadata, _FACTS, file, CheckpointError)
    return RunRecord(file.parent, model, metadata, digest, read_metrics(file, digest))


def find_faces(
    run: RunRecord,
    kind: str | None = None,
    data: Path | None = None,
    *,
    neutral_frames: bool = False,
    on_conflict: str | None = None,
) -> tuple[str, FaceSet]:
    """(kind, face set): what the options name, or without any the set the run was trained on.

    Images of folders are brought to the side the model was trained with, and of a table that
    contradicts itself the rows are taken that were trained with.

    Raises:
        ConfigError, DataError, ArtifactError: it cannot be read.
    """
    side = run.metadata["size"]
    if data is None and kind is None:
        data = Path(run.metadata["data"]["source"])
        kind = _recorded(run.folder, "faces")
        if kind == "demo" and data.exists():
            kind = None  # read what is there; never draw into it
        elif run.metadata["data"]["synthetic"] and not data.exists():
            kind, data = "demo", None  # drawn again: the cache was emptied meanwhile
    kind = kind or ("demo" if data is None else recognised(data))
    if on_conflict is None and kind in WITH_TABLES:
        on_conflict = _recorded(run.folder, "on_conflict")
    faces = load_faces(
        kind, data, side=side, neutral_frames=neutral_frames, on_conflict=on_conflict
    )
    return "demo" if kind == "ferplus" and faces.synthetic else kind, faces


def kind_trained_on(run: RunRecord) -> str:
    """Kind of the set the run was trained on (`config.Faces`), or "unknown" where nothing tells."""
    data = run.metadata["data"]
    if data["synthetic"]:
        return "demo"
    if data["source"] in get_args(Faces):
        return data["source"]  # a published model names its set without a folder
    recorded = _recorded(run.folder, "faces")
    if recorded is not None:
        return recorded
    try:
        return recognised(Path(data["source"]))
    except NeurogazeError:
        return "unknown"


def same_set(run: RunRecord, faces: FaceSet) -> bool:
    """Whether a set is the one the run was trained on: same pixels and votes."""
    return faces.sha256 == run.metadata["data"]["sha256"]


def describe_set(kind: str, faces: FaceSet, same: bool) -> dict[str, Any]:
    """What metrics.json says about the set that was scored."""
    return {
        "kind": kind,
        "source": faces.source,
        **faces.provenance(),
        "mapping": dict(getattr(faces, "mapping", None) or {}),
        "same_as_training": same,
    }


def _recorded(folder: Path, option: str) -> str | None:
    """An option of the training, where config.json still tells."""
    try:
        value = unseal(read_json(folder / CONFIG_FILE))["config"][option]
    except (ArtifactError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None
