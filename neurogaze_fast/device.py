"""Where torch computes, and what is set before it does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import ConfigError

if TYPE_CHECKING:
    from neurogaze_fast.config import MachineConfig


def pick_device(name: str) -> torch.device:
    """auto, cpu or cuda -> a device that is there.

    Raises:
        ConfigError: cuda was asked for and torch finds none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda was asked for but torch finds no usable GPU. Use --device cpu, or run "
            "neurogaze-fast doctor to see why."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def prepare_torch(config: MachineConfig) -> None:
    """Seeds, threads and determinism, before anything is allocated.

    Without --threads or OMP_NUM_THREADS torch takes every core it may run on; under a container's
    CPU quota, which it does not know of, it gets as many threads as that allows.
    """
    torch.manual_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores().usable))
    torch.backends.cudnn.benchmark = not config.deterministic
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
