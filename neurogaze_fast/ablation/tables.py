"""The ablation's tables, from ablation.json alone: for the terminal, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neurogaze_fast.ablation.summary import RARE
from neurogaze_fast.evaluation.metrics import SUMMARY

if TYPE_CHECKING:
    from rich.table import Table

ARM_HEAD = (
    *("arm", "seeds", "accuracy", "macro-F1", "balanced acc."),
    *("without duplicates", f"recall of {', '.join(RARE)}", "s a run"),
)
DIFFERENCE_HEAD = ("difference", "seeds", "accuracy", "macro-F1", "balanced acc.")
NOT_RUN = "not run"


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
    """A row for each pair, in points: mean and 95 % interval; a star where it leaves 0 out."""
    return [
        [
            f"{row['arm']} - {row['against']}",
            str(row["macro_f1"]["n"]),
            *(_with_interval(row[score]) for score in SUMMARY),
        ]
        for row in summary["differences"]
    ]


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
    return f"{arms}\n\n{differences}\n\n{notes(summary)}\n"


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
    if summary["differences"]:
        text += (
            " Differences are paired by seed, with 95 % intervals (Student's t), * where 0 is left "
            f"out; none is corrected for their number ({len(summary['differences'])} pairs, three "
            "scores each): one in twenty is wrong by chance."
        )
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


def _with_sd(estimate: dict[str, Any]) -> str:
    mean = f"{100 * estimate['mean']:.2f}"
    return mean if estimate["sd"] is None else f"{mean} ± {100 * estimate['sd']:.2f}"


def _with_interval(estimate: dict[str, Any]) -> str:
    mean = f"{100 * estimate['mean']:+.2f}"
    if estimate["low"] is None:
        return f"{mean} (one seed)"
    star = "*" if estimate["low"] > 0 or estimate["high"] < 0 else ""
    return f"{mean}{star} [{100 * estimate['low']:+.2f}, {100 * estimate['high']:+.2f}]"
