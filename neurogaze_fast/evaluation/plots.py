"""The pictures of a run: learning curves, confusion matrix and prototype bank, as PNG files.

The figures are built without pyplot: no global state, no choice of back end, safe in any thread.
Colours are Okabe and Ito's, which stay apart for colour-blind readers and in grey; lines also
differ by marker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from neurogaze_fast.charts import history_column, line_chart, save_figure
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.errors import ConfigError

if TYPE_CHECKING:
    pass

LOSS_STYLE = {
    "total": ("#000000", "o", "total (weighted sum)"),
    "ce": ("#0072B2", "s", "cross-entropy"),
    "kd": ("#D55E00", "^", "distillation (KD)"),
    "proto": ("#009E73", "D", "prototypes (Proto-KD)"),
    "geo_cap": ("#CC79A7", "v", "D-Geo, cap"),
    "geo_margin": ("#E69F00", "P", "D-Geo, margin"),
}
SCORE_STYLE = {
    "accuracy": ("#0072B2", "o", "accuracy"),
    "macro_f1": ("#D55E00", "s", "macro-F1"),
    "balanced_accuracy": ("#009E73", "^", "balanced accuracy"),
}
_BEST = "#555555"
# Where an emotion's name goes, in points from its dot: anger, contempt and disgust lie close
# together, and so do surprise and fear.
_NAME_OFFSET = {
    "neutral": (8, -14),
    "happiness": (8, 7),
    "surprise": (9, 0),
    "sadness": (8, 7),
    "anger": (8, -11),
    "disgust": (-9, -9),
    "fear": (-9, 3),
    "contempt": (5, 11),
}


def plot_curves(history: Sequence[dict[str, Any]], path: Path, *, best: int | None = None) -> None:
    """Draw losses, valid scores, learning rate and throughput over the epochs.

    Args:
        history: one entry per epoch, ``{"epoch", "seconds", "images_per_second",
            "learning_rate", "train": {"total", "ce", "kd", "proto", "geo_cap", "geo_margin"},
            "valid": {"accuracy", "macro_f1", "balanced_accuracy"}}``. Whatever an entry lacks is
            skipped. The loss axis is logarithmic over at most four decades, so a term is drawn
            where it is above zero.
        path: of the PNG.
        best: the epoch whose weights were kept; by default the first with the highest macro-F1.

    Raises:
        ConfigError: an empty history.
    """
    if not history:
        raise ConfigError("There are no epochs to plot: the history is empty.")
    epochs = np.array([entry["epoch"] for entry in history])
    figure = Figure(figsize=(11, 8), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    losses, scores, rate, speed = figure.subplots(2, 2).flat

    for key, style in LOSS_STYLE.items():
        line_chart(losses, epochs, history_column(history, "train", key, positive=True), style)
    losses.set(title="Losses in training", yscale="log")
    # A term that fades in must not squeeze the others into a line.
    low, high = losses.get_ylim()
    losses.set_ylim(max(low, high / 1e4), high)
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(NullFormatter())
    for key, style in SCORE_STYLE.items():
        line_chart(scores, epochs, 100 * history_column(history, "valid", key), style)
    scores.set(title="Scores on the valid split", ylabel="%")
    line_chart(
        rate, epochs, history_column(history, "learning_rate"), ("#0072B2", "o", "learning rate")
    )
    rate.set(title="Learning rate", ylim=(0, None))
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2), useMathText=True)
    line_chart(
        speed, epochs, history_column(history, "images_per_second"), ("#0072B2", "o", "images")
    )
    speed.set(title="Training speed", ylabel="images per second")
    speed.set_ylim(0, 1.05 * speed.get_ylim()[1])

    macro_f1 = history_column(history, "valid", "macro_f1")
    if best is None and not np.isnan(macro_f1).all():
        best = int(epochs[np.nanargmax(macro_f1)])
    for axes in (losses, scores, rate, speed):
        if best is not None:
            axes.axvline(best, color=_BEST, linestyle="--", linewidth=1, zorder=1)
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (losses, scores):
        if axes.get_legend_handles_labels()[0]:
            # Below the axes: inside, it would cover a curve on some run.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=9,
                        frameon=False, columnspacing=1, handlelength=1.5)  # fmt: skip
    if best is not None:
        figure.suptitle(f"Dashed line: epoch {best}, which was kept", fontsize=10, color=_BEST)
    save_figure(figure, path)


def plot_confusion(matrix: np.ndarray, path: Path, title: str) -> None:
    """Draw a confusion matrix: shade and per cent by row, counts below.

    Args:
        matrix: int[8, 8] counts, true class in the row (:func:`metrics.confusion`). A row without
            images is hatched and named absent; its column stays, it can be predicted wrongly.
        path: of the PNG.
        title: of the picture, e.g. ``"valid, epoch 41"``.

    Raises:
        ConfigError: a matrix of another shape, or with negative counts.
    """
    matrix = np.asarray(matrix)
    size = len(EMOTIONS)
    if matrix.shape != (size, size) or matrix.min() < 0:
        raise ConfigError(f"A confusion matrix is int[{size}, {size}], not {list(matrix.shape)}.")
    totals = matrix.sum(axis=1)
    share = matrix / np.maximum(totals, 1)[:, None]

    figure = Figure(figsize=(9.2, 8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.8)
    for row in range(size):
        if totals[row] == 0:
            axes.add_patch(
                Rectangle((-0.5, row - 0.5), size, 1, facecolor="#eeeeee", edgecolor="#bbbbbb",
                          hatch="//", linewidth=0)
            )  # fmt: skip
            label = axes.text((size - 1) / 2, row, "absent: no image of this class",
                              ha="center", va="center", color="#333333")  # fmt: skip
            label.set_path_effects([withStroke(linewidth=4, foreground="white")])
            continue
        for column in range(size):
            empty = matrix[row, column] == 0
            text = "0" if empty else f"{100 * share[row, column]:.1f}%\n{matrix[row, column]}"
            dark = share[row, column] > 0.55
            axes.text(column, row, text, ha="center", va="center", fontsize=9,
                      color="white" if dark else "#777777" if empty else "black")  # fmt: skip
    axes.set_xticks(range(size), EMOTIONS, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), [f"{e} ({n})" for e, n in zip(EMOTIONS, totals, strict=True)])
    axes.set_xticks(np.arange(-0.5, size), minor=True)
    axes.set_yticks(np.arange(-0.5, size), minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="predicted", ylabel="true (images)")
    axes.set_title(title, wrap=True)
    save_figure(figure, path)


def plot_bank(centres: np.ndarray, counts: np.ndarray, filled: np.ndarray, path: Path) -> None:
    """Draw the prototype grid on the valence/arousal plane, with the eight emotions over it.

    Args:
        centres: [K, 2] (valence, arousal) of the cells, K = G * G of a square grid on [-1, 1]^2.
        counts: int[K], EEG windows averaged in each cell; the disc's area is proportional to it.
        filled: bool[K], True for a cell that was empty and took its neighbours' mean.
        path: of the PNG.

    Raises:
        ConfigError: shapes that do not fit, or K that is no square number.
    """
    centres, counts, filled = np.asarray(centres), np.asarray(counts), np.asarray(filled, bool)
    grid = math.isqrt(len(centres))
    if centres.shape != (grid * grid, 2) or grid == 0 or not len(counts) == len(filled) == grid**2:
        raise ConfigError(
            f"A bank has G * G centres [K, 2] with counts [K] and filled [K], not "
            f"{list(centres.shape)}, {list(counts.shape)} and {list(filled.shape)}."
        )
    figure = Figure(figsize=(8, 8.4), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(-1, 1, grid + 1)
    axes.hlines(edges, -1, 1, color="#cccccc", linewidth=0.8, zorder=0)
    axes.vlines(edges, -1, 1, color="#cccccc", linewidth=0.8, zorder=0)
    axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
    axes.axvline(0, color="#888888", linewidth=0.8, zorder=1)

    # The largest disc spans 0.8 of a cell: its diameter in points, from the width of the axes.
    largest = (0.8 * 400 / grid) ** 2
    own = ~filled
    sizes = largest * counts / max(int(counts.max()), 1)
    axes.scatter(centres[own, 0], centres[own, 1], s=sizes[own], color="#56B4E9", alpha=0.55,
                 linewidth=0, zorder=2)  # fmt: skip
    axes.scatter(centres[filled, 0], centres[filled, 1], s=largest / 30, marker="x",
                 color="#999999", zorder=2)  # fmt: skip
    half = 1 / grid
    for (valence, arousal), count, was_filled in zip(centres, counts, filled, strict=True):
        note = f"filled ({count})" if was_filled and count else "filled" if was_filled else count
        axes.annotate(str(note), (valence - half, arousal - half), xytext=(4, 4),
                      textcoords="offset points", fontsize=8, color="#555555")  # fmt: skip

    for emotion, (valence, arousal) in VALENCE_AROUSAL.items():
        x, y = _NAME_OFFSET[emotion]
        axes.plot(valence, arousal, "o", color="#D55E00", markeredgecolor="white", zorder=4)
        name = axes.annotate(
            emotion, (valence, arousal), xytext=(x, y), textcoords="offset points", zorder=5,
            ha="left" if x > 0 else "right", va="center", fontsize=11, color="#222222",
        )  # fmt: skip
        name.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
    axes.set_xlabel("valence (unpleasant to pleasant)")
    axes.set_ylabel("arousal (calm to excited)")
    used = counts[own]
    found = f"{used.sum()} windows in {np.count_nonzero(used)} of {grid * grid} cells"
    axes.set_title(
        f"Prototype bank: {found}\n"
        "disc area and number: windows; cross: filled from its neighbours; dots: the emotions",
        fontsize=10,
    )
    save_figure(figure, path)
