"""What prepare eeg kept and left out, as tables."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table


def summary_tables(provenance: dict[str, Any]) -> list[Table]:
    """What was kept by source and, where there is any, what was left out by reason."""
    kept = Table("source", title="Kept")
    for heading in (
        "subjects",
        "trials",
        "rated trials",
        "windows",
        "rated windows",
        "no baseline",
    ):
        kept.add_column(heading, justify="right")
    for source, metadata in provenance["sources"].items():
        keys = ("trials", "labelled_trials", "windows", "labelled_windows", "windows_no_baseline")
        kept.add_row(source, str(len(metadata["subjects"])), *(str(metadata[key]) for key in keys))
    left = Table(title="Left out")
    left.add_column("count", justify="right")
    left.add_column("reason")
    left.add_column("such as")
    for reason, count in provenance["left_out"].items():
        examples = "; ".join(provenance["left_out_examples"][reason][:2])
        left.add_row(str(count), escape(reason), escape(examples))
    for reason, count in provenance["windows_left_out"].items():
        left.add_row(f"{count} windows", escape(reason), "")
    tables = [kept, left] if left.row_count else [kept]
    for file, found in provenance.get("stand_ins", {}).items():
        placed = Table("site", "electrode", title=f"Sites by place, {escape(file)}")
        for site, electrode in found.items():
            placed.add_row(site, escape(electrode))
        return [*tables, placed]  # of one file: the others have the same cap, or say so in the maps
    return tables
