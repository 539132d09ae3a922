"""Pictures of corruption: scores by kind and strength for several runs, and what was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neurogaze_fast.charts import save_figure
from neurogaze_fast.evaluation.corruptions import KINDS, STRENGTHS, corrupt

_STYLES = (
    ("#000000", "o"), ("#D55E00", "^"), ("#0072B2", "s"), ("#009E73", "D"), ("#CC79A7", "v"),
    ("#E69F00", "P"), ("#56B4E9", "X"), ("#999999", "*"),
)  # fmt: skip


def plot_corruptions(result: dict[str, Any], path: Path) -> None:
    """Draw accuracy by strength, a panel for each kind; strength 0 is the clean set.

    Args:
        result: what corruptions.json holds.
    """
    figure = Figure(figsize=(13, 9), layout="constrained")
    panels = figure.subplots(3, 4, sharex=True, sharey=True).ravel()
    low = 100.0
    for axes, kind in zip(panels, KINDS, strict=True):
        for number, (name, run) in enumerate(result["runs"].items()):
            color, marker = _STYLES[number % len(_STYLES)]
            values = [run["clean"]["accuracy"], *(s["accuracy"] for s in run["kinds"][kind])]
            values = [100 * value for value in values]
            low = min(low, *values)
            axes.plot((0, *STRENGTHS), values, color=color, marker=marker, markersize=4,
                      linewidth=1.5, label=name)  # fmt: skip
        axes.set_title(kind, fontsize=11)
        axes.grid(True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(max(0, 10 * np.floor(low / 10)), 100)
    panels[0].set_xticks((0, *STRENGTHS), ["clean", *map(str, STRENGTHS)])
    for axes in panels[-4:]:
        axes.set_xlabel("strength")
    for axes in panels[::4]:
        axes.set_ylabel("accuracy, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)),
                  frameon=False)  # fmt: skip
    save_figure(figure, path)


def plot_examples(images: np.ndarray, seed: int, path: Path) -> None:
    """Draw one face of uint8 [N, H, W] under every kind and strength."""
    figure = Figure(figsize=(len(KINDS) * 1.05, 6.8), layout="constrained")
    panels = figure.subplots(len(STRENGTHS) + 1, len(KINDS))
    # Drawn with the whole set, as scoring does: a face has the damage it was scored with.
    shown = len(images) // 2
    for column, kind in enumerate(KINDS):
        every = [corrupt(images, kind, strength, seed=seed)[shown] for strength in STRENGTHS]
        for row, image in enumerate([images[shown], *every]):
            axes = panels[row, column]
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel("clean" if row == 0 else f"strength {row}", fontsize=9)
        panels[0, column].set_title(kind, fontsize=9)
    save_figure(figure, path)
