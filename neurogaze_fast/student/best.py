"""The best epoch's weights: found again when a run goes on, and what stands in where they are lost.

Two best states are kept. Where the file of the best epoch is damaged, the better of these stands
in: the other kept one, and the weights as they are, if an epoch at full size has just ended. Where
there is neither, the epochs still to come compete anew. Each loss is said, and a run that ends with
less than its best records which epoch it lost.

Beside the weights lies the whole state of the run at that time, from which it goes on where no
last state is intact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from neurogaze_fast.errors import ArtifactError
from neurogaze_fast.training.checkpoint import (
    check_origin,
    checkpoints,
    load_checkpoint,
    newest_intact,
    none_intact,
    reading_state,
)

KEEP_BEST = 2
GO_ON = "go_on"
"""Where a best state holds that of the whole run."""


def newest_state(folder: Path) -> tuple[dict[str, Any], Path, list[str]]:
    """The state a run goes on from: the newest intact last one, else that beside the best epoch.

    Returns:
        The state, its file, and a line for whatever had to be passed over.

    Raises:
        CheckpointError: there is neither.
    """
    found, skipped = newest_intact(folder, "last")
    if found is not None:
        return (*found, skipped)
    for path in checkpoints(folder, "best"):
        try:
            state = load_checkpoint(path)
        except ArtifactError as error:
            skipped.append(str(error))
            continue
        if isinstance(state.get(GO_ON), dict):
            return state[GO_ON], path, skipped
        skipped.append(f"{path} holds an epoch's weights alone, as earlier versions kept them.")
    raise none_intact(folder, skipped)


def find_best(
    folder: Path,
    best: dict[str, Any],
    history: list[dict[str, Any]],
    present: dict[str, Any],
    *,
    run: str | None,
) -> tuple[dict[str, Any] | None, list[str]]:
    """The state kept for `best`, or what stands in for it, and a line for each file that is lost.

    A state is ``{"model": state_dict, "best": {"epoch", "value", "by"}}``, and more in a file.

    Args:
        folder: Of the checkpoints.
        best: Of the run as it stands.
        history: Its epochs; states of others belong to a course that was given up.
        present: The state of the epoch that has just ended; its ``best`` is None inside an epoch,
            or where that epoch was not at full size.
        run: Identity of the run.

    Raises:
        CheckpointError: a state is another run's.
    """
    lost: list[str] = []
    others = [] if present["best"] is None else [present]
    for path in checkpoints(folder, "best"):
        try:
            state = load_checkpoint(path)
        except ArtifactError as error:
            lost.append(str(error))
            continue
        check_origin(state, run, path)
        try:
            with reading_state(path):
                _check_fit(state["model"], present["model"])
                known = _in_history(state["best"], history)
        except ArtifactError as error:
            lost.append(str(error))
            continue
        if state["best"] == best:
            return state, []
        if known:
            others.append(state)
    if not lost:
        lost.append(f"{folder} holds no weights of epoch {best['epoch']}.")
    return max(others, key=lambda state: state["best"]["value"], default=None), lost


def _in_history(best: dict[str, Any], history: list[dict[str, Any]]) -> bool:
    epoch, value, by = best["epoch"], best["value"], best["by"]
    if not 1 <= epoch <= len(history):
        return False
    return history[epoch - 1]["valid"].get(by, epoch) == value


def _check_fit(weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    if weights.keys() != own.keys():
        raise KeyError(", ".join(sorted(weights.keys() ^ own.keys())[:3]))
    for name, value in own.items():
        if weights[name].shape != value.shape or weights[name].dtype != value.dtype:
            raise ValueError(f"{name} is {weights[name].dtype} {list(weights[name].shape)}")
