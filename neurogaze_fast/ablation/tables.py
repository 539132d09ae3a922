"""The ablation's tables, from ablation.json alone: for the terminal, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neurogaze_fast.ablation.questions import AFTERWARDS, LEVEL, PRIMARY, SECONDARY, verdict
from neurogaze_fast.ablation.statistics import CROSSED, SEEDS
from neurogaze_fast.ablation.summary import RARE
from neurogaze_fast.evaluation.metrics import SUMMARY

if TYPE_CHECKING:
    from rich.table import Table

ARM_HEAD = (
    *("arm", "seeds", "accuracy", "macro-F1", "balanced acc."),
    *("without duplicates", f"recall of {', '.join(RARE)}", "s a run"),
)
SCORE_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced acc.",
    "common_recall": "recall of the 5 common",
    "log_loss": "log-loss (0.01 nat)",
}
DIFFERENCE_HEAD = ("difference", "seeds", *SCORE_NAMES.values())
QUESTION_HEAD = (
    *("question", "score", "seeds", "difference", "over teachers", "p", "p, corrected"),
    *("p of 0.5 or more", "answer"),
)
NOT_RUN = "not run"
SMALL = "~"


def arm_rows(summary: dict[str, Any]) -> list[list[str]]:
    """A row for each arm, in per cent: mean and standard deviation over seeds, mean recalls."""
    rows = []
    for name, arm in summary["arms"].items():
        fresh = arm["without_duplicates"]
        rows.append(
            [
                f"{name}: {arm['says']}",
                str(len(arm["seeds"])),
                *(_with_sd(arm["scores"][score]) for score in SUMMARY),
                "" if fresh is None else " / ".join(f"{100 * fresh[s]:.2f}" for s in SUMMARY),
                " / ".join(f"{100 * arm['recall'][e]:.0f}" if e in arm["recall"] else "-"
                           for e in RARE),
                f"{arm['seconds']:.0f}",
            ]
        )  # fmt: skip
    blank = [""] * (len(ARM_HEAD) - 2)
    rows += [[name, NOT_RUN, *blank] for name in summary["missing"] if "/" not in name]
    return rows


def difference_rows(summary: dict[str, Any]) -> list[list[str]]:
    """A row for each pair, in points: mean and 95 % interval, with the marks of :func:`notes`."""
    return [
        [
            f"{row['arm']} - {row['against']}",
            str(row["macro_f1"]["n"]),
            *(_with_interval(row[score]) for score in SCORE_NAMES),
        ]
        for row in summary["differences"]
    ]


def question_rows(summary: dict[str, Any]) -> list[list[str]]:
    """A row for each question of the plan, the primary one first; none without a plan."""
    rows = []
    for wanted in (PRIMARY, SECONDARY):
        for row in summary["differences"]:
            for score, name in SCORE_NAMES.items():
                answer = row[score]
                if answer is None or answer["asked"] != wanted:
                    continue
                teachers = answer["over_teachers"]
                rows.append(
                    [
                        f"{row['arm']} - {row['against']}{' (primary)' * (wanted == PRIMARY)}",
                        name,
                        str(answer["n"]),
                        _with_interval(answer, star=False),
                        "" if teachers is None else _with_interval(teachers, star=False),
                        *(_p(answer[key]) for key in ("p", "p_corrected", "p_equivalent")),
                        verdict(answer, summary["equivalence"]),
                    ]
                )
    return rows


def ablation_table(summary: dict[str, Any]) -> Table:
    """Arms for the terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=f"per cent; {notes(summary)}")
    for place, name in enumerate(ARM_HEAD):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in arm_rows(summary):
        table.add_row(*row)
    return table


def markdown(summary: dict[str, Any]) -> str:
    """Both tables in Markdown, with the note below."""
    arms = markdown_table(ARM_HEAD, arm_rows(summary))
    differences = markdown_table(DIFFERENCE_HEAD, difference_rows(summary))
    planned = ""
    if rows := question_rows(summary):
        planned = f"{markdown_table(question_head(summary), rows)}\n\n"
    return f"{arms}\n\n{planned}{differences}\n\n{notes(summary)}\n"


def question_head(summary: dict[str, Any]) -> tuple[str, ...]:
    """The head above :func:`question_rows`."""
    return tuple(h.replace("0.5", f"{summary['equivalence']:g}") for h in QUESTION_HEAD)


