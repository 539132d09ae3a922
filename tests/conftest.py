"""Small face sets in the real formats, and the rule for tests that need a GPU."""

import csv
import os

import numpy as np
import pytest

from neurogaze_fast.faces.ferplus import VOTE_COLUMNS
from neurogaze_fast.faces.synthetic import draw_faces

# Tests that run side by side share the processor. Read once, when torch is imported.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _share)))
# Read once by cuBLAS, at the first product of the process: --deterministic needs it before that.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(config, items):
    import torch

    # Files are shared out among workers in this order: the longest ones must not come last.
    items.sort(key=lambda item: item.path.parent.name != "native")

    if torch.cuda.is_available():
        return
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        config.hook.pytest_deselected(items=gpu)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]


def write_set(folder, images, votes, usage, names=None):
    """Write fer2013.csv and fer2013new.csv as the two sources publish them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = names or [f"fer{i:07d}.png" for i in range(len(images))]
    with open(folder / "fer2013.csv", "w", newline="") as file:
        file.write("emotion,pixels,Usage\n")
        for image, use in zip(images, usage, strict=True):
            file.write(f"6,{' '.join(map(str, image.ravel()))},{use}\n")
    with open(folder / "fer2013new.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Usage", "Image name", *VOTE_COLUMNS])
        for use, name, row in zip(usage, names, votes, strict=True):
            writer.writerow([use, name, *map(int, row)])
    return folder


@pytest.fixture(scope="session")
def drawn():
    """120 faces with votes: 80 train, 40 valid."""
    parts = [draw_faces("train", 80), draw_faces("valid", 40)]
    images, votes = (np.concatenate(x) for x in zip(*parts, strict=True))
    return images, votes, ["Training"] * 80 + ["PublicTest"] * 40


@pytest.fixture(scope="session")
def small_set(drawn, tmp_path_factory):
    """A folder with a 120-face FERPlus set in the csv layout."""
    return write_set(tmp_path_factory.mktemp("faces"), *drawn)
