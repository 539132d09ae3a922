"""Pictures of maps: the head's outline, the electrodes, contours and a colour bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from neurogaze_fast.charts import save_figure
from neurogaze_fast.eeg.interpolation import TopomapOperator, grid_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from neurogaze_fast.eeg.in_memory import TopoMaps

MOST_ROWS = 8
"""Windows or moments drawn at most, evenly spaced."""


def plot_topomaps(
    maps: TopoMaps,
    path: str | Path | None = None,
    *,
    axes: Any = None,
    vlim: tuple[float | None, float | None] = (None, None),
    cmap: str | None = None,
    contours: int = 6,
    sensors: bool = True,
    names: bool = False,
    colorbar: bool = True,
) -> Figure:
    """Draw every map: a column a band, a row a window (at most 8, evenly spaced).

    Args:
        maps: of :func:`~neurogaze_fast.eeg.in_memory.topomaps`.
        path: of a PNG to write; None: none.
        axes: matplotlib axes to draw into, one for each map drawn; None: a new figure.
        vlim: lowest and highest value of the colours; None: from the values of each band.
        cmap: None: "Reds" where no value is negative, else "RdBu_r", as MNE does.
        contours: how many lines.
        sensors: mark the electrodes.
        names: write their names.
        colorbar: with a bar for each map.
    """
    rows = np.unique(np.linspace(0, len(maps.maps) - 1, min(len(maps.maps), MOST_ROWS)).astype(int))
    columns = len(maps.bands)
    if axes is None:
        figure = Figure(figsize=(2.6 * columns + 0.4, 2.5 * len(rows) + 0.3), layout="constrained")
        grid = figure.subplots(len(rows), columns, squeeze=False)
    else:
        grid = np.atleast_1d(np.asarray(axes, object)).reshape(len(rows), columns)
        figure = grid[0, 0].figure
    for drawn, row in enumerate(rows):
        for column, band in enumerate(maps.bands):
            axis = grid[drawn, column]
            values, image = maps.values[:, column], maps.maps[row, column]
            low, high = _limits(values, vlim)
            colours = cmap or ("Reds" if values.min() >= 0 else "RdBu_r")
            shown = draw_map(axis, image, maps.operator, (low, high), colours, contours=contours)
            if sensors:
                axis.scatter(*maps.operator.positions.T, color="black", s=6, linewidths=0)
            if names:
                for name, place in zip(maps.names, maps.operator.positions, strict=True):
                    axis.text(*place, name, fontsize=6, ha="center", va="bottom")
            if colorbar:
                bar = figure.colorbar(shown, ax=axis, shrink=0.75)
                bar.ax.set_title(maps.unit, fontsize=7)
                bar.ax.tick_params(labelsize=7)
            if drawn == 0 and band:
                axis.set_title(band, fontsize=10)
        grid[drawn, 0].set_ylabel(f"{maps.times[row]:.3g} s", fontsize=8)
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def draw_map(
    axis: Axes,
    image: np.ndarray,
    operator: TopomapOperator,
    limits: tuple[float | None, float | None],
    colours: str,
    *,
    contours: int = 0,
) -> AxesImage:
    """One map [H, W] inside its circle, with nose and ears; returns the image for a colour bar."""
    x, y, _, head = operator.sphere
    half, (left, right, back, front) = grid_of(operator.positions, operator.sphere)
    rows, columns = operator.shape
    masked = np.where(operator.mask, image, np.nan)
    across, up = np.linspace(left, right, columns), np.linspace(back, front, rows)
    inside = np.hypot(*np.meshgrid(across - x, up - y)) <= half
    low, high = limits
    if low is None or high is None:  # corners beyond the circle are far: they set no colour
        low = float(np.nanmin(masked[inside])) if low is None else low
        high = float(np.nanmax(masked[inside])) if high is None else high
    # Nodes lie in the middle of their pixels.
    wide, tall = (right - left) / (columns - 1) / 2, (front - back) / (rows - 1) / 2
    drawn = axis.imshow(
        masked,
        origin="lower",
        extent=(left - wide, right + wide, back - tall, front + tall),
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="bilinear",
    )
    circle = Circle((x, y), half, transform=axis.transData)
    drawn.set_clip_path(circle)
    if contours and np.nanmax(masked) > np.nanmin(masked):
        levels = np.linspace(low, high, contours + 2)[1:-1]
        if np.all(np.diff(levels) > 0):
            lines = axis.contour(across, up, masked, levels, colors="black", linewidths=0.4)
            lines.set_clip_path(circle)
    line: dict[str, Any] = {"color": "black", "linewidth": 1, "clip_on": False}
    axis.add_patch(Circle((x, y), head, fill=False, edgecolor="black", linewidth=1, clip_on=False))
    nose = np.array([-0.12, 0, 0.12]) * head + x, np.array([0.99, 1.13, 0.99]) * head + y
    axis.plot(*nose, **line)
    ear = np.linspace(-0.16, 0.16, 20)
    out = 1 + 0.06 * np.sqrt(np.clip(1 - (ear / 0.16) ** 2, 0, 1))
    for side in (-1, 1):
        axis.plot(side * out * head + x, ear * head + y, **line)
    edge = max(half, head)
    axis.set(xlim=(x - 1.15 * edge, x + 1.15 * edge), ylim=(y - 1.08 * edge, y + 1.18 * edge))
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.spines[:].set_visible(False)
    return drawn


def _limits(
    values: np.ndarray, vlim: tuple[float | None, float | None]
) -> tuple[float | None, float | None]:
    """As MNE: from 0 where nothing is negative, else as far below 0 as above."""
    if vlim != (None, None):
        return vlim
    largest = float(np.abs(values).max()) or 1.0
    return (float(values.min()), largest) if values.min() >= 0 else (-largest, largest)