def markdown_table(head: Sequence[str], rows: list[list[str]]) -> str:
    """A table; a bar inside a cell would end the cell, so it becomes a slash."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def latex(summary: dict[str, Any]) -> str:
    """The arms as one LaTeX tabular."""
    columns = "l" + "r" * 5
    lines = [
        f"% {'SYNTHETIC faces. ' if summary['synthetic'] else ''}{notes(summary)}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        r"arm & seeds & accuracy & macro-F1 & balanced acc. & s a run \\",
        r"\hline",
    ]
    for row in arm_rows(summary):
        cells = [row[0], *row[1:5], row[7]]
        text = " & ".join(cells).replace("%", r"\%").replace("_", r"\_")
        lines.append(text.replace(" ± ", r" $\pm$ ") + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def notes(summary: dict[str, Any]) -> str:
    """What has to be known to read the tables."""
    kept = "their last epoch" if summary["selected"] == ["last"] else "the epoch chosen on valid"
    text = (
        f"Valid, {summary['images']} images, 8-way; {summary['epochs']} epochs, runs scored at "
        f"{kept}; ± standard deviation over seeds."
    )
    text += _of_differences(summary)
    if summary["one_image"] is not None:
        text += (
            f" One image of the rarest emotion is {100 * summary['one_image']:.2f} points of "
            "macro-F1."
        )
    if summary["synthetic"]:
        text += " SYNTHETIC FACES: nothing here is about people."
    if summary["synthetic_bank"]:
        text += " SYNTHETIC BANK: it knows no true EEG."
    return text


def _of_differences(summary: dict[str, Any]) -> str:
    answers = [row[s] for row in summary["differences"] for s in SCORE_NAMES if row[s]]
    if not answers:
        return ""
    held = {answer["holds"] for answer in answers}
    text = " Differences are paired by seed, with 95 % intervals that hold "
    if held == {CROSSED}:
        text += "other seeds and other images (bootstrap crossed over both). "
    elif held == {SEEDS}:
        text += "other seeds on these very images (Student's t), and no other images. "
    else:
        text += "other seeds, and other images where a run kept its answers. "
    after = sum(answer["asked"] == AFTERWARDS and answer["p"] is not None for answer in answers)
    text += (
        f"* where p is below 0.05 after Holm's correction for {after} differences, {SMALL} where a "
        f"difference of {summary['equivalence']:g} points or more is ruled out (p below 0.05, two "
        "one-sided tests). Less log-loss is better."
    )
    if summary["banks"] > 1:
        text += f" Seeds took {summary['banks']} banks in turn."
    if plan := summary["plan"]:
        seeds = len(plan["whole_seeds"])
        text += (
            f" Planned before the runs ({plan['sha256'][:16]}): {plan['title']}; {seeds} of "
            f"{plan['seeds']} seeds are whole. Its questions are corrected by themselves; every "
            "other difference was looked at afterwards."
        )
    else:
        text += " Nothing was planned: all of this was looked at afterwards."
    if summary["core_hours"] is not None:
        text += f" {summary['core_hours']:.1f} core-hours of training and validation."
    if summary["mixed"]:
        text += f" MIXED RUNS, which differ in {'; '.join(summary['mixed'])}."
    geo = [arm["geo"] for name, arm in summary["arms"].items() if name == "b3" and arm["geo"]]
    if geo:
        text += (
            f" In b3, while D-Geo acts, its cap ({geo[0]['variance_cap']:.3g}) binds in "
            f"{100 * geo[0]['cap_binds']:.1f} % of batches and its margin in "
            f"{100 * geo[0]['margin_binds']:.1f} %."
        )
    return text


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.0001" if value < 1e-4 else f"{value:.2g}"


def _with_sd(estimate: dict[str, Any]) -> str:
    mean = f"{100 * estimate['mean']:.2f}"
    return mean if estimate["sd"] is None else f"{mean} ± {100 * estimate['sd']:.2f}"


def _with_interval(estimate: dict[str, Any] | None, *, star: bool = True) -> str:
    if estimate is None:
        return ""
    mean = f"{100 * estimate['mean']:+.2f}"
    if estimate["low"] is None:
        return f"{mean} (one seed)"
    marks = ""
    if star:
        marks = "*" * (estimate["p_corrected"] < LEVEL) + SMALL * (estimate["p_equivalent"] < LEVEL)
    return f"{mean}{marks} [{100 * estimate['low']:+.2f}, {100 * estimate['high']:+.2f}]"
