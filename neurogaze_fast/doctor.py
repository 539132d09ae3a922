"""Say what this machine offers and what is missing: ``neurogaze-fast doctor``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from neurogaze_fast import __version__
from neurogaze_fast.machine import Finding, inspect_machine

_STYLES = {"ok": "green", "missing": "yellow", "broken": "bold red"}


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """Show what was found on this machine, what was not, why, and what to do."""

    json: bool = False
    """Print one JSON object instead of a table."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; exits with 1 where something is missing that nothing works without."""
    import tyro

    config = tyro.cli(DoctorConfig, args=argv, prog="neurogaze-fast doctor")
    findings = inspect_machine()
    unusable = [finding.name for finding in findings if finding.required and finding.status != "ok"]
    if config.json:
        rows = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"neurogaze_fast": __version__, "ok": not unusable, "findings": rows}))
    else:
        _show(findings, unusable)
    if unusable:
        raise SystemExit(1)


def _show(findings: Sequence[Finding], unusable: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = f"neurogaze_fast {__version__}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for heading in ("", "what"):
        table.add_column(heading, no_wrap=True)
    table.add_column("found, or why not and what to do", overflow="fold")
    for finding in findings:  # as Text, not markup: details hold square brackets
        detail = Text(finding.detail).append(f"\n{finding.advice}".rstrip(), style="dim")
        status = Text(finding.status, style=_STYLES[finding.status])
        table.add_row(status, Text(finding.name), detail)
    console = Console()
    console.print(table)
    if unusable:
        text = Text(f"Nothing works without: {', '.join(unusable)}.", style="bold red")
    else:
        text = Text("Everything required is here; what is missing is optional.")
    console.print(text)


if __name__ == "__main__":
    main()
