"""What an ablation leaves behind: ablation.json, .html, .md, .tex and two pictures."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from neurogaze_fast.ablation.plan import PlannedRun, train_flags
from neurogaze_fast.ablation.planfile import Plan
from neurogaze_fast.ablation.plots import STYLE, plot_differences, plot_timeline
from neurogaze_fast.ablation.results import collect, paired
from neurogaze_fast.ablation.summary import summarise
from neurogaze_fast.ablation.tables import (
    ARM_HEAD,
    DIFFERENCE_HEAD,
    arm_rows,
    difference_rows,
    latex,
    markdown,
    notes,
)
from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.evaluation.html import page, picture, section, table_html
from neurogaze_fast.evaluation.report import SYNTHETIC, SYNTHETIC_BANK

TIMELINE, DIFFERENCES = "timeline.png", "differences.png"
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

    While there is no finished run of any arm, nothing is written and the result is empty.

    Args:
        left_out: arm (or arm/seed) -> why it was not run, or failed.
        planned: the runs that were asked for; those not done yet are named as such.
    """
    results = collect(out)
    if not results:
        return {}
    done = {r.arm for r in results}
    waiting = {run.arm: NOT_YET for run in planned if run.arm not in done and not run.done}
    summary = summarise(results, {**waiting, **left_out})
    _write(out / "ablation.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    _write(out / "ablation.md", markdown(summary))
    _write(out / "ablation.tex", latex(summary))
    if any(r.arm in STYLE for r in results):
        plot_timeline(results, out / TIMELINE)
    rows = [
        (f"{d['arm']} - {d['against']}", estimate)
        for d in summary["differences"]
        if (estimate := paired(results, d["arm"], d["against"], lambda r: r.score("macro_f1")))
    ]
    if rows:
        plot_differences(rows, out / DIFFERENCES, one_image=summary["one_image"] or 0.0)
    _write(out / "ablation.html", _html(out, summary, planned))
    return summary


def _html(out: Path, summary: dict[str, Any], planned: list[PlannedRun]) -> str:
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
    if summary["missing"]:
        missing = [[name, why] for name, why in summary["missing"].items()]
        body.append(section("Not run", table_html(("run", "why"), missing, labels=2)))
    body.append(
        section("Differences, points", table_html(DIFFERENCE_HEAD, difference_rows(summary)) + note)
    )
    for name, heading, caption in (
        (TIMELINE, "Timelines", "Mean over seeds by epoch; the band is from least to most."),
        (DIFFERENCES, "Differences of macro-F1", "Grey: what one image of the rarest emotion is."),
    ):
        if (out / name).exists():
            body.append(picture(out / name, heading, caption))
    commands = [
        [run.name, "python -m neurogaze_fast.train " + " ".join(train_flags(run.config))]
        for run in planned
    ]
    body.append(section("To repeat one run", table_html(("run", "command"), commands, labels=2)))
    return page("NeuroGaze ablation", body)


def _write(path: Path, text: str) -> None:
    atomic_write(path, text.encode("utf-8", errors="backslashreplace"))
