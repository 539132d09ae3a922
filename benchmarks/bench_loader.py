"""Images a second of every way faces can come into the loop, augmented and ready for the network.

What is timed is whole epochs of batches [128, 1, S, S] in bf16, in turns; nothing is trained. The
files are drawn faces, stored at the size they are used at.

    python -m pytest benchmarks/bench_loader.py -s
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
from torch.utils.data import DataLoader, Dataset

from benchmarks.baselines.plain_training import Faces
from benchmarks.measure import DEVICE, hardware, synchronise
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.environment import environment
from neurogaze_fast.faces.folder import read_folder
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.loaders import StreamedLoader
from neurogaze_fast.faces.order import EpochOrder
from neurogaze_fast.faces.resident import ResidentLoader
from neurogaze_fast.faces.shards import read_shards
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.faces.torch_decoder import TorchDecoder
from neurogaze_fast.faces.write_shards import write_shards
from neurogaze_fast.ops import augment
from neurogaze_fast.reference import augment_params
from neurogaze_fast.reference.augment import Augmentation

TURNS, BATCH = 3, 128
IMAGES = 2048 if DEVICE == "cpu" else 16384
SEED = 0


class FolderOfFiles(Faces):
    """What people write: each file opened with Pillow, then torchvision's transforms."""

    def __init__(self, files, labels, size):
        super().__init__(files, labels, size)

    def __getitem__(self, index):
        with Image.open(self.images[index]) as image:
            pixels = torch.from_numpy(np.asarray(image.convert("L"))).unsqueeze(0)
        return self.transform(pixels), int(self.labels[index])


def write_folder(root, images, labels, extension):
    """One file an image under root/train/EMOTION."""
    files = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "train" / EMOTIONS[label]
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"{number:06d}.{extension}")
        options = {"quality": 95} if extension == "jpg" else {}
        Image.fromarray(image).save(files[-1], **options)
    return files


class Ours:
    """Epochs of one of our loaders, augmented as a training step does it."""

    def __init__(self, loader, size):
        self.loader, self.size, self._epoch = loader, size, 0

    def epoch(self):
        params = augment_params(
            torch.arange(IMAGES, device=DEVICE), seed=SEED, epoch=self._epoch,
            source=self.loader.source, size=self.size, augmentation=Augmentation(),
        )  # fmt: skip
        seen = 0
        for store, index, rows in self.loader.epoch(self._epoch):
            images = augment(
                store, index, params[rows], size=self.size, channels=1, dtype=torch.bfloat16
            )
            seen += len(images)
        self._epoch += 1
        return seen


class Theirs:
    """Epochs of a torch DataLoader, on the device, channels_last and in bf16."""

    def __init__(self, dataset: Dataset):
        self.loader = DataLoader(
            dataset, batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True,
            persistent_workers=True, pin_memory=DEVICE == "cuda",
        )  # fmt: skip

    def epoch(self):
        seen = 0
        for images, _ in self.loader:
            images = images.to(
                DEVICE, torch.bfloat16, memory_format=torch.channels_last, non_blocking=True
            )
            seen += len(images)
        return seen


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size", [48, 112])
@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_loaders(benchmark, tmp_path, size, extension):
    drawn, votes = draw_faces("train", 1024)
    shown = drawn.any((1, 2))  # the set has black images, which shards leave out
    drawn, votes = drawn[shown], votes[shown]
    some = [np.asarray(Image.fromarray(i).resize((size, size))) for i in drawn]
    images = np.stack([some[n % len(some)] for n in range(IMAGES)])
    labels = np.resize(hard_labels(votes), IMAGES)
    files = write_folder(tmp_path / "folder", images, labels, extension)
    faces = read_folder(tmp_path / "folder", size)
    begun = time.perf_counter()
    write_shards(faces, tmp_path / "shards")
    writing = time.perf_counter() - begun
    begun = time.perf_counter()
    shards = read_shards(tmp_path / "shards")["train"]
    opening = time.perf_counter() - begun
    device, order = torch.device(DEVICE), EpochOrder(IMAGES, BATCH, SEED)

    def streamed(split, decoder):
        return Ours(StreamedLoader(split, order, device, decoder, print), size)

    rivals = {
        "resident": Ours(ResidentLoader(images, order, device), size),
        "torch workers, shards": streamed(shards, TorchDecoder(device, 2)),
        "torchvision v2, pixels in memory": Theirs(Faces(images, labels, size)),
        "torchvision v2, Pillow, folder": Theirs(FolderOfFiles(files, labels, size)),
    }
    try:
        from neurogaze_fast.faces.dali_decoder import DaliDecoder

        kind = "mixed" if DEVICE == "cuda" else "cpu"
        rivals[f"DALI {kind}, shards"] = streamed(shards, DaliDecoder(device))
        rivals[f"DALI {kind}, folder"] = streamed(faces["train"], DaliDecoder(device))
    except Exception as reason:  # ConfigError where it is not installed: the row is left out
        print(reason)
    seconds = {name: [] for name in rivals}
    for rival in rivals.values():
        assert rival.epoch() == IMAGES

    def turn():
        for name, rival in rivals.items():
            synchronise()
            started = time.perf_counter()
            rival.epoch()
            synchronise()
            seconds[name].append(time.perf_counter() - started)

    benchmark.pedantic(turn, rounds=TURNS, iterations=1)
    rates = {name: IMAGES / statistics.median(values) for name, values in seconds.items()}
    slowest = rates["torchvision v2, Pillow, folder"]
    table = Table(
        "loader", "img/s", "x Pillow folder",
        title=f"{extension}, {size} px, {IMAGES} images, batch {BATCH}, {hardware()}, median of "
        f"{TURNS} epochs; shards written in {writing:.1f} s, opened in {opening:.2f} s",
    )  # fmt: skip
    for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{rate:,.0f}", f"{rate / slowest:.1f}")
    Console(width=120).print(table)
    benchmark.extra_info |= {
        "size": size, "format": extension, "images": IMAGES, "batch": BATCH,
        "images_per_second": {name: round(rate) for name, rate in rates.items()},
        "seconds": seconds, "writing_shards_s": writing, "opening_shards_s": opening,
        "hardware": hardware(), "environment": environment(), "data": "synthetic",
    }  # fmt: skip
