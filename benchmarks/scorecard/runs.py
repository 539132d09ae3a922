"""Tiny face sets and runs that the rows about training share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

OPTIONS = ("--model", "compact-half", "--size", "16", "--batch-size", "16", "--epochs", "3",
           "--amp", "--device", "cpu", "--threads", "1", "--log-every", "1")  # fmt: skip
"""A run of 15 steps on 80 faces."""
STEPS = 15


def pixel_set(folder: Path) -> Path:
    """A FERPlus set of 80 training and 40 valid faces, as csv."""
    import numpy as np

    from neurogaze_fast.faces.synthetic import draw_faces
    from tests.helpers import write_set

    parts = [draw_faces("train", 80), draw_faces("valid", 40)]
    images, votes = (np.concatenate(part) for part in zip(*parts, strict=True))
    return write_set(folder, images, votes, ["Training"] * 80 + ["PublicTest"] * 40)


def file_set(folder: Path) -> Path:
    """A folder set of 80 training and 40 valid PNG files."""
    from tests.faces.encoded_sets import write_folder

    return write_folder(folder, {"train": 80, "valid": 40})


def trainer(data: Path, folder: Path, **options: Any) -> Any:
    """The trainer of a tiny run on `data`; `folder` takes its checkpoints."""
    import torch

    from neurogaze_fast.faces.load import load_faces
    from tests.student.trainers import make

    torch.set_num_threads(1)
    options = {"model": "compact-half"} | options
    return make(load_faces("ferplus", data), folder, **options)


def digest(state: dict[str, Any]) -> str:
    """SHA-256 of every tensor and value of a nested state but its wall-clock times."""
    import torch

    from tests.student.trainers import leaves

    found = hashlib.sha256()
    for path, value in leaves(state):
        found.update(path.encode())
        if isinstance(value, torch.Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            value = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        found.update(value if isinstance(value, bytes) else repr(value).encode())
    return found.hexdigest()


def train(argv: Sequence[str], before: Callable[[], None] = lambda: None) -> None:
    """``python -m neurogaze_fast.train`` without its report; `before` may plant faults."""
    from neurogaze_fast import train as command
    from neurogaze_fast.errors import run_command
    from neurogaze_fast.student.run import TrainingRun

    class NoReport(Exception):
        """The run has ended and its model is written."""

    def end(run: TrainingRun) -> None:
        raise NoReport

    os.environ["OMP_NUM_THREADS"] = "1"
    before()
    with mock.patch("neurogaze_fast.evaluation.write_run.write_results", end):
        try:
            run_command(lambda: command.train(command.parse(argv)))
        except NoReport:
            return


def model_hash(run: Path) -> str:
    """SHA-256 of a run's model file; "" where it has none."""
    path = run / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
