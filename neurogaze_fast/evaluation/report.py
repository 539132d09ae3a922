"""A run on one page: report.html, and the same scores as a table for the terminal.

The page is one file without scripts or links: pictures are embedded, so it can be mailed, archived
and printed. Every string that comes from outside (names, paths, options) is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError
from neurogaze_fast.evaluation.metrics import FORMS, SUMMARY

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
_Row = tuple[str, str, dict[str, Any] | None]  # split, part of it, scores (None: nothing left)
_FORM_NOTE = (
    "8-way: argmax over all eight emotions, macro-F1 over all eight (an absent one counts 0). "
    "Present only: argmax and averages over the emotions that occur in the split. Present only "
    "(labels): argmax over all eight, averages over those that occur. Balanced accuracy: mean "
    "recall over the emotions that occur. Duplicates: images byte-equal to a training image. "
    "Vote ceiling: an oracle that knows each image's votes, scored on a new vote."
)
_PICTURES = (
    ("curves.png", "Learning curves", "Losses, valid scores, learning rate and speed by epoch."),
    ("confusion.png", "Confusion", "Per cent of each true class by predicted class, with counts."),
    ("bank.png", "Prototype bank", "EEG windows per valence/arousal cell, and the emotions."),
)
_STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --page: #fff; --line: #ccc; --soft: #f3f3f3; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --page: #161616; --line: #444; --soft: #232323; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: left;
  vertical-align: top; }
thead th { background: var(--soft); } tbody th { font-weight: normal; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
table.values td { font-family: ui-monospace, monospace; font-size: .85rem;
  overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); }
figure { margin: 0; } figcaption, .note { font-size: .87rem; opacity: .85; }
.synthetic { background: #b30000; color: #fff; font-weight: bold; font-size: 1.15rem;
  padding: .9rem 1.1rem; border: 3px solid #ffd000; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
@media print { :root { --text: #000; --page: #fff; --line: #999; --soft: #eee; }
  body { max-width: none; margin: 0; font-size: 11px; } .scroll { overflow: visible; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def write_report(
    run: Path,
    *,
    config: dict[str, Any],
    metrics: dict[str, Any],
    history: Sequence[dict[str, Any]],
    provenance: dict[str, Any],
) -> Path:
    """Write ``report.html`` into the folder of a run.

    The pictures are those found in `run`: curves.png, confusion.png and bank.png with a caption
    each, any further ``*.png`` after them by name.

    Args:
        run: folder of the run.
        config: options of the run; nested objects become dotted names.
        metrics: ``{SPLIT: metrics.split_scores(...), ..., "synthetic": bool, "selected": {"epoch",
            "by", "on"}, "last": {SPLIT: ...}}``; `selected` and `last` may be missing. A split
            may hold ``"vote_ceiling": metrics.vote_ceiling(...)``, and ``"synthetic_bank"`` may
            say that the prototypes were made up.
        history: the entries :func:`plots.plot_curves` takes; may be empty.
        provenance: hashes and environment; nested objects become dotted names.

    Returns:
        The path of the page.

    Raises:
        DataError: metrics that do not say whether the data were synthetic, or hold no split.
    """
    rows = _rows(metrics)
    title = f"NeuroGaze run {Path(run).resolve().name}"
    body = [f"<h1>{escape(title)}</h1>"]
    if metrics["synthetic"]:
        body.append(f'<p class="synthetic" role="alert">{escape(SYNTHETIC)}.</p>')
    if metrics.get("synthetic_bank"):
        body.append(f'<p class="synthetic">{escape(SYNTHETIC_BANK)}.</p>')
    body.append(_section("Scores", _score_html(rows) + _notes(metrics, history)))
    body.append(_section("Recall by emotion", _recall_html(rows)))
    body += [_picture(path, heading, caption) for path, heading, caption in _pictures(Path(run))]
    if history:
        body.append(_section("Epochs", _history_html(history)))
    body.append(_section("Configuration", _values_html(config)))
    body.append(_section("Hashes and environment", _values_html(provenance)))
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    path = Path(run) / "report.html"
    # A file name may hold bytes that are no UTF-8: show them rather than fail after training.
    atomic_write(path, page.encode("utf-8", errors="backslashreplace"))
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

    rows = _rows(metrics)
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


def _rows(metrics: dict[str, Any]) -> list[_Row]:
    """Every split, itself, without duplicates, and its vote ceiling where that was estimated."""
    if not isinstance(metrics.get("synthetic"), bool):
        raise DataError(
            "metrics must say whether the data were synthetic (true or false): without that a "
            "report could pass off made-up faces as a result."
        )
    splits = {k: v for k, v in metrics.items() if isinstance(v, dict) and "8way" in v}
    if not splits:
        raise DataError("metrics holds no scored split, so there is nothing to report.")
    splits |= {f"{name} (last)": scores for name, scores in metrics.get("last", {}).items()}
    rows: list[_Row] = []
    for name, scores in splits.items():
        rows.append((name, "", scores))
        rows.append((name, "no duplicates", scores["without_duplicates"]))
        if ceiling := scores.get("vote_ceiling"):
            rows.append((name, "vote ceiling", {"8way": ceiling}))
    return rows


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f}"


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>"


def _table_html(head: Sequence[str], rows: Iterable[Sequence[str]], labels: int = 1) -> str:
    """A table of text cells, all escaped here; the first `labels` columns are not numbers."""
    lines = ['<div class="scroll"><table>', "<thead><tr>"]
    lines += [f'<th scope="col">{escape(cell)}</th>' for cell in head]
    lines.append("</tr></thead>\n<tbody>")
    for row in rows:
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        cells += [f"<td>{escape(cell)}</td>" for cell in row[1:labels]]
        cells += [f'<td class="number">{escape(cell)}</td>' for cell in row[labels:]]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def _score_html(rows: Sequence[_Row]) -> str:
    """Three lines per row, one per form."""
    lines = []
    for split, part, scores in rows:
        name = f"{split}, {part}" if part else split
        if scores is None:
            lines.append(
                [name, "none left, or no training images to compare with", "0", "", "", ""]
            )
            continue
        for form in (form for form in FORMS if form in scores):
            label = _FORM_NAMES[form]
            if form != "8way":
                label += f", {len(scores['present'])} of {len(EMOTIONS)}"
            numbers = [_percent(scores[form][score]) for score in SUMMARY]
            lines.append([name, label, str(scores.get("n", "")), *numbers])
    head = ["split", "form", "n", *(f"{_SCORE_NAMES[score]}, %" for score in SUMMARY)]
    return _table_html(head, lines, labels=2)


def _recall_html(rows: Sequence[_Row]) -> str:
    """Recall of each emotion in per cent, 8-way and, where it differs, present-only."""
    lines = []
    for split, part, scores in rows:
        if scores is None or "recall" not in scores["8way"]:
            continue
        for form in ("8way", "present_only"):
            recall = scores[form]["recall"]
            cells = [_percent(recall[e]) if e in recall else "absent" for e in EMOTIONS]
            if form == "8way" or recall != scores["8way"]["recall"]:
                lines.append([f"{split}, {part}" if part else split, _FORM_NAMES[form], *cells])
    return _table_html(["split", "form", *EMOTIONS], lines, labels=2)


def _notes(metrics: dict[str, Any], history: Sequence[dict[str, Any]]) -> str:
    notes = [_FORM_NOTE]
    if selected := metrics.get("selected"):
        note = f"The weights are those of epoch {selected['epoch']}, "
        if selected["by"] == "last":
            notes.append(note + "the last: nothing was chosen on a scored split.")
        else:
            notes.append(
                f"{note}chosen by {selected['by']} on {selected['on']}: the scores on "
                f"{selected['on']} flatter the model a little for it."
            )
    if history:
        seconds = sum(entry.get("seconds") or 0 for entry in history)
        notes.append(f"{len(history)} epochs took {seconds:,.1f} s.")
    return "\n".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _history_html(history: Sequence[dict[str, Any]]) -> str:
    """Every number of every epoch, folded away: the learning curves as text."""
    flat = [dict(_flatten(entry)) for entry in history]
    head = list(dict.fromkeys(name for entry in flat for name in entry))
    values = [[entry.get(name, "") for name in head] for entry in flat]
    rows = [[f"{v:.5g}" if isinstance(v, float) else str(v) for v in row] for row in values]
    return f"<details><summary>as a table</summary>\n{_table_html(head, rows)}\n</details>"


def _values_html(values: dict[str, Any]) -> str:
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>\n'
        for name, value in _flatten(values)
    ]
    return f'<table class="values"><tbody>\n{"".join(rows)}</tbody></table>'


def _flatten(values: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, leaf) of a nested object; lists are leaves."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _pictures(run: Path) -> Iterator[tuple[Path, str, str]]:
    """The pictures of the run that exist: the known ones in order, then the others by name."""
    known = {name for name, _, _ in _PICTURES}
    for name, heading, caption in _PICTURES:
        if (run / name).is_file():
            yield run / name, heading, caption
    others = (path for path in sorted(run.glob("*.png")) if path.name not in known)
    yield from ((path, path.stem.replace("_", " "), path.name) for path in others)


def _picture(path: Path, heading: str, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(heading)}" src="data:image/png;base64,{data}">'
    note = f"<figcaption>{escape(caption)}</figcaption>"
    return _section(heading, f"<figure>{image}{note}</figure>")
