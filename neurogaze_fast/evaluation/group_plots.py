"""A picture of scores by group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neurogaze_fast.charts import save_figure
from neurogaze_fast.emotions import EMOTIONS


def plot_groups(column: str, found: dict[str, Any], path: Path) -> None:
    """Draw accuracy of each group with its interval, and error rates by emotion and group.

    Args:
        found: :func:`groups.group_scores`.
    """
    groups = found["groups"]
    names = list(groups)
    figure = Figure(figsize=(13, 2.4 + 0.42 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    for place, name in enumerate(names):
        group = groups[name]
        low, high = group["intervals"]["accuracy"]
        color = "#999999" if group["small"] else "#0072B2"
        left.plot([100 * low, 100 * high], [place, place], color=color, linewidth=2)
        left.plot(100 * group["accuracy"], place, "o", color=color)
    left.set_yticks(range(len(names)), [f"{name}, {groups[name]['n']}" for name in names])
    left.set(ylim=(len(names) - 0.5, -0.5), xlabel="accuracy, %, with 95 % interval")
    left.set_title(f"by {column} (grey: few images)", fontsize=11)
    left.grid(True, axis="x", alpha=0.3)
    left.spines[["top", "right"]].set_visible(False)
    rates = np.full((len(names), len(EMOTIONS)), np.nan)
    for row, name in enumerate(names):
        for emotion, rate in groups[name]["error_rate"].items():
            rates[row, EMOTIONS.index(emotion)] = 100 * rate["rate"]
            text = f"{100 * rate['rate']:.0f}\n(n {rate['n']})"
            right.text(EMOTIONS.index(emotion), row, text, ha="center", va="center", fontsize=7.5,
                       color="white" if rate["rate"] > 0.55 else "black")  # fmt: skip
    right.imshow(rates, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    right.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=30, ha="right")
    right.set_yticks(range(len(names)), names)
    right.set_title("error rate, %, by true emotion", fontsize=11)
    save_figure(figure, path)
