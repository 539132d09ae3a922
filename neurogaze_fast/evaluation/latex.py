"""The scores of metrics.json as one LaTeX table, made of nothing but that file."""

from __future__ import annotations

from typing import Any

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.metrics import FORMS, SUMMARY
from neurogaze_fast.evaluation.report import SYNTHETIC, SYNTHETIC_BANK, score_rows

_FORMS = {
    "8way": "8-way",
    "present_only": "present only",
    "present_only_labels": "present only, labels",
}
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: "\\" + sign for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "\n": " ",
        "\r": " ",
    }
)


def latex_table(metrics: dict[str, Any]) -> str:
    """A plain ``tabular`` of the scores in per cent, with 95 % intervals where metrics hold them.

    A row per split and form, with and without duplicates; a present-only form has a row where an
    emotion is absent. Comments above it name the model's and the data's hashes, and say where
    faces or prototypes were synthetic, which the table's last line repeats.

    Args:
        metrics: the object in metrics.json.

    Raises:
        DataError: metrics that do not say whether the data were synthetic, or hold no split.
    """
    lines = []
    for split, part, scores in score_rows(metrics):
        if scores is None:
            continue
        name = escape(f"{split}, {part}" if part else split)
        every = len(scores.get("present", EMOTIONS)) == len(EMOTIONS)
        for form in FORMS:
            if form not in scores or (every and form != "8way"):
                continue
            cells = [name, _FORMS[form], str(scores.get("n", ""))]
            bounds = scores[form].get("intervals", {})
            cells += [_cell(scores[form][s], bounds.get(s)) for s in SUMMARY]
            lines.append(" & ".join(cells) + r" \\")
    warnings = [SYNTHETIC] if metrics["synthetic"] else []
    warnings += [SYNTHETIC_BANK] if metrics.get("synthetic_bank") else []
    foot = [rf"\multicolumn{{6}}{{l}}{{\textbf{{{escape(text)}.}}}} \\" for text in warnings]
    data = metrics.get("data", {}).get("sha256")
    head = [
        "% Made of metrics.json; do not edit.",
        f"% model sha256 {_comment(metrics.get('model_sha256'))}",
        f"% data sha256 {_comment(data)}",
        *(f"% {text}." for text in warnings),
    ]
    return "\n".join(
        [
            *head,
            r"\begin{tabular}{llrrrr}",
            r"\hline",
            r"split & form & n & accuracy, \% & macro-F1, \% & balanced acc., \% \\",
            r"\hline",
            *lines,
            r"\hline",
            *foot,
            r"\end{tabular}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text in which no character means anything to LaTeX."""
    return text.translate(_ESCAPES)


def _cell(value: float, bounds: list[float] | None) -> str:
    text = f"{100 * value:.2f}"
    return f"{text} [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]" if bounds else text


def _comment(value: object) -> str:
    return "not recorded" if value is None else " ".join(str(value).split())
