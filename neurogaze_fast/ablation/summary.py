"""ablation.json: everything the tables, pictures and verdicts are made from."""

from __future__ import annotations

import math
from dataclasses import asdict
from operator import methodcaller
from typing import Any

from neurogaze_fast.ablation.arms import ARMS, comparisons
from neurogaze_fast.ablation.results import Estimate, RunResult, over_seeds, paired
from neurogaze_fast.ablation.verdicts import verdicts
from neurogaze_fast.evaluation.metrics import SUMMARY

RARE = ("disgust", "fear", "contempt")
"""Emotions whose few images decide macro-F1."""


def summarise(results: list[RunResult], missing: dict[str, str]) -> dict[str, Any]:
    """Means, spreads, differences and verdicts as one JSON object.

    Args:
        results: the finished runs.
        missing: arm, or run, that is not there -> why.

    Returns:
        ``{"arms": {arm: {"says", "seeds", "scores": {name: estimate}, "recall": {emotion: mean},
        "without_duplicates": {name: mean}, "seconds"}}, "differences": [{"arm", "against",
        name: estimate ...}], "claims": [{"claim", "verdict", "because"}], "one_image",
        "synthetic", "synthetic_bank", "missing"}``. An estimate is ``{"mean", "low", "high", "sd",
        "n"}`` in fractions; without an interval (one seed) the others are None.
    """
    names = {r.arm for r in results}
    differences = []
    for arm, against in comparisons(names):
        row: dict[str, Any] = {"arm": arm, "against": against}
        for score in SUMMARY:
            estimate = paired(results, arm, against, methodcaller("score", score))
            row[score] = None if estimate is None else _json(estimate)
        if row["macro_f1"] is not None:
            differences.append(row)
    valid = results[0].metrics["valid"]
    return {
        "arms": {arm: _arm(results, arm) for arm in ARMS if arm in names},
        "differences": differences,
        "claims": [asdict(verdict) for verdict in verdicts(results)],
        "images": valid["n"],
        "one_image": one_image(results),
        "vote_ceiling": valid.get("vote_ceiling"),
        "epochs": len(results[0].history),
        "selected": sorted({r.metrics["selected"]["by"] for r in results}),
        "synthetic": any(r.metrics["synthetic"] for r in results),
        "synthetic_bank": any(r.metrics.get("synthetic_bank") for r in results),
        "missing": missing,
    }


def one_image(results: list[RunResult]) -> float | None:
    """What one image of the rarest emotion is worth in macro-F1 (a fraction), on average.

    From the metrics' ``images_per_macro_f1_point``; None where a run does not hold it.
    """
    worth = []
    for result in results:
        per_point = result.metrics["valid"].get("images_per_macro_f1_point")
        if not per_point:
            return None
        worth.append(0.01 / min(v for v in per_point.values() if v))
    return sum(worth) / len(worth)


def _arm(results: list[RunResult], arm: str) -> dict[str, Any]:
    runs = [r for r in results if r.arm == arm]
    fresh = [r.metrics["valid"]["without_duplicates"] for r in runs]
    recalls = [r.metrics["valid"]["8way"]["recall"] for r in runs]
    scores = {name: over_seeds(runs, arm, methodcaller("score", name)) for name in SUMMARY}
    return {
        "says": ARMS[arm].says,
        "seeds": [r.seed for r in runs],
        "scores": {name: _json(e) for name, e in scores.items() if e is not None},
        "without_duplicates": None if None in fresh else {
            name: _mean([f["8way"][name] for f in fresh]) for name in SUMMARY
        },
        "recall": {e: _mean([recall[e] for recall in recalls]) for e in recalls[0]},
        "seconds": _mean([r.seconds for r in runs]),
    }  # fmt: skip


def _json(estimate: Estimate) -> dict[str, Any]:
    return {k: v if math.isfinite(v) else None for k, v in asdict(estimate).items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
