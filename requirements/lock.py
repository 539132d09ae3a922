"""Write the lock files beside this one: ``make lock`` (CPython 3.11 on Linux x86_64).

Each names every package that pip would install for one command of the Makefile, with the SHA-256
of the file it would take, so that an install is the same everywhere or fails. Versions that
constraints.txt names are taken from there, the rest are the newest that fit.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SETS = {
    "train": ("eeg",),
    "serve": ("eeg", "serve", "vision"),
    "test": ("eeg", "test"),
    "bench": ("eeg", "bench"),
    "docs": ("eeg", "docs"),
}
"""Extras of each lock file; all of them hold what the package needs to build and to run."""
BASE = "train"
"""The file that the others include."""
HEADER = "# By requirements/lock.py for CPython 3.11 on Linux x86_64; `make lock` makes it anew.\n"

Pins = dict[str, tuple[str, str]]


def resolve(extras: tuple[str, ...], constraints: str) -> Pins:
    """Name -> (version, SHA-256 of the file) of all that pip would install for these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], "wheel", f"{ROOT}[{','.join(extras)}]"]
    with tempfile.TemporaryDirectory() as folder:
        report, limits = Path(folder, "report.json"), Path(folder, "constraints.txt")
        limits.write_text(constraints)
        options = ("--quiet", "--dry-run", "--ignore-installed", "--no-build-isolation")
        command = [sys.executable, "-m", "pip", "install", *options, "--only-binary", ":all:"]
        subprocess.run(
            [*command, "--report", report, "-c", limits, *wanted],
            check=True,
            env=os.environ | {"NEUROGAZE_BUILD_NATIVE": "0"},
        )
        packages = json.loads(report.read_text())["install"]
    pins = {}
    for package in packages:
        if "dir_info" in package["download_info"]:
            continue  # this project
        name = package["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
        digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
        pins[name] = (package["metadata"]["version"], digest)
    return pins


def text(pins: Pins) -> str:
    """The lines of a lock file."""
    return "".join(
        f"{name}=={version} --hash=sha256:{digest}\n"
        for name, (version, digest) in sorted(pins.items())
    )


def main() -> None:
    """Resolve all sets together, then each within the versions found."""
    here = (platform.python_implementation(), sys.version_info[:2], sys.platform)
    if here != ("CPython", (3, 11), "linux") or platform.machine() != "x86_64":
        raise SystemExit("The lock files are for CPython 3.11 on Linux x86_64: run this there.")
    extras = tuple(dict.fromkeys(extra for names in SETS.values() for extra in names))
    everything = resolve(extras, (ROOT / "constraints.txt").read_text())
    limits = "".join(f"{name}=={version}\n" for name, (version, _) in everything.items())
    base = resolve(SETS[BASE], limits)
    (HERE / f"{BASE}.txt").write_text(HEADER + text(base))
    for name, names in SETS.items():
        if name != BASE:
            more = {k: v for k, v in resolve(names, limits).items() if k not in base}
            (HERE / f"{name}.txt").write_text(f"{HEADER}-r {BASE}.txt\n{text(more)}")


if __name__ == "__main__":
    main()
