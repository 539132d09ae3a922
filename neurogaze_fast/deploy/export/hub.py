"""A folder that the Hugging Face Hub takes as it is, and that opens again like a run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neurogaze_fast.artifacts import atomic_write, read_manifest, write_artifact
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph
from neurogaze_fast.deploy.engines.source import EXPORT_FOLDER
from neurogaze_fast.deploy.model_card import describe_folder
from neurogaze_fast.errors import ArtifactError, OutputExistsError
from neurogaze_fast.evaluation.metrics_file import METRICS_FILE
from neurogaze_fast.evaluation.run_record import RunRecord, kind_trained_on
from neurogaze_fast.student.model_file import MODEL_FILE
from neurogaze_fast.training.run_folder import CONFIG_FILE

KEPT = (
    *("kind", "architecture", "stem", "channels", "emotions"),
    *("size", "flip", "selected", "synthetic", "training_rows", "bank", "kd_teacher"),
    *("config_sha256", "options"),
)
"""Of a run's provenance; the data set is named without its folder."""
OPTIONS = (
    *("variant", "model", "size", "start_size", "labels", "class_weights", "kd_loss", "kd_weight"),
    *("epochs", "batch_size", "learning_rate", "weight_decay", "ema", "seed", "recipe"),
    "crop_scale",
)
"""Of its options: those that say how it was trained and nothing of the machine."""
_METRICS = ("once", "valid", "synthetic", "selected", "model_sha256")


def write_hub_folder(
    run: RunRecord, graph: OpenedGraph, report: dict[str, Any] | None, folder: Path
) -> None:
    """Write weights, manifest, scores, card, config.json and one exported graph.

    Another graph of the same model may be added to a folder that is there.

    Raises:
        OutputExistsError: `folder` holds something else.
    """
    folder = Path(folder)
    file = folder / MODEL_FILE
    if folder.exists() and any(folder.iterdir()):
        try:
            same = read_manifest(file)["sha256"] == run.model_sha256
        except ArtifactError:
            same = False
        if not same:
            raise OutputExistsError(
                f"{folder} exists, holds something else than this model, and was left alone. "
                "Choose another --hub folder."
            )
    write_artifact(file, (run.folder / MODEL_FILE).read_bytes(), public_provenance(run))
    metrics = {name: run.metrics[name] for name in _METRICS if name in run.metrics}
    if metrics:
        atomic_write(folder / METRICS_FILE, (json.dumps(metrics, indent=1) + "\n").encode())
    target = folder / EXPORT_FOLDER / graph.path.name
    write_artifact(target, graph.data, public_graph(graph.metadata))
    if report is not None:
        name = f"{report['engine']}-{report['precision']}.parity.json"
        text = json.dumps(public_report(report, kind_trained_on(run)), indent=2) + "\n"
        atomic_write(target.parent / name, text.encode())
    describe_folder(folder)


def public_provenance(run: RunRecord) -> dict[str, Any]:
    """What a model's manifest says to the world: nothing of the machine that trained it."""
    found = {name: run.metadata[name] for name in KEPT if name in run.metadata}
    found["data"] = {**run.metadata["data"], "source": kind_trained_on(run)}
    options = run_options(run.folder)
    if options:
        found["options"] = options
    return found


def run_options(folder: Path) -> dict[str, Any]:
    """The options in a run's config.json that are told; empty where there is none of a run."""
    try:
        options = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["config"]
        return {name: options[name] for name in OPTIONS if name in options}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def public_graph(metadata: dict[str, Any]) -> dict[str, Any]:
    """A graph's manifest without the name of the system it was made on."""
    environment = {k: v for k, v in metadata["environment"].items() if k != "platform"}
    return {**metadata, "environment": environment}


def public_report(report: dict[str, Any], kind: str) -> dict[str, Any]:
    """A parity report without the folder of the faces."""
    return {**report, "faces": {**report["faces"], "source": f"valid of {kind}"}}
