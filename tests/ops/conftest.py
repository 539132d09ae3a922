"""What the operators run on: the CPU library, the CUDA kernels emulated on the CPU, a GPU."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from neurogaze_fast.ops import _library
from tests.native import emulate

CSRC = Path(__file__).resolve().parents[2] / "csrc"


@dataclass(frozen=True)
class Backend:
    name: str
    device: str
    raw: Any  # the namespace of raw operators
    emulator: Any = None

    def launches(self):
        return self.emulator.ng_emulated_launches()


@pytest.fixture(scope="session")
def emulator():
    """The CUDA kernels as torch.ops.neurogaze_emulated on CPU tensors, and their launch counter."""
    if missing := emulate.available():
        pytest.skip(missing)
    sources = sorted((CSRC / "cuda").glob("*.cu"))
    include = [CSRC / "cuda", CSRC / "common"]
    library = emulate.load(emulate.build(sources, "neurogaze_emulated", include))
    _library.define("neurogaze_emulated")
    return library


@pytest.fixture(scope="session")
def cpu():
    loaded, why = _library.status("cpu")
    if not loaded:
        pytest.skip(why)
    return Backend("cpu", "cpu", torch.ops.neurogaze_fast)


@pytest.fixture
def emulated(emulator, monkeypatch):
    """`neurogaze_fast.ops` on CPU tensors runs the emulated CUDA kernels."""
    raw = torch.ops.neurogaze_emulated
    monkeypatch.setattr(_library, "native", lambda device: True)
    monkeypatch.setattr(_library, "operators", lambda: raw)
    # The package exports a function under the module's name.
    module = importlib.import_module("neurogaze_fast.ops.proto_geo_loss")
    split = module.rows_per_sum
    monkeypatch.setattr(module, "rows_per_sum", lambda batch, device: split(batch, "cuda"))
    return Backend("emulated", "cpu", raw, emulator)


@pytest.fixture
def cuda():
    loaded, why = _library.status("cuda")
    if not loaded:
        pytest.skip(why)
    return Backend("cuda", "cuda", torch.ops.neurogaze_fast)


@pytest.fixture(params=["cpu", "emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def backend(request):
    return request.getfixturevalue(request.param)
