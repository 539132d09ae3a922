"""D-Geo's ramp and the image size as functions of training progress."""

from __future__ import annotations

import math


def geo_ramp(progress: float, start: float, end: float) -> float:
    """Weight of D-Geo at `progress` (0..1 of the run): 0 before `start`, half-cosine to 1 at `end`.

    The authors' ``late_cosine`` from epoch 20 to 60 of 100; the half-cosine is our reading of it.
    """
    if progress < start:
        return 0.0
    if progress >= end:
        return 1.0
    return 0.5 * (1 - math.cos(math.pi * (progress - start) / (end - start)))


def image_size(epoch: int, epochs: int, *, size: int, start_size: int | None) -> int:
    """Side of the training images at `epoch`: `start_size`, their mean, `size`.

    The first 40 % of the epochs are the cheapest, the next 35 % in between, the rest full size
    (progressive resizing as in Tan & Le 2021; the shares are ours); the last always is full size.
    """
    if start_size is None or start_size >= size or epoch == epochs - 1:
        return size
    progress = epoch / epochs
    if progress < 0.4:
        return start_size
    return (start_size + size) // 2 if progress < 0.75 else size
