"""Pictures of a scored split: how far its probabilities can be believed, and where faces lie."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from neurogaze_fast.charts import save_figure
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.evaluation.calibration import BINS, probabilities, reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EMOTION_STYLE = {
    "neutral": ("#7f7f7f", "o"),
    "happiness": ("#E69F00", "s"),
    "surprise": ("#56B4E9", "^"),
    "sadness": ("#0072B2", "v"),
    "anger": ("#D55E00", "D"),
    "disgust": ("#009E73", "P"),
    "fear": ("#000000", "X"),
    "contempt": ("#CC79A7", "*"),
}
# Where a name goes, in points from its ring: outwards, because the means lie further in.
_NAME_OFFSET = {
    "neutral": (14, -22),
    "happiness": (10, -16),
    "surprise": (12, 8),
    "sadness": (-8, -16),
    "anger": (2, 20),
    "disgust": (-13, -4),
    "fear": (-8, 16),
    "contempt": (-10, 12),
}
_BAR, _GAP = "#0072B2", "#D55E00"


def plot_reliability(
    logits: np.ndarray,
    labels: np.ndarray,
    divisor: np.ndarray | float | None,
    scores: dict[str, Any],
    path: Path,
) -> None:
    """Draw accuracy against confidence before and after temperature scaling, with counts.

    Args:
        logits: [N, 8]; labels: int [N].
        divisor: what scaling divides the logits by, one number or [N]; None: there is no scaling.
        scores: :func:`calibration.calibration` of the split.
        path: of the PNG.
    """
    figure = Figure(figsize=(10.5, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, height_ratios=(3, 1), sharex="col", sharey="row")
    found = scores["temperature"]
    named = " and ".join(f"{t:.2f}" for t in (found if isinstance(found, list) else [found]) if t)
    for column, (title, used) in enumerate((("before", 1.0), (f"after, T = {named}", divisor))):
        upper, lower = panels[:, column]
        lower.set_xlabel("confidence (top probability)")
        if used is None:
            upper.set_title("after temperature scaling")
            note = "\n".join(wrap(scores["source"], 46))
            upper.text(0.5, 0.5, note, ha="center", va="center", color="#555555", fontsize=10)
            upper.set_axis_off()
            lower.set_axis_off()
            continue
        counts, means = reliability(probabilities(logits, used), labels)
        _reliability_panel(upper, counts, means)
        now = scores["after" if column else "before"]
        upper.set_title(f"{title}: ECE {100 * now['ece']:.2f} %, NLL {now['nll']:.3f}")
        _count_panel(lower, counts)
    panels[0, 0].set_ylabel("share that was right")
    panels[1, 0].set_ylabel("images")
    panels[0, 0].legend(loc="upper left", frameon=False, fontsize=9)
    save_figure(figure, path)


def plot_circumplex(points: np.ndarray, labels: np.ndarray, path: Path, title: str) -> None:
    """Draw read-out valence and arousal by true emotion, the classes' means and the emotions.

    Args:
        points: [N, 2] (valence, arousal) as read out; labels: int [N].
        path: of the PNG; title: of the picture.
    """
    figure = Figure(figsize=(10, 7.8), layout="constrained")
    axes = figure.subplots()
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="#999999", linewidth=1))
    axes.axhline(0, color="#999999", linewidth=0.8, zorder=1)
    axes.axvline(0, color="#999999", linewidth=0.8, zorder=1)
    # One order for all emotions, so that none is drawn over the others.
    order = np.random.default_rng(0).permutation(len(points))
    colours = np.array([EMOTION_STYLE[emotion][0] for emotion in EMOTIONS])
    size = float(np.clip(12000 / max(len(points), 1), 5, 25))
    axes.scatter(points[order, 0], points[order, 1], s=size, c=colours[labels[order]], alpha=0.35,
                 linewidth=0, zorder=2, rasterized=True)  # fmt: skip
    outline = [withStroke(linewidth=3, foreground="white")]
    for index, emotion in enumerate(EMOTIONS):
        colour, marker = EMOTION_STYLE[emotion]
        large = 18 if marker == "*" else 10 if marker == "D" else 13  # alike to the eye
        anchor = VALENCE_AROUSAL[emotion]
        axes.plot(*anchor, "o", markersize=13, markerfacecolor="none", markeredgecolor=colour,
                  markeredgewidth=2, zorder=4, path_effects=outline)  # fmt: skip
        x, y = _NAME_OFFSET[emotion]
        axes.annotate(emotion, anchor, xytext=(x, y), textcoords="offset points",
                      ha="left" if x > 0 else "right", va="center", fontsize=11, zorder=6,
                      color=colour, path_effects=outline)  # fmt: skip
        mine = labels == index
        name = f"{emotion} ({np.count_nonzero(mine)})"
        if not mine.any():
            axes.plot(
                [],
                [],
                marker,
                color="#cccccc",
                markersize=large,
                linestyle="",
                label=f"{emotion} (absent)",
            )
            continue
        mean = points[mine].mean(axis=0)
        axes.plot(*zip(anchor, mean, strict=True), color=colour, linewidth=1, linestyle=":",
                  zorder=3, path_effects=outline)  # fmt: skip
        axes.plot(*mean, marker, color=colour, markersize=large, markeredgecolor="white",
                  markeredgewidth=1.5, linestyle="", label=name, zorder=5)  # fmt: skip
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    axes.set_xlabel("valence (unpleasant to pleasant)")
    axes.set_ylabel("arousal (calm to excited)")
    axes.legend(title="true emotion: mean (images)", loc="center left", bbox_to_anchor=(1.01, 0.5),
                frameon=False, fontsize=10)  # fmt: skip
    axes.set_title(
        f"{title}\ndots: images, read out as the sum of p(emotion) times its place; "
        "filled: their mean; rings: the emotions",
        fontsize=10,
        wrap=True,
    )
    save_figure(figure, path)


def _reliability_panel(axes: Axes, counts: np.ndarray, means: np.ndarray) -> None:
    used = counts > 0
    centres = (np.arange(BINS) + 0.5) / BINS
    width = 0.94 / BINS
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1.2, label="ideal", zorder=5)
    axes.bar(centres[used], means[used, 1], width, color=_BAR, alpha=0.8, label="accuracy")
    confidence, accuracy = means[used].T
    axes.bar(centres[used], confidence - accuracy, width, bottom=accuracy, facecolor="none",
             edgecolor=_GAP, hatch="///", linewidth=0.8, label="gap to confidence")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.grid(True, alpha=0.3)
    axes.set_axisbelow(True)


def _count_panel(axes: Axes, counts: np.ndarray) -> None:
    centres = (np.arange(BINS) + 0.5) / BINS
    axes.bar(centres, counts, 0.94 / BINS, color="#999999")
    for centre, count in zip(centres, counts, strict=True):
        if count:
            axes.annotate(str(count), (centre, count), xytext=(0, 2), textcoords="offset points",
                          ha="center", va="bottom", fontsize=7, color="#333333")  # fmt: skip
    axes.margins(y=0.2)
    axes.spines[["top", "right"]].set_visible(False)
