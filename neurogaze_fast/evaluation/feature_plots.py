"""Pictures of features: two planes by class and by cell, and class means beside the bank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from neurogaze_fast.charts import save_figure
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.score_plots import EMOTION_STYLE
from neurogaze_fast.prototypes.grid import cell_centres

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_features(
    planes: list[tuple[str, np.ndarray]], labels: np.ndarray, cells: np.ndarray, grid: int,
    path: Path, title: str,
) -> None:  # fmt: skip
    """Draw each plane twice: coloured by emotion, and by the cell that the votes point to.

    Args:
        planes: (name, [N, 2]); labels: int [N]; cells: int [N] of a `grid` x `grid` bank.
    """
    figure = Figure(figsize=(12, 5.4 * len(planes)), layout="constrained")
    panels = np.atleast_2d(figure.subplots(len(planes), 2))
    colours = _cell_colours(grid)
    order = np.random.default_rng(0).permutation(len(labels))  # so that no class hides the others
    for row, (name, points) in enumerate(planes):
        for emotion in np.unique(labels):
            mine = order[labels[order] == emotion]
            color, marker = EMOTION_STYLE[EMOTIONS[emotion]]
            panels[row, 0].scatter(*points[mine].T, s=9, color=color, marker=marker, alpha=0.55,
                                   linewidths=0, label=EMOTIONS[emotion])  # fmt: skip
        panels[row, 1].scatter(*points[order].T, s=9, c=colours[cells[order]], alpha=0.7,
                               linewidths=0)  # fmt: skip
        panels[row, 0].set_title(f"{name}, by emotion", fontsize=11)
        panels[row, 1].set_title(f"{name}, by cell of the votes", fontsize=11)
        for axes in panels[row]:
            axes.set_xticks([])
            axes.set_yticks([])
    panels[0, 0].legend(markerscale=2, fontsize=8.5, frameon=True, loc="best")
    _legend_of_cells(panels[0, 1], grid, colours)
    figure.suptitle(title, fontsize=12)
    save_figure(figure, path)


def _cell_colours(grid: int) -> np.ndarray:
    """float [G*G, 3]: valence from blue to orange, arousal from dark to light."""
    valence, arousal = cell_centres(grid).T
    share, light = (valence[:, None] + 1) / 2, 0.45 + 0.5 * (arousal[:, None] + 1) / 2
    blue, orange = np.array([0.1, 0.5, 1.0]), np.array([1.0, 0.55, 0.05])
    return np.clip(((1 - share) * blue + share * orange) * light, 0, 1)


def _legend_of_cells(axes: Axes, grid: int, colours: np.ndarray) -> None:
    inset = axes.inset_axes((0.02, 0.02, 0.2, 0.2))
    inset.imshow(colours.reshape(grid, grid, 3), origin="lower", extent=(-1, 1, -1, 1))
    inset.set_xticks([])
    inset.set_yticks([])
    inset.set_xlabel("valence", fontsize=7, labelpad=1)
    inset.set_ylabel("arousal", fontsize=7, labelpad=1)


def plot_geometry(
    means: np.ndarray, bank: np.ndarray | None, found: dict[str, Any] | None, path: Path, title: str
) -> None:
    """Draw cosines between class means, and between the emotions in the bank's space.

    Both are centred first, as CKA does: what all classes share says nothing of their geometry.

    Args:
        means: [8, D], NaN for an absent class; bank: [8, E] or None; found: :func:`agreement`.
    """
    each = [("class means of the features", means)]
    if bank is not None:
        each.append(("the emotions in the bank", bank))
    figure = Figure(figsize=(1.2 + 5.4 * len(each), 5.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(each)))
    for axes, (name, points) in zip(panels, each, strict=True):
        centred = points - np.nanmean(points, axis=0)
        centred = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        cosines = centred @ centred.T
        drawn = axes.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
        for (y, x), value in np.ndenumerate(cosines):
            if np.isfinite(value):
                axes.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=7.5,
                          color="white" if abs(value) > 0.65 else "black")  # fmt: skip
        axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=40, ha="right")
        axes.set_yticks(range(len(EMOTIONS)), EMOTIONS)
        axes.set_title(name, fontsize=11)
    figure.colorbar(drawn, ax=list(panels), shrink=0.75, label="cosine after centring")
    words = title
    if found is not None:
        words += (
            f"\nCKA {found['cka']:.2f}, with emotions exchanged {found['chance']:.2f} on average, "
            f"p = {found['p']:.2g}"
        )
    figure.suptitle(words, fontsize=11)
    save_figure(figure, path)
