"""The pictures of a teacher: learning curves, and scores with intervals beside the baselines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neurogaze_fast.charts import history_column, line_chart, save_figure
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.teacher.scores import TARGETS
from neurogaze_fast.teacher.splits import TITLES

LOSS_STYLE = {
    "total": ("#000000", "o", "total (weighted sum)"),
    "mse": ("#0072B2", "s", "mean squared error"),
    "discordance": ("#D55E00", "^", "1 - CCC"),
    "consistency": ("#009E73", "D", "consistency of unlabelled views"),
}
SCORE_STYLE = {
    "ccc_valence": ("#0072B2", "o", "valence"),
    "ccc_arousal": ("#D55E00", "s", "arousal"),
}
MODEL_STYLE = {
    "teacher": ("#0072B2", "teacher"),
    "teacher_calibrated": ("#56B4E9", "teacher, calibrated"),
    "ridge": ("#E69F00", "ridge on band power"),
    "clip_mean": ("#CC79A7", "clip's mean by other people (no EEG)"),
    "mean": ("#999999", "training mean"),
}
_TITLES = {"ccc": "CCC (1 is perfect, 0 is chance)", "rmse": "RMSE (lower is better)", "r2": "R²"}


def plot_teacher_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw losses, CCC on the validation subjects, learning rate and throughput over the epochs.

    Args:
        history: one entry per epoch, as :class:`TeacherTrainer` keeps them; what an entry lacks
            is skipped.
        path: of the PNG.

    Raises:
        ConfigError: an empty history.
    """
    if not history:
        raise ConfigError("There are no epochs to plot: the history is empty.")
    epochs = np.array([entry["epoch"] for entry in history])
    figure = Figure(figsize=(11, 8), layout="constrained")
    losses, scores, rate, speed = figure.subplots(2, 2).flat
    for key, style in LOSS_STYLE.items():
        line_chart(losses, epochs, history_column(history, "train", key, positive=True), style)
    losses.set(title="Losses in training", ylim=(0, None))
    for key, style in SCORE_STYLE.items():
        line_chart(scores, epochs, history_column(history, "valid", key), style)
    scores.axhline(0, color="#888888", linewidth=0.8)
    scores.set(title="CCC on the validation subjects (chooses nothing)")
    line_chart(
        rate, epochs, history_column(history, "learning_rate"), ("#0072B2", "o", "learning rate")
    )
    rate.set(title="Learning rate", ylim=(0, None))
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2), useMathText=True)
    line_chart(
        speed, epochs, history_column(history, "windows_per_second"), ("#0072B2", "o", "windows")
    )
    speed.set(title="Training speed", ylabel="windows per second", ylim=(0, None))
    for axes in (losses, scores, rate, speed):
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (losses, scores):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=9, frameon=False)
    save_figure(figure, path)


def plot_scores(result: dict[str, Any], path: Path) -> None:
    """Draw the scores as bars with intervals: one row a split, the strictest first.

    Args:
        result: the content of scores.json: ``{"pooled": {"window" | "trial": {model: {target:
            {"ccc" | "rmse" | "r2": {"value", "low", "high"}}}}}, "folds", "bootstrap",
            "synthetic"}`` of people held out, and the same under "people_and_clips_out" and
            "clips_out" where these were scored. An undefined score has no bar.
        path: of the PNG.

    Raises:
        ConfigError: no pooled scores, because there were no folds.
    """
    rows = [(title, found["pooled"]["trial"]) for title, found in split_scores(result)]
    if not rows:
        raise ConfigError("There are no scores to plot: train the teacher with --folds.")
    if len(rows) == 1:
        rows.append((rows[0][0], split_scores(result)[0][1]["pooled"]["window"]))
        levels = ["trial", "window"]
    else:
        levels = ["trial"] * len(rows)
    figure = Figure(figsize=(12, 3.6 * len(rows) + 0.6), layout="constrained")
    grid = figure.subplots(len(rows), 3)
    for axes_row, (title, pooled), level in zip(grid, rows, levels, strict=True):
        for axes, measure in zip(axes_row, _TITLES, strict=True):
            _bars(axes, pooled, measure)
            axes.set_title(f"{_TITLES[measure]}, per {level}", fontsize=10)
        axes_row[0].set_ylabel(textwrap.fill(title, 34), fontsize=9)
    drawn: dict[str, Any] = {}
    for axes in grid.flat:
        handles, labels = axes.get_legend_handles_labels()
        drawn |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(drawn.values()), list(drawn), loc="outside lower center", ncols=5, frameon=False
    )
    _, lead = split_scores(result)[0]
    synthetic = "SYNTHETIC recordings. " if result["synthetic"] else ""
    unit = "subjects and films" if lead["bootstrap"].get("unit") == "subject x clip" else "subjects"
    figure.suptitle(
        f"{synthetic}Scored by teachers that never saw what is held out\n"
        f"{100 * lead['bootstrap']['interval']:.0f} % intervals over {unit} "
        f"({lead['bootstrap']['draws']} draws)",
        fontsize=11,
    )
    save_figure(figure, path)


def split_scores(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(what was held out, its part of scores.json) of each split that was scored."""
    parts = {
        "both": result.get("people_and_clips_out"),
        "people": result,
        "clips": result.get("clips_out"),
    }
    return [(TITLES[key], part) for key, part in parts.items() if part and part.get("pooled")]


def _bars(axes: Any, scores: dict[str, Any], measure: str) -> None:
    drawn = {model: style for model, style in MODEL_STYLE.items() if model in scores}
    width = 0.8 / len(drawn)
    for number, (model, (color, label)) in enumerate(drawn.items()):
        place = np.arange(len(TARGETS)) + (number - (len(drawn) - 1) / 2) * width
        triples = [scores[model][target][measure] for target in TARGETS]
        value, low, high = (
            np.array([np.nan if t[key] is None else t[key] for t in triples])
            for key in ("value", "low", "high")
        )
        # A bootstrap interval need not hold the value itself where people are few.
        whisker = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
        axes.bar(place, value, width, color=color, label=label)
        axes.errorbar(place, value, whisker, fmt="none", ecolor="#222222", capsize=3, linewidth=1)
    axes.axhline(0, color="#888888", linewidth=0.8)
    axes.set_xticks(range(len(TARGETS)), TARGETS)
    axes.grid(True, axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
