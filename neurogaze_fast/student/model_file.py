"""Where a run keeps its model."""

from __future__ import annotations

from pathlib import Path

from neurogaze_fast.errors import CheckpointError
from neurogaze_fast.training.run_folder import CHECKPOINTS, CONFIG_FILE

MODEL_FILE = "model.safetensors"


def model_path(run: Path) -> Path:
    """The model file of a run folder (or the file itself).

    Raises:
        CheckpointError: there is none.
    """
    run = Path(run)
    path = run / MODEL_FILE if run.is_dir() else run
    if not path.exists():
        hint = (
            f"It was interrupted: continue it with --resume {run}."
            if (run / CHECKPOINTS).is_dir() or (run / CONFIG_FILE).exists()
            else "Name a run folder that training finished, or a model.safetensors file."
        )
        raise CheckpointError(f"{path} does not exist. {hint}")
    return path
