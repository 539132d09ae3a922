"""fingerprint.json: every hash and switch of a run in one sealed file (verify.py compares them).

The seal notices damage and mix-ups. It is no signature: whoever rewrites every file of a run can
seal it again.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from neurogaze_fast import __version__
from neurogaze_fast.artifacts import atomic_write, seal, sha256_file
from neurogaze_fast.evaluation.metrics_file import METRICS_FILE
from neurogaze_fast.student.model_file import MODEL_FILE
from neurogaze_fast.training.run_folder import CONFIG_FILE
from neurogaze_fast.training_code import training_code

FILE = "fingerprint.json"
SWITCHES = (
    "variant", "recipe", "labels", "label_smoothing", "class_weights", "class_weight_mean",
    "kd_teacher", "kd_loss",
    "kd_weight", "kd_temperature", "prototypes", "centre_bank", "proto_weight", "tau", "sigma",
    "hard_cells", "distinct_cells", "geo_weight", "variance_cap", "margin", "geo_start", "geo_end",
)  # fmt: skip
"""Options that say what was distilled, and how strongly."""


def write_fingerprint(
    folder: Path, metadata: dict[str, Any], switches: dict[str, Any], device: str
) -> str:
    """Write a finished run's fingerprint.json and return its own SHA-256.

    Args:
        folder: of the run; config.json, the model and metrics.json lie in it.
        metadata: provenance of the model; switches: of the distillation, by option; device: cpu or
            cuda, where the scores were computed.
    """
    recorded = json.loads((folder / CONFIG_FILE).read_text())
    sealed = seal(
        {
            "configuration": recorded["config"],
            "config_sha256": recorded["sha256"],
            "model_sha256": sha256_file(folder / MODEL_FILE),
            "bank": metadata["bank"],
            "data": metadata["data"],
            "kd_teacher": metadata["kd_teacher"],
            "init": metadata["init"],
            "switches": switches,
            "metrics_sha256": sha256_file(folder / METRICS_FILE),
            "scored_on": device,
            "code": {
                "version": __version__,
                "commit": code_commit(),
                "training_sha256": training_code(),
            },
            "environment": metadata["environment"],
        }
    )
    atomic_write(folder / FILE, (json.dumps(sealed, indent=2, sort_keys=True) + "\n").encode())
    return sealed["sha256"]


def code_commit() -> str | None:
    """The git commit this package's files belong to, ``-dirty`` where they differ from it.

    None outside a checkout: an installed package may lie inside somebody else's repository.
    """
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(here.parent, "rev-parse", "HEAD")
        differs = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if differs else commit


def _git(folder: Path, *words: str) -> str:
    # Without the option, a mere question writes the index of the repository anew.
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
