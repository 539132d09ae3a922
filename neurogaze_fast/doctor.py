"""Say what this machine offers and what is missing: ``python -m neurogaze_fast.doctor``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence

from neurogaze_fast import __version__
from neurogaze_fast.machine import Finding, inspect_machine

_LOOK = {"ok": ("ok", "green"), "missing": ("missing", "yellow"), "broken": ("BROKEN", "bold red")}


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """Show what was found on this machine, what was not, why, and what to do."""

    json: bool = False
    """Print one JSON object instead of a table."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; exits with 1 where something is missing that nothing works without."""
    config = _parse(argv)
    findings = inspect_machine()
    healthy = not unusable(findings)
    if config.json:
        rows = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"neurogaze_fast": __version__, "ok": healthy, "findings": rows}))
    else:
        _show(findings)
    if not healthy:
        raise SystemExit(1)


def unusable(findings: Sequence[Finding]) -> list[Finding]:
    """The required things that are missing or broken."""
    return [finding for finding in findings if finding.required and finding.status != "ok"]


def _parse(argv: Sequence[str] | None) -> DoctorConfig:
    try:
        import tyro
    except ImportError:  # one of the things to report, so do without it
        return DoctorConfig(json="--json" in (sys.argv[1:] if argv is None else argv))
    return tyro.cli(DoctorConfig, args=argv, prog="python -m neurogaze_fast.doctor")


def _show(findings: Sequence[Finding]) -> None:
    title = f"neurogaze_fast {__version__}"
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print(title)
        for finding in findings:
            print(f"{finding.status:8} {finding.name}: {finding.detail} {finding.advice}".rstrip())
        return
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found, or why not and what to do", overflow="fold")
    for finding in findings:
        # Text, not markup: details hold square brackets.
        detail = Text(finding.detail)
        if finding.advice:
            detail.append(f"\n{finding.advice}", style="dim")
        table.add_row(Text(*_LOOK[finding.status]), Text(finding.name), detail)
    console = Console()
    console.print(table)
    if bad := unusable(findings):
        names = ", ".join(finding.name for finding in bad)
        console.print(Text(f"Nothing works without: {names}.", style="bold red"))
    else:
        console.print(Text("Everything required is here; what is missing is optional."))


if __name__ == "__main__":
    main()
