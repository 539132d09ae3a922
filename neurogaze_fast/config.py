"""What the options of every command share; each room has a config.py of its own.

Options are frozen dataclasses that tyro turns into flags. The docstring under each field is its
help text; a test fails where one is missing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neurogaze_fast.errors import ConfigError

Faces = Literal["ferplus", "affectnet", "ckplus", "manifest", "folder", "shards", "demo"]
OnConflict = Literal["drop", "first"]
Device = Literal["auto", "cpu", "cuda"]


def require(condition: bool, name: str, value: Any, rule: str) -> None:
    if not condition:
        flag = name.replace("_", "-")
        raise ConfigError(f"--{flag} is {value}; it must be {rule}.")


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """Options of both trainers that say on what a run is computed, and how often it is saved."""

    amp: bool = False
    """Mixed precision: 16 bits where that is safe; faster on processors made for it."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""
    threads: int = 0
    """CPU threads; 0: a thread for each core there is, or that a container's CPU quota allows. The
    last digits of a result depend on it."""
    deterministic: bool = False
    """On a GPU, only deterministic kernels (a CPU run repeats bitwise with the same threads)."""
    seed: int = 0
    """Seed of everything random: initial weights, order, augmentation, and a teacher's split."""
    checkpoint_minutes: float = 5.0
    """Save a checkpoint at least this often, and after every epoch."""
    log_every: int = 20
    """Steps between two readings of the losses."""

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_minutes"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("threads", "seed"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.seed < 2**31, "seed", self.seed, "below 2147483648")


def to_dict(config: Any) -> dict[str, Any]:
    """A config as a JSON object; paths become strings."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(config).items()
    }
