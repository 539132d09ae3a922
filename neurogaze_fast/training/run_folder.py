"""A run's folder: claimed once, described by a sealed config.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from neurogaze_fast.artifacts import atomic_write, seal
from neurogaze_fast.config import to_dict
from neurogaze_fast.errors import ConfigError, OutputExistsError

CONFIG_FILE = "config.json"
BANK_FILE = "bank.safetensors"
CHECKPOINTS = "checkpoints"


def create_folder(folder: Path) -> None:
    """Create a run's folder.

    Raises:
        OutputExistsError: it exists. ConfigError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise OutputExistsError(
            f"{folder} exists and was left alone. Choose another --out, or continue it with "
            f"--resume {folder}."
        ) from None
    except OSError as cause:
        raise ConfigError(f"{folder} cannot be created ({cause.strerror}).") from cause


def write_config(folder: Path, config: Any, metadata: dict[str, Any]) -> None:
    """Write the options with `folder` as their --out, and what the run is made from, sealed."""
    description = seal({"config": to_dict(replace(config, out=folder)), **metadata})
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    atomic_write(folder / CONFIG_FILE, text.encode())
