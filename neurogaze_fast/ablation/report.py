"""What an ablation leaves behind: ablation.json, .html, .md, .tex and two pictures."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from neurogaze_fast.ablation.plan import PlannedRun, train_flags
from neurogaze_fast.ablation.planfile import Plan
from neurogaze_fast.ablation.plots import STYLE, plot_differences, plot_timeline
from neurogaze_fast.ablation.questions import whole_seeds
from neurogaze_fast.ablation.results import collect, contrast
from neurogaze_fast.ablation.summary import summarise
from neurogaze_fast.ablation.tables import (
    ARM_HEAD,
    DIFFERENCE_HEAD,
    arm_rows,
    difference_rows,
    latex,
    markdown,
    notes,
    question_head,
    question_rows,
)
from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.evaluation.html import page, picture, section, table_html
from neurogaze_fast.evaluation.report import SYNTHETIC, SYNTHETIC_BANK

TIMELINE, DIFFERENCES, ACCURACY = "timeline.png", "differences.png", "differences_accuracy.png"
NOT_YET = "not run yet"


def write_ablation(
    out: Path,
    *,
    left_out: dict[str, str],
    planned: list[PlannedRun],
    plan: Plan | None = None,
    mixed: bool = False,
) -> dict[str, Any]:
    """Write everything from the finished runs below `out`; return what is in ablation.json.

    While there is no finished run of any arm (with a plan: no seed that all arms have finished),
    nothing is written and the result is empty.

    Args:
        left_out: arm (or arm/seed) -> why it was not run, or failed.
        planned: the runs that were asked for; those not done yet are named as such.
        plan: what was asked before the runs; mixed: take runs that differ in code or machine.

    Raises:
        DataError: a result cannot be read, or the runs cannot stand in one table.
    """
    results = collect(out)
    if not results:
        return {}
    done = {r.arm for r in results}
    waiting = {run.arm: NOT_YET for run in planned if run.arm not in done and not run.done}
    if plan is not None:
        results = whole_seeds(results, plan)
        if not results:
            return {}
    summary = summarise(results, {**waiting, **left_out}, plan=plan, mixed=mixed)
    _write(out / "ablation.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    _write(out / "ablation.md", markdown(summary))
    _write(out / "ablation.tex", latex(summary))
    if any(r.arm in STYLE for r in results):
        plot_timeline(results, out / TIMELINE)
    rows = [
        (f"{d['arm']} - {d['against']}", estimate)
        for d in summary["differences"]
        if (estimate := contrast(results, d["arm"], d["against"], "macro_f1"))
    ]
    if rows:
        plot_differences(rows, out / DIFFERENCES, one_image=summary["one_image"] or 0.0)
    planned_rows = [
        (f"{d['arm']} - {d['against']}", estimate)
        for d in summary["differences"]
        if (estimate := contrast(results, d["arm"], d["against"], "accuracy"))
    ]
    if planned_rows:
        plot_differences(
            planned_rows, out / ACCURACY, score="accuracy", margin=summary["equivalence"]
        )
    _write(out / "ablation.html", _html(out, summary, planned, plan))
    return summary


def _html(out: Path, summary: dict[str, Any], planned: list[PlannedRun], plan: Plan | None) -> str:
    body = ["<h1>NeuroGaze ablation</h1>"]
    if summary["synthetic"]:
        body.append(f'<p class="synthetic" role="alert">{escape(SYNTHETIC)}.</p>')
    if summary["synthetic_bank"]:
        body.append(f'<p class="synthetic">{escape(SYNTHETIC_BANK)}.</p>')
    claims = [
        f"<h3>{escape(v['claim'])} {escape(v['verdict'])}</h3><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in v["because"])
        + "</ul>"
        for v in summary["claims"]
    ]
    body.append(section("The paper's claims", "".join(claims)))
    note = f'<p class="note">{escape(notes(summary))}</p>'
    body.append(section("Arms, per cent", table_html(ARM_HEAD, arm_rows(summary)) + note))
    if plan is not None:
        table = table_html(question_head(summary), question_rows(summary))
        text = f"<details><summary>the plan</summary><pre>{escape(plan.text)}</pre></details>"
        body.append(section("What was asked before the runs", table + note + text))
    if summary["missing"]:
        missing = [[name, why] for name, why in summary["missing"].items()]
        body.append(section("Not run", table_html(("run", "why"), missing, labels=2)))
    differences = table_html(DIFFERENCE_HEAD, difference_rows(summary)) + note
    heading = "Differences, points" + (", all that can be looked at" if plan is not None else "")
    body.append(section(heading, differences))
    for name, heading, caption in (
        (TIMELINE, "Timelines", "Mean over seeds by epoch; the band is from least to most."),
        (ACCURACY, "Differences of accuracy", "Dotted: what counts as small."),
        (DIFFERENCES, "Differences of macro-F1", "Grey: what one image of the rarest emotion is."),
    ):
        if (out / name).exists():
            body.append(picture(out / name, heading, caption))
    commands = [
        [run.name, "neurogaze-fast train " + " ".join(train_flags(run.config))] for run in planned
    ]
    body.append(section("To repeat one run", table_html(("run", "command"), commands, labels=2)))
    return page("NeuroGaze ablation", body)


def _write(path: Path, text: str) -> None:
    atomic_write(path, text.encode("utf-8", errors="backslashreplace"))
