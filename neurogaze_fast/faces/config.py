"""Options of ``prepare shards``; the docstring under each field is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.config import Faces, OnConflict
from neurogaze_fast.errors import ConfigError


@dataclass(frozen=True)
class PrepareShardsConfig:
    """Pack a face set into tar shards (WebDataset layout) with an index."""

    out: Path
    """Folder to create; holds train-000000.tar and so on, train.npz and so on, and index.json."""

    data: Path | None = None
    """Folder of the face set; without one the demo set."""
    faces: Faces | None = None
    """Kind of face set; by default told from what lies in --data, else demo."""
    on_conflict: OnConflict | None = None
    """With --faces manifest: of an image listed with different labels or splits, drop all rows or
    keep the first (by default such a csv is refused)."""
    side: int | None = None
    """Resize images to this many pixels each way; needed where they differ in size."""
    shard_mb: int = 256
    """Megabytes a shard holds at most."""

    def __post_init__(self) -> None:
        if self.side is not None and not 16 <= self.side <= 4096:
            raise ConfigError(f"--side is {self.side}; it must be in [16, 4096].")
        if self.shard_mb < 1:
            raise ConfigError(f"--shard-mb is {self.shard_mb}; it must be 1 or more.")
