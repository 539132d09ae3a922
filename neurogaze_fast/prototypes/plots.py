"""The pictures of a bank: what covers the grid, and the maps behind high and low ratings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke

from neurogaze_fast.charts import save_figure
from neurogaze_fast.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from neurogaze_fast.eeg.maps import MapSet
    from neurogaze_fast.prototypes.bank import PrototypeBank

GROUPS = ("low valence", "high valence", "low arousal", "high arousal")


def plot_coverage(bank: PrototypeBank, path: Path, title: str = "") -> None:
    """Draw windows per cell as a heat map, and the grid's centres with discs of that area.

    Args:
        bank: counts, subjects and filled cells are drawn; a filled cell is hatched.
        path: of the PNG.
        title: a line above both.
    """
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    heat, discs = figure.subplots(1, 2)
    grid, filled = bank.grid, bank.filled
    half = 1 / grid
    counts = bank.counts.reshape(grid, grid)
    image = heat.imshow(counts, origin="lower", extent=(-1, 1, -1, 1), cmap="Blues", vmin=0,
                        vmax=max(int(counts.max()), 1))  # fmt: skip
    figure.colorbar(image, ax=heat, label="windows", shrink=0.85)
    _grid_lines(discs, grid)
    size = max(6.0, 10 - 0.4 * grid)
    for (v, a), count, people, hatched in zip(
        bank.centres, bank.counts, bank.subjects, filled, strict=True
    ):
        if hatched:
            for axes in (heat, discs):
                axes.add_patch(
                    Rectangle((v - half, a - half), 2 * half, 2 * half, facecolor="none",
                              edgecolor="#999999", hatch="//", linewidth=0)
                )  # fmt: skip
        label = f"{count}\n{people} subj." if count else "filled" if hatched else "0"
        text = heat.text(v, a, label, ha="center", va="center", fontsize=size)
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    # The largest disc spans 0.8 of a cell: its diameter in points, from the width of the axes.
    largest = (0.8 * 330 / grid) ** 2
    own = ~filled
    sizes = largest * bank.counts / max(int(bank.counts.max()), 1)
    discs.scatter(bank.centres[own, 0], bank.centres[own, 1], s=sizes[own], color="#0072B2",
                  alpha=0.6, linewidth=0, zorder=3)  # fmt: skip
    discs.scatter(bank.centres[:, 0], bank.centres[:, 1], s=12, marker="+", color="#222222",
                  linewidth=0.8, zorder=4)  # fmt: skip
    discs.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    for axes in (heat, discs):
        axes.set_xlabel("valence (unpleasant to pleasant)")
        axes.set_ylabel("arousal (calm to excited)")
    heat.set_title("windows and subjects per cell", fontsize=10)
    discs.set_title("centres; disc area: windows; hatched: filled from the nearest", fontsize=10)
    synthetic = "SYNTHETIC recordings. " if bank.synthetic else ""
    covered = f"{np.count_nonzero(own)} of {grid * grid} cells have their own prototype"
    figure.suptitle("\n".join(filter(None, [title, synthetic + covered])), fontsize=11)
    save_figure(figure, path)


def plot_topomaps(maps: MapSet, path: Path) -> int:
    """Draw the mean map of each band for low and high valence and arousal, for each source.

    Low is below the scale's middle, high above; a window in the middle is in neither. All
    labelled windows take part. Colours run from minus to plus the source's largest absolute mean,
    so that rows of one source compare.

    Args:
        maps: y ascends by row: the first row is the back of the head.
        path: of the PNG.

    Returns:
        How many groups have windows.

    Raises:
        ConfigError: no labelled window.
    """
    source = np.array([name.split("-")[0] for name in maps.subjects])[maps.subject]
    labelled = maps.labelled
    sources = sorted(set(source[labelled].tolist()))
    if not sources:
        raise ConfigError("There are no labelled windows, so no maps of high and low ratings.")
    rows = [(name, group) for name in sources for group in GROUPS]
    inside, head = (maps.maps != 0).any((0, 1)), _head(*maps.maps.shape[2:])
    size = (2.1 * len(maps.bands) + 2.2, 1.95 * len(rows) + 1)
    layout = ConstrainedLayoutEngine(rect=(0.02, 0, 0.98, 1))  # room for the names of the rows
    figure = Figure(figsize=size, layout=layout)
    grid = figure.subplots(len(rows), len(maps.bands), squeeze=False)
    drawn = 0
    for name in sources:
        groups = [labelled & (source == name) & chosen for chosen in _chosen(maps)]
        means = [_mean_map(maps, group) for group in groups]
        known = [mean for mean in means if mean is not None]
        # The corners beyond the head are extrapolated far: they set no colour.
        limit = max([float(np.abs(mean[:, head]).max()) for mean in known] + [1e-6])
        image = None
        first = sources.index(name) * len(GROUPS)
        for offset, (group, mean) in enumerate(zip(groups, means, strict=True)):
            drawn += mean is not None
            for axes, number in zip(grid[first + offset], range(len(maps.bands)), strict=True):
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if offset == 0:
                    axes.set_title(maps.bands[number], fontsize=11)
                if mean is None:
                    axes.text(0.5, 0.5, "no window", ha="center", va="center", color="#777777",
                              transform=axes.transAxes)  # fmt: skip
                    continue
                image = _draw_head(axes, np.where(inside, mean[number], np.nan), limit)
            grid[first + offset, 0].set_ylabel(
                f"{name}\n{GROUPS[offset]}\n{np.count_nonzero(group)} windows", fontsize=9
            )
        if image is not None:
            figure.colorbar(image, ax=grid[first : first + len(GROUPS)].ravel().tolist(),
                            label="mean band power (standard deviations)", shrink=0.6)  # fmt: skip
    synthetic = "SYNTHETIC recordings. " if maps.synthetic else ""
    figure.suptitle(f"{synthetic}Mean maps by rating (top: front of the head)", fontsize=11)
    save_figure(figure, path)
    return drawn


def _head(height: int, width: int) -> np.ndarray:
    """bool [H, W]: pixels inside the head, the circle that touches the outer pixels' centres."""
    rows, columns = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    return np.hypot(rows[:, None], columns[None]) <= 1 + 1e-9


