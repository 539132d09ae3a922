"""What every figure shares: drawn without pyplot, written in one step.

Without pyplot there is no global state and no choice of back end, and any thread may draw.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurogaze_fast.artifacts import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 130


def history_column(
    history: Sequence[dict[str, Any]], *keys: str, positive: bool = False
) -> np.ndarray:  # float64[epochs], NaN where an entry has no such number
    """One number of every epoch, e.g. ``("train", "ce")``; `positive` blanks zero and below."""
    column = np.full(len(history), np.nan)
    for row, entry in enumerate(history):
        value: Any = entry
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and math.isfinite(value) and (value > 0 or not positive):
            column[row] = value
    return column


def line_chart(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, style: tuple[str, str, str]
) -> None:
    """One curve, left out where there is nothing to draw; about 15 markers on long runs."""
    known = ~np.isnan(values)
    if not known.any():
        return
    color, marker, label = style
    every = max(1, np.count_nonzero(known) // 15)
    axes.plot(epochs[known], values[known], color=color, marker=marker, markevery=every,
              markersize=4, linewidth=1.5, label=label, zorder=3)  # fmt: skip


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write the PNG in one step, so that a reader never meets half of it; `options`: savefig's."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", **options)
    atomic_write(Path(path), buffer.getvalue())
