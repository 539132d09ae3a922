"""What prepare shards kept and left out, as tables."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table


def shard_tables(index: dict[str, Any]) -> list[Table]:
    """What was kept by split and, where there is any, what was left out by reason."""
    kept = Table("split", title="Kept")
    for heading in ("images", "shards", "MB"):
        kept.add_column(heading, justify="right")
    for split, metadata in index["splits"].items():
        size = sum(shard["bytes"] for shard in metadata["shards"])
        kept.add_row(
            split, str(metadata["rows"]), str(len(metadata["shards"])), f"{size / 1e6:.1f}"
        )
    left = Table("split", title="Left out")
    left.add_column("count", justify="right")
    left.add_column("reason")
    left.add_column("such as")
    for split, reasons in index["left_out"].items():
        for reason, count in reasons.items():
            names = [
                entry["name"]
                for entry in index["damaged"]
                if entry["split"] == split and entry["reason"].startswith(reason)
            ]
            left.add_row(split, str(count), escape(reason), escape("; ".join(names[:2])))
    return [kept, left] if left.row_count else [kept]
