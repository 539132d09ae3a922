"""A run on one page: report.html, and the same scores as a table for the terminal.

The page is one file without scripts or links: pictures are embedded, so it can be mailed, archived
and printed. Every string that comes from outside (names, paths, options) is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.groups import GROUP_HEAD, group_remark, group_rows
from neurogaze_fast.evaluation.html import (
    flatten,
    page,
    paragraphs,
    picture,
    section,
    table_html,
    values_html,
)
from neurogaze_fast.evaluation.metrics import FORMS, SUMMARY
from neurogaze_fast.evaluation.remarks import INTERVALS, remarks

if TYPE_CHECKING:
    from rich.table import Table

SYNTHETIC = (
    "SYNTHETIC FACES were used: these numbers show that it runs, and say nothing about people"
)
SYNTHETIC_BANK = "SYNTHETIC BANK: its prototypes were made up and know no EEG"

_FORM_NAMES = {
    "8way": "8-way",
    "present_only": "present only",
    "present_only_labels": "present only (labels)",
}
_SCORE_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
}
RULE_NAMES = {"majority": "majority rule", "ties_shared": "ties shared"}
Row = tuple[str, str, dict[str, Any] | None]  # split, part of it, scores (None: nothing left)
_FORM_NOTE = (
    "8-way: argmax over all eight emotions, macro-F1 over all eight (an absent one counts 0). "
    "Present only: argmax and averages over the emotions that occur in the split. Present only "
    "(labels): argmax over all eight, averages over those that occur. Both are shown where they "
    "differ from 8-way. Balanced accuracy: mean "
    "recall over the emotions that occur. Duplicates: images byte-equal to a training image. "
    "Vote ceiling: an oracle that knows each image's votes, scored on a new vote. Majority rule: "
    "single votes struck out, and only images whose winner holds more than half of the rest (the "
    "rule of most papers). Ties shared: an image with several first places counts as a part of "
    "each; everywhere else it belongs to the first in the list."
)
_PICTURES = (
    ("curves.png", "Learning curves", "Losses, valid scores, learning rate and speed by epoch."),
    ("confusion.png", "Confusion", "Per cent of each true class by predicted class, with counts."),
    (
        "reliability.png",
        "Calibration",
        "Accuracy against confidence, before and after temperature scaling, with counts.",
    ),
    (
        "circumplex.png",
        "Valence and arousal",
        "Where faces are read out to lie, by true emotion; means, and the emotions' places.",
    ),
    (
        "features.png",
        "Features",
        "What the classifier sees of each face, in two dimensions, by emotion and by cell.",
    ),
    (
        "geometry.png",
        "Geometry of the classes",
        "Cosines between class means, beside what the bank asks of them.",
    ),
    ("groups.png", "Groups", "Accuracy and error rates by group. See docs/groups.md."),
    ("bank.png", "Prototype bank", "EEG windows per valence/arousal cell, and the emotions."),
)


def write_report(
    run: Path,
    *,
    config: dict[str, Any],
    metrics: dict[str, Any],
    history: Sequence[dict[str, Any]],
    provenance: dict[str, Any],
    title: str | None = None,
) -> Path:
    """Write ``report.html`` into the folder of a run, or of a set it was scored on.

    The pictures are those found in `run`: the known ones with a caption each, any further
    ``*.png`` after them by name.

    Args:
        run: the folder.
        config: options of the run; nested objects become dotted names.
        metrics: ``{SPLIT: metrics.split_scores(...), ..., "synthetic": bool, "selected": {"epoch",
            "by", "on"}, "last": {SPLIT: ...}}``; `selected` and `last` may be missing. A split
            may hold ``"vote_ceiling": metrics.vote_ceiling(...)``, and ``"synthetic_bank"`` may
            say that the prototypes were made up.
        history: the entries :func:`plots.plot_curves` takes; may be empty.
        provenance: hashes and environment; nested objects become dotted names.
        title: of the page; by default made of the folder's name.

    Returns:
        The path of the page.

    Raises:
        DataError: metrics that do not say whether the data were synthetic, or hold no split.
    """
    rows = score_rows(metrics)
    title = title or f"NeuroGaze run {Path(run).resolve().name}"
    body = [f"<h1>{escape(title)}</h1>"]
    if metrics["synthetic"]:
        body.append(f'<p class="synthetic" role="alert">{escape(SYNTHETIC)}.</p>')
    if metrics.get("synthetic_bank"):
        body.append(f'<p class="synthetic">{escape(SYNTHETIC_BANK)}.</p>')
    notes = [_FORM_NOTE, INTERVALS, *remarks(metrics)]
    if history:
        seconds = sum(entry.get("seconds") or 0 for entry in history)
        notes.append(f"{len(history)} epochs took {seconds:,.1f} s.")
    body.append(section("Scores", _score_html(rows) + paragraphs(notes)))
    body.append(section("Recall by emotion", _recall_html(rows)))
    if grouped := metrics.get("groups"):
        table = table_html(GROUP_HEAD, group_rows(grouped))
        words = paragraphs([group_remark(grouped["column"], grouped)])
        body.append(section(f"By {grouped['column']}, per cent", table + words))
    body += [picture(path, heading, caption) for path, heading, caption in _pictures(Path(run))]
    if history:
        body.append(section("Epochs", _history_html(history)))
    body.append(section("Configuration", values_html(config)))
    body.append(section("Hashes and environment", values_html(provenance)))
    path = Path(run) / "report.html"
    # A file name may hold bytes that are no UTF-8: show them rather than fail after training.
    atomic_write(path, page(title, body).encode("utf-8", errors="backslashreplace"))
    return path


def score_table(metrics: dict[str, Any]) -> Table:
    """The scores in per cent, for the terminal.

    A row per split, with and without duplicates; a present-only column is there when it differs
    from 8-way in some row.

    Args:
        metrics: as for :func:`write_report`.

    Raises:
        DataError: as :func:`write_report`.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = score_rows(metrics)
    columns = [("8way", score) for score in SUMMARY]
    for form in FORMS[1:]:
        columns += [
            (form, score)
            for score in SUMMARY
            if any(s and form in s and s[form][score] != s["8way"][score] for _, _, s in rows)
        ]
    caption = Text(f"{SYNTHETIC}.\n" if metrics["synthetic"] else "", style="bold red")
    note = "; only: argmax over the present emotions; labels: averages over them"
    note = "per cent" + (note if len(columns) > len(SUMMARY) else "")
    caption.append(note, style="not bold default")
    table = Table(caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("split")
    table.add_column("n", justify="right", no_wrap=True)
    heads = {"8way": "8-way", "present_only": "only", "present_only_labels": "labels"}
    short = {"accuracy": "acc", "macro_f1": "F1", "balanced_accuracy": "bAcc"}
    for form, score in columns:
        table.add_column(f"{heads[form]}\n{short[score]}", justify="right", no_wrap=True)
    for split, part, scores in rows:
        scores = scores or {"n": 0}
        cells = [_percent(scores.get(form, {}).get(score)) for form, score in columns]
        table.add_row(Text(f"  {part}" if part else split), str(scores.get("n", "")), *cells)
    return table


def score_rows(metrics: dict[str, Any]) -> list[Row]:
    """Every split, itself, without duplicates, by other rules, and the ceilings of the votes.

    Raises:
        DataError: metrics that do not say whether the data were synthetic, or hold no split.
    """
    if not isinstance(metrics.get("synthetic"), bool):
        raise DataError(
            "metrics must say whether the data were synthetic (true or false): without that a "
            "report could pass off made-up faces as a result."
        )
    splits = {k: v for k, v in metrics.items() if isinstance(v, dict) and "8way" in v}
    if not splits:
        raise DataError("metrics holds no scored split, so there is nothing to report.")
    splits |= {f"{name} (last)": scores for name, scores in metrics.get("last", {}).items()}
    rows: list[Row] = []
    for name, scores in splits.items():
        rows.append((name, "", scores))
        rows.append((name, "no duplicates", scores["without_duplicates"]))
        if ceiling := scores.get("vote_ceiling"):
            rows.append((name, "vote ceiling", {"8way": ceiling}))
        for rule, scored in scores.get("rules", {}).items():
            if scored:
                rows.append((name, RULE_NAMES[rule], {"8way": scored, "n": scored["n"]}))
                ceiling = {"8way": scored["ceiling"]}
                rows.append((name, f"{RULE_NAMES[rule]}, ceiling", ceiling))
    return rows


def _percent(fraction: float | None, bounds: Sequence[float] | None = None) -> str:
    """Per cent, with its interval where there is one; the brackets stay on one line."""
    if fraction is None:
        return ""
    text = f"{100 * fraction:.2f}"
    return f"{text} [{100 * bounds[0]:.1f},\u00a0{100 * bounds[1]:.1f}]" if bounds else text


def _score_html(rows: Sequence[Row]) -> str:
    """A line per row, and one more for each form whose scores are others than 8-way's."""
    lines = []
    for split, part, scores in rows:
        name = f"{split}, {part}" if part else split
        if scores is None:
            lines.append([name, "none left, or not known which they are", "0", "", "", ""])
            continue
        for form in (form for form in FORMS if form in scores):
            same = all(scores[form][score] == scores["8way"][score] for score in SUMMARY)
            if form != "8way" and same:
                continue
            label = _FORM_NAMES[form]
            if form != "8way":
                label += f", {len(scores['present'])} of {len(EMOTIONS)}"
            bounds = scores[form].get("intervals", {})
            numbers = [_percent(scores[form][score], bounds.get(score)) for score in SUMMARY]
            lines.append([name, label, str(scores.get("n", "")), *numbers])
    head = ["split", "form", "n", *(f"{_SCORE_NAMES[score]}, %" for score in SUMMARY)]
    return table_html(head, lines, labels=2)


def _recall_html(rows: Sequence[Row]) -> str:
    """Recall of each emotion in per cent, 8-way and, where it differs, present-only."""
    lines = []
    for split, part, scores in rows:
        if scores is None or "recall" not in scores["8way"]:
            continue
        if counts := scores.get("n_by_emotion"):
            numbers = [str(counts.get(emotion, 0)) for emotion in EMOTIONS]
            lines.append([f"{split}, {part}" if part else split, "images", *numbers])
        for form in ("8way", "present_only"):
            recall = scores[form]["recall"]
            bounds = scores[form].get("recall_intervals", {})
            cells = [
                _percent(recall[e], bounds.get(e)) if e in recall else "absent" for e in EMOTIONS
            ]
            if form == "8way" or recall != scores["8way"]["recall"]:
                lines.append([f"{split}, {part}" if part else split, _FORM_NAMES[form], *cells])
    return table_html(["split", "form", *EMOTIONS], lines, labels=2)


def _history_html(history: Sequence[dict[str, Any]]) -> str:
    """Every number of every epoch, folded away: the learning curves as text."""
    flat = [dict(flatten(entry)) for entry in history]
    head = list(dict.fromkeys(name for entry in flat for name in entry))
    values = [[entry.get(name, "") for name in head] for entry in flat]
    rows = [[f"{v:.5g}" if isinstance(v, float) else str(v) for v in row] for row in values]
    return f"<details><summary>as a table</summary>\n{table_html(head, rows)}\n</details>"


def _pictures(run: Path) -> Iterator[tuple[Path, str, str]]:
    """The pictures of the run that exist: the known ones in order, then the others by name."""
    known = {name for name, _, _ in _PICTURES}
    for name, heading, caption in _PICTURES:
        if (run / name).is_file():
            yield run / name, heading, caption
    others = (path for path in sorted(run.glob("*.png")) if path.name not in known)
    yield from ((path, path.stem.replace("_", " "), path.name) for path in others)
