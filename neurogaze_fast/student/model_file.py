"""Where a run keeps its model."""

from __future__ import annotations

from pathlib import Path

from neurogaze_fast.errors import CheckpointError

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
            if (run / "checkpoints").is_dir()
            else "Name a run folder that training finished, or a model.safetensors file."
        )
        raise CheckpointError(f"{path} does not exist. {hint}")
    return path
