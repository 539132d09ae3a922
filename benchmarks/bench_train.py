"""Images a second of a whole training step beside what people use, in one run.

All are measured in turns, a few steps each, so that a busy moment of the machine hits all of them;
figures are medians of the turns. The images are drawn faces: what they show does not matter here.

    python -m pytest benchmarks/bench_train.py -s
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baselines.plain_training import PlainLoop
from benchmarks.measure import DEVICE, copy_bandwidth, hardware, matmul_rate, synchronise
from neurogaze_fast.environment import environment
from neurogaze_fast.faces.faceset import FaceSplit
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.prototypes.bank import demo_bank
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.controls import prototypes_and_cells
from neurogaze_fast.student.loop import Trainer
from neurogaze_fast.student.objective import Objective, ObjectiveWeights
from neurogaze_fast.student.resnet import ResNet
from neurogaze_fast.student.targets import training_rows

TURNS = 5
IMAGES = 1024 if DEVICE == "cpu" else 8192
CASES = [
    ("resnet18", 32, 64, 1024),
    ("resnet18", 48, 64, 1024),
    ("resnet18", 64, 64, 1024),
    ("resnet18", 112, 32, 1024),
    ("resnet50", 112, 16, 512),
    ("resnet50", 224, 8, 256),
]
"""Architecture, pixels, batch on a CPU, batch on a GPU."""
PASSES = 15
"""Times an activation is read or written in a step without fusion (5 forward, 10 backward)."""


@pytest.fixture(scope="module")
def drawn():
    return draw_faces("train", IMAGES)


def faces_of(drawn, size):
    """The drawn faces at `size` pixels, as a set."""
    images, votes = drawn
    if size > images.shape[1]:  # larger faces are stored at their size, as real sets are
        sized = (Image.fromarray(i).resize((size, size), Image.Resampling.BILINEAR) for i in images)
        images = np.stack([np.asarray(image) for image in sized])
    names = np.array([str(i) for i in range(len(images))])
    return FaceSplit("train", images, votes, names, np.arange(1, len(images) + 1))


class Ours:
    """Our training step, without scoring or checkpoints."""

    def __init__(self, faces, folder, architecture, size, batch, stem, **options):
        config = TrainConfig(
            amp=True, model=architecture, stem=stem, size=size, start_size=None,
            batch_size=batch, epochs=10_000, **options,
        )  # fmt: skip
        device = torch.device(DEVICE)
        prototypes, cells = prototypes_and_cells(demo_bank(), config)
        rows = training_rows(faces, config, cells, device)
        model = ResNet(architecture, stem=stem)
        objective = Objective(
            "b3",
            ObjectiveWeights.from_config(config),
            rows.class_weights,
            torch.from_numpy(prototypes),
            model.width,
        )
        self.wait = 0.0
        self._size = size
        self._trainer = Trainer(
            config, model, objective, rows, device, folder=folder,
            validate=lambda model, size: {}, console=Console(quiet=True),
        )  # fmt: skip
        self._batches = self._forever()

    def _forever(self):
        trainer, epoch = self._trainer, 0
        while True:
            trainer.run_step.begin_epoch(
                epoch, self._size, trainer.loader.source, len(trainer.rows.images)
            )
            yield from trainer.loader.epoch(epoch)
            epoch += 1

    def step(self):
        """Load, forward, objective, backward, clip, update."""
        asked = time.perf_counter()
        pictures = next(self._batches)
        self.wait += time.perf_counter() - asked
        self._trainer._train_step(pictures)
        self._trainer.step += 1


def work_of(architecture, size, stem):
    """(FLOP, bytes) an image costs in a step: 3 forward passes; activations in 16 bits."""
    model = ResNet(architecture, stem=stem).eval()
    outputs = []
    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, i, out: outputs.append(out.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, size, size))
    convolutions = sum(outputs) / 3  # each is followed by a normalisation and a ReLU
    return 3 * counter.get_total_flops(), 2 * PASSES * convolutions


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}px")
def test_training_step(benchmark, drawn, tmp_path, case):
    architecture, size, cpu_batch, gpu_batch = case
    batch = cpu_batch if DEVICE == "cpu" else gpu_batch
    stem = "small" if size <= 64 else "imagenet"
    faces, device = faces_of(drawn, size), torch.device(DEVICE)
    shape = {"architecture": architecture, "size": size, "batch": batch, "stem": stem}
    labels = hard_labels(faces.votes)
    rivals = {"plain loop": PlainLoop(faces.images, labels, device=device, **shape)}
    try:
        from benchmarks.baselines.timm_training import TimmLoop

        rivals["timm"] = TimmLoop(faces.images, labels, device=device, **shape)
    except ImportError:  # not installed everywhere: the table then has a column less
        pass
    rivals["ours eager"] = Ours(faces, tmp_path, **shape, cuda_graph=False)
    rivals["ours compiled"] = Ours(faces, tmp_path, **shape, cuda_graph=False, compile=True)
    if DEVICE == "cuda":
        rivals["ours graph"] = Ours(faces, tmp_path, **shape)
        rivals["ours graph compiled"] = Ours(faces, tmp_path, **shape, compile=True)
    steps = max(1, (128 if size < 224 else 24) // batch) if DEVICE == "cpu" else 20
    for rival in rivals.values():
        for _ in range(5 if DEVICE == "cuda" else 2):
            rival.step()
    seconds = {name: [] for name in rivals}
    waits = {name: 0.0 for name in rivals if name.startswith("ours")}
    for name in waits:
        rivals[name].wait = 0.0

    def turn():
        for name, rival in rivals.items():
            synchronise()
            started = time.perf_counter()
            for _ in range(steps):
                rival.step()
            synchronise()
            seconds[name].append(time.perf_counter() - started)

    benchmark.pedantic(turn, rounds=TURNS, iterations=1)
    flop, moved = work_of(architecture, size, stem)
    peak, bandwidth = matmul_rate(), copy_bandwidth()
    rows = {}
    for name, values in seconds.items():
        rate = batch * steps / statistics.median(values)
        pairs = zip(seconds["plain loop"], values, strict=True)
        rows[name] = {
            "images_per_second": round(rate, 1),
            "times_plain": round(statistics.median(a / b for a, b in pairs), 2),
            "mfu_percent": round(100 * rate * flop / peak, 1),
            "memory_roofline_percent": round(100 * rate * moved / bandwidth, 1),
        }
        if name in waits:
            rows[name]["data_wait_percent"] = round(100 * rivals[name].wait / sum(values), 2)
    table = Table(
        "loop", "img/s", "x plain", "MFU %", "% memory roofline", "data wait %",
        title=f"{architecture}, {size} px, {stem} stem, batch {batch}, bf16, {hardware()}, "
        f"median of {TURNS} turns of {steps} steps",
    )  # fmt: skip
    for name, row in rows.items():
        table.add_row(name, *map(str, row.values()))
    Console().print(table)
    benchmark.extra_info |= {
        **shape,
        "rows": rows,
        "seconds": seconds,
        "steps": steps,
        "peak_GFLOP_per_s": round(peak / 1e9, 1),
        "copy_GB_per_s": round(bandwidth / 1e9, 1),
        "environment": environment(),
        "hardware": hardware(),
        "data": "synthetic",
    }
    assert all(row["images_per_second"] > 0 for row in rows.values())
