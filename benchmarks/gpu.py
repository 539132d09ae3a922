"""Everything a GPU can say, a JSON file for each step: ``make gpu``, or a few steps at a time.

    benchmarks/gpu_suite.sh                                # builds, then all steps
    benchmarks/gpu_suite.sh tests operators                # builds, then these
    benchmarks/gpu_suite.sh ablation --data DIR --bank BANK
    python -m benchmarks.gpu --rehearse                    # every step on a CPU, at tiny sizes

A step that fails or is refused says so in its file and does not end the others. The files are
written to $OUT where that is set, otherwise to benchmarks/results (build/rehearsal in a rehearsal),
as <date>-<gpu>-<commit>-<step>.json. The ablation goes on where the last call stopped.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import signal
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
FERPLUS_ARMS = ("b0", "b1", "b2", "b3", "random", "shuffled")
LIMITS = {
    "tests": 300, "operators": 240, "training": 240, "loaders": 240, "latency": 420,
    "time-to-accuracy": 420, "ablation": 570, **dict.fromkeys(SANITIZERS, 60),
}  # fmt: skip
"""Seconds, so that one slow step leaves the others their turn; the steps in their order."""
TINY = {
    "operators": "512-512-f32 or 512-kl or 14-32-1000-zscore-f32 or batch and grey-1-48-f32",
    "training": "resnet18-32px",
    "loaders": "jpg-48",
    "latency": "48-resnet18-1",
}
"""What a rehearsal keeps of the benchmarks (-k)."""


def run(command, limit):
    """(exit code, or None at the limit; seconds; the end of both outputs)."""
    begin = time.monotonic()
    child = subprocess.Popen(
        command, cwd=ROOT, text=True, errors="replace", start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    code = None
    try:
        output, _ = child.communicate(timeout=limit)
        code = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGTERM)  # training saves what it has
        try:
            output, _ = child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
    return code, round(time.monotonic() - begin, 1), output


class Suite:
    """The steps, on this machine."""

    def __init__(self, given, folder):
        self.given, self.folder = given, Path(folder)
        self.tiny = given.rehearse

    def step(self, name):
        """What a step found, as JSON values."""
        limit = LIMITS[name]
        if name == "tests":
            return self.tests(limit)
        if name in SANITIZERS:
            return self.sanitizer(name, limit)
        if name == "time-to-accuracy":
            return self.time_to_accuracy(limit)
        if name == "ablation":
            return self.ablation(limit)
        files = {"operators": OPERATORS, "training": ["train"], "loaders": ["loader"]}
        return self.benchmarks(name, files.get(name, [name]), limit)

    def tests(self, limit):
        """Counts of the tests that need a GPU, and the names of those that failed."""
        report = self.folder / "tests.xml"
        what = ["tests/ops/test_library.py"] if self.tiny else ["-m", "gpu"]
        command = [sys.executable, "-m", "pytest", "-q", *what, f"--junitxml={report}"]
        code, taken, output = run(command, limit)
        result = finding(code, taken, output)
        if report.exists():
            root = ElementTree.parse(report).getroot()
            failed = [
                f"{case.get('classname')}::{case.get('name')}"
                for case in root.iter("testcase")
                if case.find("failure") is not None or case.find("error") is not None
            ]
            result |= {"tests": root.find("testsuite").get("tests"), "failed": failed}
        return result

    def benchmarks(self, name, files, limit):
        """extra_info of every case of some benchmarks, as far as they came."""
        report = self.folder / f"{name}.json"
        command = [sys.executable, "-m", "pytest", "-q"]
        command += [f"benchmarks/bench_{file}.py" for file in files]
        command += [f"--benchmark-json={report}", *(["-k", TINY[name]] if self.tiny else [])]
        code, taken, output = run(command, limit)
        rows = json.loads(report.read_text())["benchmarks"] if report.exists() else []
        rows = [{"name": row["fullname"], **row["extra_info"]} for row in rows]
        return finding(code, taken, output) | {"rows": rows}

    def sanitizer(self, tool, limit):
        """What compute-sanitizer counts over the operators' tests."""
        program = shutil.which("compute-sanitizer")
        if program is None:
            return {"refused": "compute-sanitizer is not on PATH"}
        command = [program, "--tool", tool, "--error-exitcode", "99", sys.executable, "-m"]
        command += ["pytest", "-q", "-x", "-m", "gpu", "tests/ops", "-k"]
        command += ["equals or exact or layout"]
        code, taken, output = run(command, limit)
        summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.+)", output)
        found = {"summary": summary[-1]} if summary else {"refused": output.strip()[-500:]}
        return finding(code, taken, output) | found

    def time_to_accuracy(self, limit):
        """See benchmarks/time_to_accuracy.py; on drawn faces in a rehearsal, for one epoch."""
        if self.given.data is None:
            return {"refused": "needs FERPlus: --data DIR"}
        report = self.folder / "time.json"
        command = [sys.executable, "-m", "benchmarks.time_to_accuracy", f"--json={report}"]
        command += ["--data", self.given.data]
        command += ["--seeds", "1", "--epochs", "1", "--size", "32"] if self.tiny else []
        result = finding(*run(command, limit))
        return result | (json.loads(report.read_text()) if report.exists() else {})

    def ablation(self, limit):
        """The arms of FERPLUS_ARMS at five seeds; the state lies in build/gpu-ablation."""
        if self.given.data is None:
            return {"refused": "needs FERPlus: --data DIR"}
        out = self.folder / "ablation" if self.tiny else ROOT / "build/gpu-ablation"
        command = [sys.executable, "-m", "neurogaze_fast.ablate", "--amp", "--out", str(out)]
        command += ["--data", self.given.data]
        command += ["--bank", self.given.bank] if self.given.bank else []
        if self.tiny:
            command += ["--seeds", "1", "--arms", "b0", "b3", "--epochs", "1", "--size", "32"]
            command += ["--start-size", "None"]
        else:
            command += ["--seeds", "5", "--arms", *FERPLUS_ARMS]
        result = finding(*run(command, limit))
        table = out / "ablation.json"
        return result | ({"ablation": json.loads(table.read_text())} if table.exists() else {})


