"""Everything a GPU can say, in one JSON file: ``make gpu``.

Tests, benchmarks of operators, training and loaders, and the CUDA sanitizers over the operators'
tests, in that order; a part that cannot run here says so in the file and does not stop the others.
Written to $OUT where that is set, otherwise to benchmarks/results, as <date>-<gpu>-<commit>.json.
"""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
OPERATORS = ("proto_geo_loss", "logit_loss", "topomap", "augment")
TESTS_S, OPERATORS_S, TRAINING_S, SANITIZER_S = 240, 240, 240, 60
"""Time limits, so that one slow part leaves the others their turn."""


def run(command, limit):
    """(exit code, or None at the limit; seconds; both outputs)."""
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, text=True, timeout=limit, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        code, output = None, said.decode(errors="replace") if isinstance(said, bytes) else said
    print(output[-4000:], flush=True)
    return code, round(time.monotonic() - begin, 1), output


def tests(folder):
    """Counts of the tests that need a GPU, and the names of those that failed."""
    report = folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}", "tests"]
    code, taken, output = run(command, TESTS_S)
    result = {"exit": code, "seconds": taken, "last line": output.strip().splitlines()[-1:]}
    if report.exists():
        cases = ElementTree.parse(report).getroot().iter("testcase")
        failed = [c.get("name") for c in cases if c.find("failure") is not None]
        result["failed"] = failed
    return result


def benchmarks(folder, names, limit):
    """extra_info of every case of some benchmarks."""
    report = folder / f"{names[0]}.json"
    files = [f"benchmarks/bench_{name}.py" for name in names]
    command = [sys.executable, "-m", "pytest", "-q", *files, f"--benchmark-json={report}"]
    code, taken, _ = run(command, limit)
    rows = json.loads(report.read_text())["benchmarks"] if report.exists() else []
    return {
        "exit": code,
        "seconds": taken,
        "rows": [{"name": row["fullname"], **row["extra_info"]} for row in rows],
    }


def sanitizer(tool):
    """What compute-sanitizer counts over the operators' tests on the GPU."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"refused": "compute-sanitizer is not on PATH"}
    command = [program, "--tool", tool, "--error-exitcode", "99", sys.executable, "-m", "pytest"]
    command += ["-q", "-x", "-m", "gpu", "tests/ops", "-k", "equals or exact or layout"]
    code, taken, output = run(command, SANITIZER_S)
    summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.+)", output)
    if not summary:
        return {"refused": output.strip()[-500:], "exit": code, "seconds": taken}
    return {"summary": summary[-1], "exit": code, "seconds": taken}


def commit():
    """The commit measured, or "unknown" outside a repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def main():
    if not torch.cuda.is_available():
        raise SystemExit("No CUDA device is visible to torch: there is nothing to measure here.")
    gpu = torch.cuda.get_device_name()
    result = {
        "gpu": gpu,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    folder = Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")
    target = folder / f"{result['date']}-{slug}-{result['commit']}.json"
    with tempfile.TemporaryDirectory() as temporary:
        parts = {
            "tests": lambda: tests(Path(temporary)),
            "operators": lambda: benchmarks(Path(temporary), OPERATORS, OPERATORS_S),
            "training": lambda: benchmarks(Path(temporary), ["train"], TRAINING_S),
            "loaders": lambda: benchmarks(Path(temporary), ["loader"], TRAINING_S),
        }
        parts |= {tool: (lambda tool=tool: sanitizer(tool)) for tool in SANITIZERS}
        for name, part in parts.items():
            result[name] = part()
            target.write_text(json.dumps(result, indent=1) + "\n")  # what is there, is safe
    print(f"written: {target}")


if __name__ == "__main__":
    main()
