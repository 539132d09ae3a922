"""Small face sets in the real formats, and the rule for tests that need a GPU."""

import os

import numpy as np
import pytest

from neurogaze_fast.faces.synthetic import draw_faces
from tests.helpers import write_set

# Tests that run side by side share the processor. Read once, when torch is imported.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _share)))
# Read once by cuBLAS, at the first product of the process: --deterministic needs it before that.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

LONG = ("test_distributed.py", "test_ablate.py", "test_commands.py", "test_proto_geo_loss.py")
"""Files that take a minute or more, besides those of tests/native."""


def pytest_collection_modifyitems(config, items):
    import torch

    # Files are shared out among workers in this order: the longest ones must not come last.
    items.sort(key=lambda item: (item.path.parent.name != "native", item.path.name not in LONG))

    if torch.cuda.is_available():
        return
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        config.hook.pytest_deselected(items=gpu)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]


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
