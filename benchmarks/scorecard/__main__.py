"""Run the scorecard: put faults in, count what is not withstood, print a table, write a JSON file.

python -m benchmarks.scorecard                            # every row: under 40 minutes on two cores
python -m benchmarks.scorecard --rows R1 A1 --scale 0.1   # some rows, with a tenth of the faults
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scorecard.report import RESULTS, newest, table, write_documents
from benchmarks.scorecard.row import ROWS, load_rows, measure

ROW_LIMIT_S = 1500
"""A row that takes longer is ended and counts as broken."""


def run_apart(name: str, scale: float) -> dict[str, Any]:
    """Measure a row in a process of its own, which may even crash."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        command = [sys.executable, "-m", "benchmarks.scorecard", "--here", "--rows", name,
                   "--scale", str(scale), "--out", str(out)]  # fmt: skip
        log = Path(folder) / "log"
        with open(log, "wb") as said:
            try:
                code = subprocess.run(
                    command, timeout=ROW_LIMIT_S, stdout=said, stderr=subprocess.STDOUT
                ).returncode
                reason = f"its process ended with {code}"
            except subprocess.TimeoutExpired:
                reason = f"it took more than {ROW_LIMIT_S} s"
        if out.exists():
            entry = json.loads(out.read_text())["rows"][0]
            if "broken" in entry:
                print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
            return entry
        print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
    one, seconds = ROWS[name], round(time.monotonic() - started, 1)
    return {"id": name, "fault": one.fault, "expected": one.expected, "broken": reason,
            "passed": False, "seconds": seconds}  # fmt: skip


def run_here(name: str, scale: float) -> dict[str, Any]:
    """Measure a row in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(ROWS[name], Path(folder), scale)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scorecard", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="by default all of them")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the faults put in")
    parser.add_argument(
        "--out", type=Path, help=f"JSON file; by default {RESULTS.name}/<date>-cpu-scorecard.json"
    )
    parser.add_argument("--readme", action="store_true", help="only write the tables of READMEs")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.readme:
        write_documents(json.loads(newest().read_text()))
        return
    load_rows()
    names = given.rows or list(ROWS)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]}; there are {', '.join(ROWS)}")
    from rich.console import Console

    from neurogaze_fast.environment import environment

    console = Console()
    started, entries = time.monotonic(), []
    for name in names:
        entry = (run_here if given.here else run_apart)(name, given.scale)
        entries.append(entry)
        if not given.here:
            console.print(f"{name} {'passed' if entry['passed'] else 'not passed'}, "
                          f"{entry['seconds']:.0f} s", highlight=False)  # fmt: skip
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "scale": given.scale,
        "seconds": round(time.monotonic() - started, 1),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "environment": environment() | {"platform": f"{platform.system()} {platform.machine()}"},
        "rows": entries,
    }
    out = given.out or RESULTS / f"{result['date']}-cpu-scorecard.json"
    out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    if not given.here:
        console.print(table(result))
        console.print(f"Written: {out}", soft_wrap=True, highlight=False)
        raise SystemExit(any(not e["passed"] and "not_run" not in e for e in entries))


if __name__ == "__main__":
    main()
