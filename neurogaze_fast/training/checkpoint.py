"""Training checkpoints: atomic, hashed, at least two kept, never unpickled as code."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from neurogaze_fast.artifacts import manifest_path, verified_open, write_artifact
from neurogaze_fast.errors import ArtifactError, CheckpointError

KEEP = 2


def save_checkpoint(
    folder: Path, prefix: str, step: int, state: dict[str, Any], *, keep: int = KEEP
) -> Path:
    """Write ``PREFIX_<step>.pt`` with its manifest, then drop all but the newest `keep`.

    A file is complete once its manifest is there, and nothing older is removed before, so a crash
    at any point leaves at least the previous checkpoint intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = folder / f"{prefix}_{step:08d}.pt"
    write_artifact(path, buffer.getvalue(), {"kind": "checkpoint", "step": step})
    # Later steps than this one belong to a course that was given up by falling back.
    past = [p for p in checkpoints(folder, prefix) if p.name <= path.name]
    kept = {p.stem for p in past[:keep]}
    stale = [p for p in folder.glob(f"{prefix}_*") if p.name.split(".")[0] not in kept]
    # Manifests first: without its manifest a file no longer counts as a checkpoint.
    for file in sorted(stale, key=lambda p: p.suffix != ".json"):
        file.unlink()
    return path


def checkpoints(folder: Path, prefix: str) -> list[Path]:
    """Checkpoint files of `prefix`, newest first; unfinished ones (no manifest) are not listed."""
    files = [p for p in Path(folder).glob(f"{prefix}_*.pt") if manifest_path(p).exists()]
    return sorted(files, reverse=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Verify and read one checkpoint (tensors and plain values only: ``weights_only``).

    Raises:
        CheckpointError: altered, damaged, missing, or no state.
    """
    data, _ = verified_open(path, CheckpointError)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as cause:  # of many kinds, by where the archive or the pickle in it breaks
        raise CheckpointError(
            f"{path} holds no state of tensors and plain values ({type(cause).__name__})."
        ) from cause
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a state.")
    return state


def check_origin(state: dict[str, Any], run: str | None, source: str | Path) -> bool:
    """Whether `state` says that it is of `run`; False where it does not say whose it is.

    Earlier versions did not record it.

    Args:
        run: Identity of the run that is to take it; None: any.

    Raises:
        CheckpointError: it is another run's.
    """
    of = state.get("run")
    if run is None or of is None:
        return run is None
    if of != run:
        raise CheckpointError(
            f"{source} was saved by another run: it carries {of!r:.30}, the seal of that run's "
            f"config.json, and not {run!r:.30}. The result would belong to neither. Take it away, "
            "and --resume goes on from this run's own checkpoints."
        )
    return True


@contextmanager
def reading_state(source: str | Path) -> Iterator[None]:
    """Name the file where a reader stumbles over a state that is whole but not as it must be.

    Raises:
        CheckpointError: instead of whatever was raised for a missing key, another type or shape.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as cause:
        raise CheckpointError(
            f"{source} is intact, but is no state this run can take up ({type(cause).__name__}: "
            f"{cause!s:.200}). Continue with the version and the options it was saved by, or start "
            "a new run."
        ) from cause


def has_begun(folder: Path) -> bool:
    """Whether a run ever finished a save there; one first file without its manifest is no save."""
    files = list(Path(folder).glob("*.pt"))
    return len(files) > 1 or any(manifest_path(file).exists() for file in files)


def newest_intact(
    folder: Path, prefix: str
) -> tuple[tuple[dict[str, Any], Path] | None, list[str]]:
    """The newest intact checkpoint, if there is one, and a line for each that was passed over."""
    skipped: list[str] = []
    for path in checkpoints(folder, prefix):
        try:
            return (load_checkpoint(path), path), skipped
        except ArtifactError as error:
            skipped.append(str(error))
    return None, skipped


def newest_checkpoint(folder: Path, prefix: str) -> tuple[dict[str, Any], Path, list[str]]:
    """The newest intact checkpoint, and a line for each newer one that had to be passed over.

    Raises:
        CheckpointError: none is intact.
    """
    found, skipped = newest_intact(folder, prefix)
    if found is None:
        raise none_intact(folder, skipped)
    return (*found, skipped)


def none_intact(folder: Path, skipped: list[str]) -> CheckpointError:
    """The error that says why a run cannot go on."""
    reason = " ".join(skipped) or "The folder holds none."
    return CheckpointError(
        f"{folder} has no intact checkpoint to continue from. {reason} Start a new run."
    )
