"""Pictures of a map set: what each source's band power looks like over the head."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
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
_SCALES = ("valence", "arousal")
_AT_A_TIME = 1024
_LEAST = 0.05
"""Standard deviations at which colours are full at least: else rounding looks like a finding, where
a trial's own mean was taken off and nothing is left of its level."""
_SITE: dict[str, Any] = {"color": "black", "s": 6, "linewidths": 0}


class RatedMeans:
    """Sums of the maps of windows rated above and below 0, by source; taken block by block."""

    def __init__(self, provenance: dict[str, Any], subjects: Sequence[str]) -> None:
        sources = provenance["sources"]
        of = {name: at for at, found in enumerate(sources.values()) for name in found["subjects"]}
        self._sources = {name: at for at, name in enumerate(sources)}
        self._of = np.array([of[name] for name in subjects])
        self._sums: dict[tuple[int, str, bool], np.ndarray] = {}
        self._counts: Counter[tuple[int, str, bool]] = Counter()

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Windows' `maps` float16 [n, F, H, W], `subject`, `valence` and `arousal` [n]."""
        source, maps = self._of[columns["subject"]], columns["maps"]
        for at in np.unique(source):
            for scale in _SCALES:
                for high in (True, False):
                    rating = columns[scale] if high else -columns[scale]
                    rows = np.flatnonzero((source == at) & (rating > 0))
                    key = int(at), scale, high
                    self._counts[key] += len(rows)
                    for first in range(0, len(rows), _AT_A_TIME):
                        some = maps[rows[first : first + _AT_A_TIME]].sum(axis=0, dtype=np.float64)
                        self._sums[key] = self._sums.get(key, 0.0) + some

    def of(self, source: str, scale: str, *, high: bool) -> tuple[np.ndarray, int]:
        """The mean map float64 [F, H, W] and of how many windows; nonsense where there is none."""
        key = self._sources[source], scale, high
        count = self._counts[key]
        return self._sums.get(key, np.zeros(())) / max(count, 1), count


def plot_band_maps(maps: MapSet, path: Path, means: RatedMeans | None = None) -> None:
    """Draw, for each source, its mean band power and, where it is labelled, what the ratings do.

    One column a band. The first row of a source is its mean feature before any correction (log
    power in dB re 1 square microvolt, or differential entropy in nats), each map with its own
    scale: a look at it tells whether the recordings are EEG (alpha at the back, gamma and muscle at
    the edge). The rows below are the mean of the saved maps over windows rated above 0 minus that
    over windows rated below, in standard deviations of a subject, all of one row on one scale,
    which goes to 0.05 at least.
    Means of the saved maps themselves would be 0: each subject's are z-scored.

    Args:
        maps: with the provenance that build_maps gives.
        path: of the PNG.
        means: of its windows, where they are not in memory; None: looked at here.
    """
    if means is None:
        means = RatedMeans(maps.provenance, maps.subjects)
        means.add({name: getattr(maps, name) for name in ("maps", "subject", *_SCALES)})
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
        for scale in _SCALES:
            (high, above), (low, below) = (means.of(source, scale, high=h) for h in (True, False))
            if above and below:
                label = f"{source}\nhigh − low {scale}\n({above} − {below} windows)"
                rows.append((label, high - low, "z", True))

    count = len(maps.bands)
    figure = Figure(
        figsize=(2.3 * count + 1.2, 2.0 * len(rows) + 0.7),
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06),
    )
    grid = figure.subplots(len(rows), count, squeeze=False)
    for axes, (label, images, unit, signed) in zip(grid, rows, strict=True):
        largest = max(float(np.abs(images[:, operator.mask]).max()), _LEAST)
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
