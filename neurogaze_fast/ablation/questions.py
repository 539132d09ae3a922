"""Which differences were asked for before the runs, which are looked at afterwards, and answers.

Where there is a plan, its primary question stands alone, its secondary ones are corrected for
their number (Holm), and all other pairs and scores, corrected together, were looked at afterwards.
Without a plan all of them were.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from neurogaze_fast.ablation.arms import comparisons
from neurogaze_fast.ablation.planfile import Plan, PlannedContrast
from neurogaze_fast.ablation.results import RunResult, contrast, over_teachers
from neurogaze_fast.ablation.statistics import SCORES, Estimate, holm, seeds_for

EQUIVALENCE = 0.5
"""Points below which a difference is called small, where no plan says it."""
LEVEL = 0.05
PRIMARY, SECONDARY, AFTERWARDS = "primary", "secondary", "afterwards"


def whole_seeds(results: list[RunResult], plan: Plan) -> list[RunResult]:
    """The runs of the plan's arms in those seeds that all of them have finished."""
    mine = [r for r in results if r.arm in plan.arms and r.seed < plan.seeds]
    done = {seed: {r.arm for r in mine if r.seed == seed} for seed in {r.seed for r in mine}}
    return [r for r in mine if done[r.seed] == set(plan.arms)]


def answers(results: list[RunResult], plan: Plan | None) -> list[dict[str, Any]]:
    """A row for each pair of arms: ``{"arm", "against", score: answer, ...}``.

    An answer is an estimate with ``"p"``, ``"p_corrected"``, ``"p_equivalent"`` (of a difference of
    the margin or more), ``"asked"`` (primary, secondary, afterwards), ``"seeds_for_margin"`` (that
    would show a difference as large as the margin in four of five experiments), and
    ``"over_teachers"``: the estimate over the banks, or None.
    """
    margin = (EQUIVALENCE if plan is None else plan.equivalence) / 100
    asked = {} if plan is None else dict.fromkeys(plan.secondary, SECONDARY)
    if plan is not None:
        asked[plan.primary] = PRIMARY
    usual = comparisons({r.arm for r in results})
    pairs = list(dict.fromkeys([*usual, *((c.arm, c.against) for c in asked)]))
    found: dict[PlannedContrast, Estimate] = {}
    for arm, against in pairs:
        for score in SCORES:
            estimate = contrast(results, arm, against, score)
            if estimate is not None:
                found[PlannedContrast(arm, against, score)] = estimate
    corrected: dict[PlannedContrast, float] = {}
    for family in (PRIMARY, SECONDARY, AFTERWARDS):
        members = [c for c in found if asked.get(c, AFTERWARDS) == family]
        values = holm([found[c].p for c in members])
        corrected |= dict(zip(members, values, strict=True))
    rows = []
    for arm, against in pairs:
        row: dict[str, Any] = {"arm": arm, "against": against}
        for score in SCORES:
            question = PlannedContrast(arm, against, score)
            estimate = found.get(question)
            row[score] = None
            if estimate is None:
                continue
            teachers = over_teachers(results, arm, against, score)
            row[score] = plain(estimate) | {
                "p": _finite(estimate.p),
                "p_corrected": _finite(corrected[question]),
                "p_equivalent": _finite(estimate.p_equivalent(margin)),
                "asked": asked.get(question, AFTERWARDS),
                "seeds_for_margin": seeds_for(estimate, margin),
                "over_teachers": None if teachers is None else plain(teachers),
            }
        if row["macro_f1"] is not None:
            rows.append(row)
    return rows


def verdict(answer: dict[str, Any], margin: float) -> str:
    """What an answer shows: a difference, that it is smaller than the margin, both, or neither."""
    if answer["p"] is None:
        return "open: one seed shows nothing"
    shown = answer["p_corrected"] < LEVEL
    small = answer["p_equivalent"] < LEVEL
    if shown and small:
        return f"shown, and shown to be smaller than {margin:g}"
    if shown:
        return "shown"
    return f"shown to be smaller than {margin:g}" if small else "open"


def plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate for JSON; what is not finite becomes None."""
    return {k: v if isinstance(v, str) else _finite(v) for k, v in asdict(estimate).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
