"""The scorecard's tables: on the terminal, and between the markers of two documents.

A test fails where a document differs from the newest file of results.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"
BEGIN = "<!-- reliability table: written by python -m benchmarks.scorecard --readme -->"
END = "<!-- end of the reliability table -->"


def newest() -> Path:
    """The newest file of results."""
    return max(RESULTS.glob("*-cpu-scorecard.json"))


def outcome(entry: dict[str, Any]) -> str:
    """In a word or a reason."""
    if "not_run" in entry:
        return f"not run: {entry['not_run']}"
    if "broken" in entry:
        return f"broken: {entry['broken']}"
    return "passed" if entry["passed"] else "FAILED"


def cells(entry: dict[str, Any]) -> list[str]:
    """id, fault, n, failures, figure, canary, outcome."""
    found, canary = entry.get("found"), entry.get("canary")
    return [
        entry["id"],
        entry["fault"],
        f"{found['n']:,}" if found else "",
        f"{found['failures']:,}" if found else "",
        found["figure"] if found else "",
        canary["figure"] if canary else "",
        outcome(entry),
    ]


def table(result: dict[str, Any]) -> Table:
    """For the terminal."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(title=summary(result))
    for name in ("row", "fault", "n", "failures", "figure", "canary", "outcome"):
        drawn.add_column(name, justify="right" if name in ("n", "failures") else "left")
    for entry in result["rows"]:
        drawn.add_row(*map(escape, cells(entry)))
    return drawn


def summary(result: dict[str, Any]) -> str:
    """One sentence."""
    rows = result["rows"]
    ran = [entry for entry in rows if "found" in entry]
    faults = sum(entry["found"]["n"] for entry in ran)
    failures = sum(entry["found"]["failures"] for entry in ran)
    canaries = sum(
        entry["canary"]["failures"] >= entry["canary"]["needed"]
        for entry in ran
        if "canary" in entry
    )
    return (
        f"{len(rows)} fault classes, {faults:,} faults put in, {failures:,} not withstood; "
        f"{sum(entry['passed'] for entry in rows)} rows passed; {canaries} planted faults found"
    )


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in lines)


def short_table(result: dict[str, Any]) -> str:
    """What is put in, how often, and what came of it."""
    rows = []
    for entry in result["rows"]:
        name, fault, n, failures, _, _, said = cells(entry)
        rows.append([name, fault, n, failures if n else said, "yes" if entry["passed"] else "no"])
    return _markdown(["row", "fault", "n", "not withstood", "passed"], rows)


PEERS = ("torch.save", "torch.load", "safetensors")
"""What the figure of a canary begins with where the fault it plants is what others do."""


def peers_table(result: dict[str, Any]) -> str:
    """The same faults put into what people would use otherwise; that is those rows' canary."""
    rows = []
    for entry in result["rows"]:
        canary = entry.get("canary") or {"figure": ""}
        if canary["figure"].startswith(PEERS):
            rows.append([entry["id"], entry["fault"], entry["found"]["figure"], canary["figure"]])
    return _markdown(["row", "fault", "here", "elsewhere"], rows)


def results_page(result: dict[str, Any]) -> str:
    """For docs/results.md."""
    between = (
        "The same faults in what people use otherwise, with fewer of them: plain `torch.save` and "
        "`torch.load`, and `safetensors` without a hash beside it."
    )
    return "\n\n".join([short_table(result), between, peers_table(result)])


def long_table(result: dict[str, Any]) -> str:
    """For benchmarks/README.md: with the figures and what each canary showed."""
    rows = []
    for entry in result["rows"]:
        name, _, n, failures, figure, canary, said = cells(entry)
        rows.append([name, entry["expected"], n, failures, figure, canary, said,
                     f"{entry['seconds']:.0f}"])  # fmt: skip
    head = ["row", "expected", "n", "failures", "figure", "canary (planted fault)", "outcome", "s"]
    return _markdown(head, rows)


def said_of(result: dict[str, Any]) -> str:
    """Which run the table is of."""
    where = result["environment"]
    scale = "" if result["scale"] == 1 else f", {result['scale']:g} of the faults of a whole run"
    return (
        f"{summary(result)}. {result['date']}, {where['cpu']}, "
        f"{result['cores']} cores, no GPU, torch {where['torch']}, {result['seconds'] / 60:.0f} "
        f"minutes{scale}. No failure in n means at most 3/n at 95 %."
    )


DOCUMENTS = {
    ROOT / "docs/results.md": results_page,
    ROOT / "benchmarks/README.md": long_table,
}


def replaced(text: str, result: dict[str, Any], form: Any) -> str:
    """A document with the present table."""
    before, rest = text.split(BEGIN)
    parts = [BEGIN, said_of(result), form(result), END]
    return before + "\n\n".join(parts) + rest.split(END)[1]


def write_documents(result: dict[str, Any]) -> None:
    """Write the tables of every document."""
    for path, form in DOCUMENTS.items():
        path.write_text(replaced(path.read_text(), result, form))
