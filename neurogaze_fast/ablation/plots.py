"""The two pictures of an ablation: scores by epoch, and differences with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neurogaze_fast.ablation.results import RunResult
from neurogaze_fast.ablation.statistics import Estimate
from neurogaze_fast.charts import save_figure
from neurogaze_fast.errors import DataError

STYLE = {
    "b0": ("#000000", "o"),
    "b1": ("#0072B2", "s"),
    "b2": ("#009E73", "D"),
    "b3": ("#D55E00", "^"),
    "random": ("#CC79A7", "v"),
    "shuffled": ("#E69F00", "P"),
    "va-kernel": ("#56B4E9", "X"),
    "same-spectrum": ("#999999", "*"),
}
"""Arms drawn over the epochs; the others would make it unreadable and are in the tables."""


def plot_timeline(results: list[RunResult], path: Path) -> None:
    """Draw macro-F1 and accuracy on valid by epoch: mean over seeds, band from least to most.

    Raises:
        DataError: none of the arms that are drawn has a finished run.
    """
    arms = [arm for arm in STYLE if any(r.arm == arm for r in results)]
    if not arms:
        raise DataError(f"There is nothing to draw: no run of {', '.join(STYLE)} has finished.")
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, (key, title) in zip(
        figure.subplots(1, 2), (("macro_f1", "macro-F1"), ("accuracy", "accuracy")), strict=True
    ):
        for arm in arms:
            curves = [100 * r.curve(key) for r in results if r.arm == arm]
            length = min(map(len, curves))  # equal but for runs made by hand
            values = np.stack([curve[:length] for curve in curves])
            epochs = np.arange(1, length + 1)
            color, marker = STYLE[arm]
            axes.plot(epochs, values.mean(0), color=color, marker=marker, markersize=4,
                      markevery=max(1, length // 12), linewidth=1.6,
                      label=f"{arm} ({len(values)})")  # fmt: skip
            if len(values) > 1:
                axes.fill_between(epochs, values.min(0), values.max(0), color=color, alpha=0.12,
                                  linewidth=0)  # fmt: skip
        axes.set(title=f"{title} on valid", xlabel="epoch", ylabel="%")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title="arm (seeds)", fontsize=9, frameon=False,
                  loc="outside right center")  # fmt: skip
    save_figure(figure, path)


def plot_differences(
    rows: list[tuple[str, Estimate]],
    path: Path,
    *,
    one_image: float = 0.0,
    score: str = "macro-F1",
    margin: float = 0.0,
) -> None:
    """Draw differences of a score with 95 % intervals; filled where 0 is left out.

    Args:
        rows: name of the pair, and its difference as a fraction.
        one_image: what one image of the rarest emotion is worth, a fraction; a grey band. 0: not
            known, no band.
        score: its name.
        margin: what counts as small, points; two dotted lines. 0: none.
    """
    figure = Figure(figsize=(8, 1.4 + 0.42 * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots()
    if one_image:
        axes.axvspan(-100 * one_image, 100 * one_image, color="#999999", alpha=0.25, linewidth=0,
                     label="one image of the rarest emotion")  # fmt: skip
    axes.axvline(0, color="#555555", linewidth=1)
    for edge in (-margin, margin) if margin else ():
        axes.axvline(edge, color="#555555", linewidth=1, linestyle=":")
    reach = max([abs(100 * e.mean) for _, e in rows] + [1.0]) * 1.6
    for place, (_, estimate) in enumerate(rows):
        mean = 100 * estimate.mean
        if estimate.n > 1:
            low, high = 100 * estimate.low, 100 * estimate.high
            reach = max(reach, abs(low), abs(high))
            axes.plot([low, high], [place, place], color="#0072B2", linewidth=2)
        filled = estimate.direction != 0
        axes.plot(mean, place, "o", color="#0072B2", markerfacecolor="#0072B2" if filled else "w")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(
        xlim=(-1.05 * reach, 1.05 * reach),
        ylim=(len(rows) - 0.5, -0.5),
        xlabel=f"difference of {score}, points",
    )
    holds = {e.holds for _, e in rows if e.n > 1}
    over = f" over {holds.pop()}" if len(holds) == 1 else ""
    axes.set_title(f"Paired by seed, 95 % intervals{over}; filled: 0 is left out", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if one_image:
        axes.legend(fontsize=8, frameon=False, loc="best")
    save_figure(figure, path)