def _draw_head(axes: Axes, picture: np.ndarray, limit: float) -> AxesImage:
    """One map inside its circle, with a nose."""
    height, width = picture.shape
    x, y = width / (width - 1), height / (height - 1)  # pixels are centred on the grid's nodes
    image = axes.imshow(picture, origin="lower", extent=(-x, x, -y, y), cmap="RdBu_r",
                        vmin=-limit, vmax=limit, interpolation="bilinear")  # fmt: skip
    image.set_clip_path(Circle((0, 0), 1, transform=axes.transData))
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="black", linewidth=1))
    axes.plot([-0.12, 0, 0.12], [0.99, 1.13, 0.99], color="black", linewidth=1)
    axes.set(xlim=(-1.1, 1.1), ylim=(-1.06, 1.18), aspect="equal")
    return image


def _chosen(maps: MapSet) -> tuple[np.ndarray, ...]:
    """bool [N] for each of :data:`GROUPS`; NaN is in none."""
    return maps.valence < 0, maps.valence > 0, maps.arousal < 0, maps.arousal > 0


def _mean_map(maps: MapSet, group: np.ndarray) -> np.ndarray | None:
    """float64 [F, H, W], the mean over the windows of `group` [N]; None without any."""
    rows = np.flatnonzero(group)
    if len(rows) == 0:
        return None
    total = np.zeros(maps.maps.shape[1:])
    for part in np.array_split(rows, -(-len(rows) // 1024)):  # never a float64 copy of everything
        total += maps.maps[part].sum(0, dtype=np.float64)
    return total / len(rows)


def _grid_lines(axes: Axes, grid: int) -> None:
    edges = np.linspace(-1, 1, grid + 1)
    axes.hlines(edges, -1, 1, color="#cccccc", linewidth=0.8, zorder=0)
    axes.vlines(edges, -1, 1, color="#cccccc", linewidth=0.8, zorder=0)
    axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    axes.axvline(0, color="#888888", linewidth=0.8, zorder=1)
