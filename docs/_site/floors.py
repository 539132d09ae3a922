"""Draw docs/floors.svg, the rooms of the package and who imports whom, from the code.

python -m docs._site.floors        # a test fails where the drawing is older than the code
"""

from __future__ import annotations

import ast
import html
from pathlib import Path

from tests.test_layers import COMMANDS, FLOORS, PACKAGE, floor, imports

DRAWING = Path(__file__).resolve().parents[1] / "floors.svg"
WIDTH, ROOM, GAP, LEFT = 900, 34, 14, 250
"""Pixels: of the drawing, of a room's height, between rooms, and to the left of the rooms."""


def says(room: str) -> str:
    """First line of a room's docstring."""
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def edges() -> set[tuple[int, int]]:
    """(floor, floor below it that it imports from), rooms and commands alone."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        own = floor(".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)))
        below = {floor(module) for module, _ in imports(path)}
        found |= {(own, other) for other in below if 0 <= other < own}
    return found


def draw() -> str:
    """The drawing as SVG: a box for each floor, an arc for each import between two of them."""
    names = [*FLOORS, "commands"]
    step = ROOM + GAP
    height = step * (len(names) + 1) + GAP

    def top(number: int) -> int:
        return GAP + step * (len(names) - 1 - number)

    words = {name: says(name) for name in FLOORS}
    words["commands"] = "train, predict, serve and the others: parse, call, print"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        "<title>Rooms of neurogaze_fast; an arc is an import, always downwards</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for upper, lower in sorted(edges()):
        y0, y1 = top(upper) + ROOM // 2 - 4, top(lower) + ROOM // 2 + 4
        reach = LEFT - 20 - 24 * (upper - lower)
        parts.append(
            f'<path d="M{LEFT},{y0} C{reach},{y0} {reach},{y1} {LEFT},{y1}" fill="none" '
            f'stroke="hsl({upper * 36},60%,45%)" stroke-opacity="0.7"/>'
        )
    boxes = [(number, name, words[name], "#e8f0fe") for number, name in enumerate(names)]
    boxes.append((-1, "ground", "ops, reference, and the files beside the rooms", "#eeeeee"))
    for number, name, word, colour in boxes:
        y = top(number)
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH - LEFT - GAP}" height="{ROOM}" rx="4" '
            f'fill="{colour}" stroke="#555"/>'
        )
        parts.append(
            f'<text x="{LEFT + 10}" y="{y + 21}" fill="black"><tspan font-weight="bold">'
            f'{name}</tspan> <tspan font-size="11">{html.escape(word)}</tspan></text>'
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    assert COMMANDS  # drawn as one floor
    DRAWING.write_text(draw(), encoding="utf-8")
