"""metrics.json as it is read again: without torch, so that a server starts fast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neurogaze_fast.artifacts import check_fields
from neurogaze_fast.errors import ArtifactError

METRICS_FILE = "metrics.json"
_METRICS = {
    "temperature?": float,
    "once?": {"temperature": float},
    "training_images?": {"of": str, "sha256": str},
    "valid_logits?": {"n": int, "sha256": str},
}


def read_metrics(model_file: Path, model_sha256: str) -> dict[str, Any]:
    """metrics.json beside a model file; empty where there is none or it is another model's.

    Raises:
        ArtifactError: it is no JSON, or not that of a run.
    """
    path = model_file.parent / METRICS_FILE
    metrics = read_json(path)
    if metrics.get("model_sha256") != model_sha256:
        metrics = {}
    check_fields(metrics, _METRICS, path)
    return metrics


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file; empty where there is no file.

    Raises:
        ArtifactError: it is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as cause:
        raise ArtifactError(
            f"{path} is damaged ({cause}): restore it from a copy, or take it away."
        ) from cause
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} holds no JSON object: restore it from a copy.")
    return value
