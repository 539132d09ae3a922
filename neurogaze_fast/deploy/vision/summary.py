"""What predict found, on the terminal, when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurogaze_fast.console import counted, say

if TYPE_CHECKING:
    from rich.console import Console

    from neurogaze_fast.deploy.vision.files import Summary

NAMED = 10
"""Skipped files that are printed; all of them are in the JSON file."""


def print_summary(
    console: Console, summary: Summary, left_out: dict[str, int], where: Sequence[Path]
) -> None:
    """What was found, what was left out, and where the results lie."""
    for skipped in summary.skipped[:NAMED]:
        say(console, f"Left out: {skipped.path}: {skipped.reason}")
    if len(summary.skipped) > NAMED:
        say(console, f"Left out: {len(summary.skipped) - NAMED} more; the JSON file names them all")
    looked = summary.pictures + summary.frames
    each = f" ({1e3 * summary.seconds / looked:.1f} ms each)" if looked else ""
    say(
        console,
        f"{counted(summary.pictures, 'picture')} and {counted(summary.frames, 'video frame')}{each}"
        f": {counted(summary.faces, 'face')}, {summary.without_face} without a face",
    )
    if left_out["small"] or left_out["many"]:
        say(
            console,
            f"Not used: {counted(left_out['small'], 'face')} below --min-face, {left_out['many']} "
            "beyond --max-faces",
        )
    for label, count in summary.labels.most_common():
        say(console, f"{count:6d} {label}")
    for path in where:
        say(console, f"Written: {path}")