def finding(code, taken, output):
    """What every step says."""
    lines = output.strip().splitlines()
    said = {"exit": code, "seconds": taken, "last line": (lines or [""])[-1][-300:]}
    if code != 0:
        said["output"] = output[-3000:]
    return said


def commit():
    """The commit measured, or "unknown" outside a repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", default=[], help=f"of {', '.join(LIMITS)}")
    parser.add_argument("--data", help="FERPlus, for time-to-accuracy and ablation")
    parser.add_argument("--bank", help="prototype bank of the ablation")
    parser.add_argument("--rehearse", action="store_true", help="tiny, with or without a GPU")
    given = parser.parse_args()
    if unknown := set(given.steps) - set(LIMITS):
        parser.error(f"there is no step {', '.join(sorted(unknown))}: choose of {list(LIMITS)}")
    if not torch.cuda.is_available() and not given.rehearse:
        raise SystemExit("No CUDA device is visible to torch: there is nothing to measure here.")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    about = {
        "gpu": gpu, "torch": torch.__version__, "cuda": torch.version.cuda, "commit": commit(),
        "date": datetime.date.today().isoformat(), "rehearsal": given.rehearse,
    }  # fmt: skip
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    usual = ROOT / ("build/rehearsal" if given.rehearse else "benchmarks/results")
    folder = Path(os.environ.get("OUT") or usual)
    folder.mkdir(parents=True, exist_ok=True)
    bad = []
    with tempfile.TemporaryDirectory() as temporary:
        suite = Suite(given, temporary)
        for name in given.steps or LIMITS:
            print(f"== {name}, at most {LIMITS[name]} s", flush=True)
            try:
                result = suite.step(name)
            except Exception as error:  # a step must not take the others with it
                result = {"exit": None, "output": f"{type(error).__name__}: {error}"}
            file = folder / f"{about['date']}-{slug}-{about['commit']}-{name}.json"
            file.write_text(json.dumps({"step": name, **about, **result}, indent=1) + "\n")
            said = {
                k: result[k] for k in ("exit", "seconds", "last line", "refused") if k in result
            }
            print(json.dumps(said), f"-> {file}", flush=True)
            if result.get("exit") != 0 and "refused" not in result:
                bad.append(name)
                print(result.get("output", ""), flush=True)
    if bad:
        raise SystemExit(f"These steps did not end well: {', '.join(bad)}.")


if __name__ == "__main__":
    main()
