"""ablation.json: everything the tables, pictures and verdicts are made from."""

from __future__ import annotations

from dataclasses import asdict
from operator import methodcaller
from typing import Any

from neurogaze_fast.ablation.arms import ARMS
from neurogaze_fast.ablation.identity import check_same
from neurogaze_fast.ablation.planfile import Plan
from neurogaze_fast.ablation.questions import EQUIVALENCE, answers, plain
from neurogaze_fast.ablation.results import RunResult, over_seeds
from neurogaze_fast.ablation.statistics import SCORES
from neurogaze_fast.ablation.verdicts import verdicts
from neurogaze_fast.evaluation.metrics import SUMMARY

RARE = ("disgust", "fear", "contempt")
"""Emotions whose few images decide macro-F1."""


def summarise(
    results: list[RunResult],
    missing: dict[str, str],
    *,
    plan: Plan | None = None,
    mixed: bool = False,
) -> dict[str, Any]:
    """Means, spreads, differences and verdicts as one JSON object.

    Args:
        results: the finished runs.
        missing: arm, or run, that is not there -> why.
        plan: written before the runs; `results` are then those of its whole seeds.
        mixed: take runs of different code, threads, machines or banks together, and say so.

    Returns:
        ``{"arms": {arm: {"says", "seeds", "scores": {name: estimate}, "recall": {emotion: mean},
        "without_duplicates": {name: mean}, "seconds", "geo"}}, "differences": [{"arm", "against",
        name: estimate ...}], "claims": [{"claim", "verdict", "because"}], "one_image", "synthetic",
        "synthetic_bank", "missing", "mixed", "banks", "plan"}``. An estimate is ``{"mean", "low",
        "high", "sd", "n", ...}`` in fractions (log-loss: nats); without an interval (one seed) the
        others are None. Those of ``differences``: see questions.py.

    Raises:
        DataError: the runs cannot stand in one table, and `mixed` does not allow it.
    """
    mixture = check_same(results, mixed=mixed)
    names = {r.arm for r in results}
    differences = answers(results, plan)
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
        "mixed": mixture,
        "banks": len({r.bank for r in results if r.bank}),
        "core_hours": _core_hours(results),
        "equivalence": EQUIVALENCE if plan is None else plan.equivalence,
        "plan": None if plan is None else _plan(plan, results),
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


def _core_hours(results: list[RunResult]) -> float | None:
    """Hours of all runs times their threads; None where a run does not say how many it had."""
    threads = [(r.fingerprint or {}).get("environment", {}).get("threads") for r in results]
    if None in threads:
        return None
    return sum(r.seconds * n for r, n in zip(results, threads, strict=True)) / 3600


def _plan(plan: Plan, results: list[RunResult]) -> dict[str, Any]:
    return {
        "title": plan.title,
        "sha256": plan.sha256,
        "stop": plan.stop,
        "seeds": plan.seeds,
        "whole_seeds": sorted({r.seed for r in results}),
    }


def _arm(results: list[RunResult], arm: str) -> dict[str, Any]:
    runs = [r for r in results if r.arm == arm]
    fresh = [r.metrics["valid"]["without_duplicates"] for r in runs]
    recalls = [r.metrics["valid"]["8way"]["recall"] for r in runs]
    scores = {name: over_seeds(runs, arm, methodcaller("score", name)) for name in SCORES}
    geo = [found for r in runs if (found := r.metrics.get("geo"))]
    return {
        "says": ARMS[arm].says,
        "seeds": [r.seed for r in runs],
        "scores": {
            name: plain(e) for name, e in scores.items() if e is not None and e.mean == e.mean
        },
        "without_duplicates": None if None in fresh else {
            name: _mean([f["8way"][name] for f in fresh]) for name in SUMMARY
        },
        "recall": {e: _mean([recall[e] for recall in recalls]) for e in recalls[0]},
        "seconds": _mean([r.seconds for r in runs]),
        "geo": {k: _mean([g[k] for g in geo]) for k in geo[0]} if geo else None,
    }  # fmt: skip


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
