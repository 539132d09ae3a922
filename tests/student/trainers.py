"""A small run's trainer, stopped and compared."""

import itertools

import pytest
import torch
from rich.console import Console
from torch import nn

from neurogaze_fast.errors import Interrupted
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.controls import prototypes_and_cells
from neurogaze_fast.student.loop import Trainer
from neurogaze_fast.student.networks import build_student
from neurogaze_fast.student.objective import Objective, ObjectiveWeights
from neurogaze_fast.student.targets import training_rows

CPU = torch.device("cpu")
TIMING = {"seconds", "finished", "images_per_second", "data_wait"}


def make(faces, folder, *, validate=None, model="resnet18", **options):
    options = {"amp": True, "epochs": 3, "batch_size": 16, "size": 16, "ema": 0.9} | options
    config = TrainConfig(model=model, **options)
    torch.manual_seed(config.seed)
    bank = demo_bank(width=48)  # not the student's: the projector is part of the state
    prototypes, cells = prototypes_and_cells(bank, config)
    rows = training_rows(faces["train"], config, cells, CPU)
    network = build_student(config.model, stem=config.stem)
    if model == "resnet18":
        # Its first stage alone: the others have 98 % of the weights, which every checkpoint writes.
        for stage in ("layer2", "layer3", "layer4"):
            setattr(network, stage, nn.Identity())
        network.width, network.fc = 64, nn.Linear(64, 8)
    objective = Objective(
        "b3",
        ObjectiveWeights.from_config(config),
        rows.class_weights,
        torch.from_numpy(prototypes),
        network.width,
    )
    score = {"accuracy": 0.5, "macro_f1": 0.5, "balanced_accuracy": 0.5}
    return Trainer(
        config,
        network,
        objective,
        rows,
        CPU,
        folder=folder,
        validate=validate or (lambda model, size: score),
        console=Console(quiet=True),
    )


def leaves(value, path=""):
    """Every tensor and plain value of a nested state but wall-clock times."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in TIMING and key != "clock":
                yield from leaves(item, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}/{number}")
    else:
        yield path, value


def differences(a, b):
    found = []
    for (where, x), (there, y) in itertools.zip_longest(leaves(a), leaves(b), fillvalue=("", None)):
        same = where == there and (torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y)
        if not same:
            found.append(where)
    return found


def stop_after(trainer, steps):
    """Run until `steps` steps are done, as SIGTERM would end it."""
    real = trainer._train_step

    def counted(pictures):
        real(pictures)
        if trainer.step + 1 == steps:
            trainer._stop.set()

    trainer._train_step = counted
    with pytest.raises(Interrupted, match="--resume"):
        trainer.fit()
