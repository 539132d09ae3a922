"""Images a second of a whole training step: ours against a plain loop, in one run.

The two are measured in turns, a few steps each, so that a busy moment of the machine hits both;
figures are medians of the turns. The images are drawn faces: what they show does not matter here.

    python -m pytest benchmarks/bench_train.py -s
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.baselines.plain_training import PlainLoop
from neurogaze_fast.config import TrainConfig
from neurogaze_fast.environment import environment
from neurogaze_fast.faces.faceset import FaceSplit
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.student import small_map_conv
from neurogaze_fast.student.loop import Trainer
from neurogaze_fast.student.objective import Objective, ObjectiveWeights
from neurogaze_fast.student.resnet import ResNet
from neurogaze_fast.student.targets import training_rows

TURNS, STEPS, BATCH = 7, 4, 64


@pytest.fixture(scope="module")
def faces():
    import numpy as np

    images, votes = draw_faces("train", 1024)
    names = np.array([str(i) for i in range(len(images))])
    return FaceSplit("train", images, votes, names, np.arange(1, len(images) + 1))


def ours(faces, folder, variant, size, console):
    """Our training step, without scoring or checkpoints, as a function of no arguments."""
    config = TrainConfig(
        variant=variant, amp=True, size=size, start_size=None, batch_size=BATCH, epochs=1000
    )
    bank = demo_bank() if variant in ("b2", "b3") else None
    device = torch.device("cpu")
    rows = training_rows(faces, config, bank, device)
    model = ResNet()
    prototypes = None if bank is None else torch.from_numpy(bank.prototypes)
    weights = ObjectiveWeights.from_config(config)
    objective = Objective(variant, weights, rows.class_weights, prototypes, model.width)
    trainer = Trainer(
        config,
        model,
        objective,
        rows,
        device,
        folder=folder,
        validate=lambda model, size: {},
        console=console,
    )
    trainer.model.train()

    def batches():
        epoch = 0
        while True:
            yield from trainer.loader.epoch(epoch, size)
            epoch += 1

    stream = batches()

    def step():
        trainer._train_step(*next(stream))
        trainer.step += 1

    return step


@pytest.mark.parametrize("size", [32, 48])
def test_training_step(benchmark, faces, tmp_path, size):
    console = Console(quiet=True)
    plain = PlainLoop(faces.images, hard_labels(faces.votes), size=size, batch=BATCH, stem="small")
    b3 = ours(faces, tmp_path, "b3", size, console)

    def without_small_map_conv():
        largest, small_map_conv.LARGEST_MAP = small_map_conv.LARGEST_MAP, 0
        try:
            b3()
        finally:
            small_map_conv.LARGEST_MAP = largest

    rivals = {
        "plain loop": plain.step,
        "ours b0": ours(faces, tmp_path, "b0", size, console),
        "ours b3": b3,
        "ours b3, library's weight gradient": without_small_map_conv,
    }
    seconds = {name: [] for name in rivals}
    for step in rivals.values():
        step()

    def turn():
        for name, step in rivals.items():
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            seconds[name].append(time.perf_counter() - started)

    benchmark.pedantic(turn, rounds=TURNS, iterations=1)
    rate = {name: BATCH * STEPS / statistics.median(values) for name, values in seconds.items()}
    base = statistics.median(seconds["plain loop"])
    table = Table(
        "loop", "img/s", "x plain",
        title=f"ResNet-18, {size} px, batch {BATCH}, bf16, {environment()['cpu']}, "
        f"{torch.get_num_threads()} threads, median of {TURNS} turns of {STEPS} steps",
    )  # fmt: skip
    for name, value in rate.items():
        table.add_row(name, f"{value:.0f}", f"{base / statistics.median(seconds[name]):.2f}")
    Console().print(table)
    benchmark.extra_info |= {
        "images_per_second": rate,
        "seconds": seconds,
        "environment": environment(),
        "data": "synthetic",
    }
    assert all(value > 0 for value in rate.values())
