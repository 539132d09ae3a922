"""The model inside the package, and what is said of any model that answers."""

from __future__ import annotations

from pathlib import Path

from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.deploy.engines.base import Engine
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.engines.source import newest_run
from neurogaze_fast.deploy.licence import FERPLUS
from neurogaze_fast.errors import ArtifactError, CheckpointError
from neurogaze_fast.evaluation.metrics_file import read_metrics
from neurogaze_fast.student.model_file import MODEL_FILE

SHIPPED = Path(__file__).parents[1] / "weights" / "compact"
"""A folder like a run's: weights, manifest, scores, and exported graphs."""
NEWEST = Path("newest")
"""The --model that is the newest run in runs/."""


def find_model(model: Path | None) -> Path:
    """What --model names: a path, the newest run, or by default the model inside the package.

    Raises:
        CheckpointError: there is no finished run, or the package's own model is missing.
    """
    if model is None:
        if not (SHIPPED / MODEL_FILE).exists():
            raise CheckpointError(f"{SHIPPED / MODEL_FILE} does not exist. {_REINSTALL}")
        return SHIPPED
    return newest_run() if model == NEWEST and not model.exists() else model


_REINSTALL = (
    "It belongs to the package: install neurogaze_fast again (pip install --force-reinstall), or "
    "name a model with --model."
)


def open_model(
    model: Path | None,
    engine: str = "auto",
    *,
    precision: str | None = None,
    threads: int = 0,
    strict: bool = False,
) -> Engine:
    """:func:`open_engine` of :func:`find_model`.

    Raises:
        as open_engine; where the package's own model is damaged, the message says what to do.
    """
    path = find_model(model)
    try:
        return open_engine(path, engine, precision=precision, threads=threads, strict=strict)
    except ArtifactError as cause:
        if path != SHIPPED:
            raise
        raise type(cause)(f"{cause} {_REINSTALL}") from cause


def describe(path: Path) -> list[str]:
    """Lines that say which model answers, how good it is, and under which terms it may be used.

    Nothing beyond the path where nothing is known of it (an exported graph alone).
    """
    folder = path if path.is_dir() else path.parent
    own = folder == SHIPPED
    lines = [f"Model: {'the compact network inside the package' if own else path}"]
    file = folder / MODEL_FILE
    try:
        once = read_metrics(file, read_manifest(file)["sha256"]).get("once", {}).get("valid")
    except ArtifactError:
        once = None  # opening it has said so, or it is no run
    if once:
        rules = once.get("rules") or {}
        scores = [
            ("by the label with the most votes", once["8way"]),
            ("by labels with more than half of the votes", rules.get("majority")),
        ]
        shown = "; ".join(
            f"{100 * s['accuracy']:.1f} % right, macro-F1 {100 * s['macro_f1']:.1f} {rule}"
            for rule, s in scores
            if s
        )
        lines.append(f"On the valid split of its own data set, each face once: {shown}")
    if own:
        lines.append(f"Licence: {FERPLUS} (MODEL_CARD.md)")
    return lines
