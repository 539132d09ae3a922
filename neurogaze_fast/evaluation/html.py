"""Pieces of a page: sections, tables and pictures as HTML. Every text is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --page: #fff; --line: #ccc; --soft: #f3f3f3; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --page: #161616; --line: #444; --soft: #232323; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
p, figure { max-width: 62rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: left;
  vertical-align: top; }
thead th { background: var(--soft); } tbody th { font-weight: normal; }
td.number { text-align: right; font-variant-numeric: tabular-nums; font-size: .87rem; }
td.number, thead th { padding: .25rem .45rem; }
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


def page(title: str, body: Sequence[str]) -> str:
    """A whole page of pieces that are HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def paragraphs(texts: Iterable[str]) -> str:
    """One small paragraph for each text."""
    return "\n".join(f'<p class="note">{escape(text)}</p>' for text in texts)


def section(heading: str, content: str) -> str:
    """A heading, and content that is HTML already."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>"


def table_html(head: Sequence[str], rows: Iterable[Sequence[str]], labels: int = 1) -> str:
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


def values_html(values: dict[str, Any]) -> str:
    """A table of (dotted name, value)."""
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>\n'
        for name, value in flatten(values)
    ]
    return f'<table class="values"><tbody>\n{"".join(rows)}</tbody></table>'


def flatten(values: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, leaf) of a nested object; lists are leaves."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def picture(path: Path, heading: str, caption: str) -> str:
    """A section with a PNG embedded."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(heading)}" src="data:image/png;base64,{data}">'
    note = f"<figcaption>{escape(caption)}</figcaption>"
    return section(heading, f"<figure>{image}{note}</figure>")
