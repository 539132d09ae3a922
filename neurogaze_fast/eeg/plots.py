"""Pictures of a map set: what each source's band power looks like over the head."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.eeg.map_operator import map_operators
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.eeg.topomap_plot import draw_map

_DPI = 130
_SITE: dict[str, Any] = {"color": "black", "s": 6, "linewidths": 0}


def plot_band_maps(maps: MapSet, path: Path) -> None:
    """Draw, for each source, its mean band power and, where it is labelled, what the ratings do.

    One column a band. The first row of a source is its mean feature before any correction (log
    power in dB re 1 square microvolt, or differential entropy in nats), each map with its own
    scale: a look at it tells whether the recordings are EEG (alpha at the back, gamma and muscle at
    the edge). The rows below are the mean of the saved maps over windows rated above 0 minus that
    over windows rated below, in standard deviations of a subject, all of one row on one scale.
    Means of the saved maps themselves would be 0: each subject's are z-scored.

    Args:
        maps: with the provenance that build_maps gives.
        path: of the PNG.
    """
    options = maps.provenance["options"]
    operator = map_operators(maps)[0]
    decibel = options["feature"] == "log_power"
    rows: list[tuple[str, np.ndarray, str, bool]] = []
    for source, metadata in maps.provenance["sources"].items():
        level = np.array(metadata["mean_feature"]) * (10 / math.log(10) if decibel else 1)
        images = (level @ operator.matrix).reshape(len(level), *operator.shape)
        unit = "dB re 1 µV²" if decibel else "nats"
        rows.append(
            (f"{source}\nmean power" if decibel else f"{source}\nmean", images, unit, False)
        )
        mine = np.isin(maps.subject, [maps.subjects.index(name) for name in metadata["subjects"]])
        for scale in ("valence", "arousal"):
            rating = getattr(maps, scale)
            high, low = mine & (rating > 0), mine & (rating < 0)
            if high.any() and low.any():
                label = f"{source}\nhigh − low {scale}\n({high.sum()} − {low.sum()} windows)"
                rows.append((label, _mean(maps.maps, high) - _mean(maps.maps, low), "z", True))

    count = len(maps.bands)
    figure = Figure(
        figsize=(2.3 * count + 1.2, 2.0 * len(rows) + 0.7),
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06),
    )
    grid = figure.subplots(len(rows), count, squeeze=False)
    for axes, (label, images, unit, signed) in zip(grid, rows, strict=True):
        largest = float(np.abs(images[:, operator.mask]).max()) or 1.0
        limits = (-largest, largest) if signed else (None, None)
        for column, image in zip(axes, images, strict=True):
            drawn = draw_map(column, image, operator, limits, "RdBu_r" if signed else "viridis")
            column.scatter(*operator.positions.T, **_SITE)
            if not signed:
                bar = figure.colorbar(drawn, ax=column, shrink=0.75)
                bar.ax.tick_params(labelsize=7)
        if signed:
            bar = figure.colorbar(drawn, ax=list(axes), shrink=0.75, label=unit)
            bar.ax.tick_params(labelsize=7)
        axes[0].set_ylabel(label if signed else f"{label}\n({unit})", fontsize=9)
    for axis, band in zip(grid[0], maps.bands, strict=True):
        low, high = maps.provenance["band_edges"][band]
        axis.set_title(f"{band}, {low:g}–{high:g} Hz", fontsize=10)
    title = "Band power over the head, nose at the top"
    if maps.synthetic:
        title += " (synthetic recordings: they say nothing about people)"
    figure.suptitle(title, fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.1)
    atomic_write(Path(path), buffer.getvalue())


def _mean(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """float64: the mean of the images that bool [N] picks, without a copy of them all."""
    rows = np.flatnonzero(chosen)
    total = np.zeros(images.shape[1:])
    for first in range(0, len(rows), 1024):
        total += images[rows[first : first + 1024]].sum(axis=0, dtype=np.float64)
    return total / len(rows)
