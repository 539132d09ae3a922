"""P1: what is installed, what importing it reaches, and what is in a source distribution."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.scorecard.row import CannotRun, Counted, row

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {
    "torch": "2.10", "pillow": "12.2", "onnx": "1.21", "aiohttp": "3.14", "safetensors": "0.5",
}  # fmt: skip
"""Versions below which a published vulnerability in what this package calls is open."""
UNWANTED = ("python-multipart", "multipart", "dill")
"""Packages that parse forms or run pickles: nothing here needs them."""
SUFFIXES = {
    ".py", ".json", ".h", ".md", ".cpp", ".txt", ".cu", ".cuh", ".tar", ".safetensors", ".npz",
    ".npy", ".toml", ".sh", ".png", ".in", ".html", ".csv", ".gitattributes", ".cfg", "",
    ".yml", ".yaml", ".cff", ".css", ".js", ".mjs", ".svg", ".ipynb", ".pyi", ".typed", ".onnx",
}  # fmt: skip
"""Of a source distribution's files."""
MADE = re.compile(r"(PKG-INFO|setup\.cfg|neurogaze_fast\.egg-info/[A-Za-z_-]+(\.txt)?)")
"""What building one adds."""
_CONNECTED = re.compile(r"connect\(\d+, \{sa_family=(AF_INET6?)|sendto\(.*sa_family=(AF_INET6?)")
IMPORT = """
import importlib, pkgutil, sys
import neurogaze_fast
for module in pkgutil.walk_packages(neurogaze_fast.__path__, "neurogaze_fast."):
    try:
        importlib.import_module(module.name)
    except ImportError:
        pass  # what an extra brings
"""


def _copy(folder: Path) -> tuple[Path, set[str]]:
    """(a copy of what git tracks, as it stands here; its files)."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode or not listed.stdout:
        raise CannotRun("this is no git checkout: which files are the project's is not known")
    files = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    tree = folder / "tree"
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return tree, files


def _locks(tree: Path) -> Iterator[tuple[str, str | None]]:
    """Of each lock file: every line has a hash; it holds what is asked for; versions."""
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    from tests import test_requirements as lock

    usual, lock.ROOT = lock.ROOT, tree
    try:
        for name, extras in lock.EXTRAS.items():
            lines = (tree / "requirements" / f"{name}.txt").read_text().splitlines()
            for line in lines:
                fine = line.startswith(("#", "-r ")) or lock.LINE.fullmatch(line)
                yield f"{name}.txt", None if fine else f"no hash: {line[:80]}"
            pins = {}
            with contextlib.suppress(AssertionError):
                pins = lock.locked(name)
            for wanted in lock.asked(extras):
                version = pins.get(canonicalize_name(wanted.name))
                held = version and wanted.specifier.contains(version, prereleases=True)
                yield f"{name}.txt", None if held else f"{wanted} is not locked ({version})"
            for package, floor in FLOORS.items():
                old = package in pins and Version(pins[package]) < Version(floor)
                yield f"{name}.txt", f"{package} {pins[package]} < {floor}" if old else None
            for package in UNWANTED:
                yield f"{name}.txt", f"{package} is there" if package in pins else None
    finally:
        lock.ROOT = usual


def _installed() -> Iterator[tuple[str, str | None]]:
    """What is installed here is not below the floors."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.version import Version

    for package, floor in FLOORS.items():
        with contextlib.suppress(PackageNotFoundError):
            found = version(package)
            old = Version(found) < Version(floor)
            yield "installed", f"{package} {found} < {floor}" if old else None


def _reaches_out(tree: Path, folder: Path) -> Iterator[tuple[str, str | None]]:
    """Internet sockets that importing every module, and each command's help, connect."""
    if not shutil.which("strace"):
        raise CannotRun("strace is missing: what an import connects to cannot be seen")
    commands = sorted(
        path.stem for path in (tree / "neurogaze_fast").glob("*.py") if _is_command(path)
    )
    calls = {"importing every module": ["-c", IMPORT]}
    calls |= {f"{name} --help": ["-m", f"neurogaze_fast.{name}", "--help"] for name in commands}
    for number, (what, arguments) in enumerate(calls.items()):
        log = folder / f"trace-{number}"
        done = subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", log, sys.executable,
             *arguments],
            capture_output=True, text=True, cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree), "NEUROGAZE_NATIVE": "0"},
        )  # fmt: skip
        if done.returncode:
            yield what, f"ends with {done.returncode}: {done.stderr[-200:]}"
            continue
        reached = [line for line in log.read_text().splitlines() if _CONNECTED.search(line)]
        yield what, f"connects: {reached[0][:150]}" if reached else None


def _is_command(path: Path) -> bool:
    return 'if __name__ == "__main__"' in path.read_text()


def _distributions(tree: Path, files: set[str], folder: Path) -> Iterator[tuple[str, str | None]]:
    """A source distribution without a network, and two wheels."""
    offline = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*offline, "true"]).returncode:
        raise CannotRun("unshare -rn does not work here: nothing can be built without a network")

    def build(kind: str, to: Path) -> Path | None:
        to.mkdir()
        code = f"from setuptools import build_meta; build_meta.{kind}({str(to)!r})"
        environment = {"NEUROGAZE_BUILD_NATIVE": "0", "SOURCE_DATE_EPOCH": "1700000000"}
        done = subprocess.run(
            [*offline, sys.executable, "-c", code], capture_output=True, cwd=tree,
            env=os.environ | environment,
        )  # fmt: skip
        return None if done.returncode else next(to.iterdir())

    archive = build("build_sdist", folder / "sdist")
    yield "sdist", None if archive else "cannot be built without a network"
    if archive:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if not m.isdir()]
        for member in members:
            name = member.name.partition("/")[2]
            known = name in files or MADE.fullmatch(name)
            plain = member.isfile() and Path(name).suffix in SUFFIXES
            yield "sdist", None if known and plain else f"{name} does not belong there"
    wheels = []
    for number in range(2):
        shutil.rmtree(tree / "build", ignore_errors=True)
        wheel = build("build_wheel", folder / f"wheel{number}")
        wheels.append(wheel and hashlib.sha256(wheel.read_bytes()).hexdigest())
    same = wheels[0] is not None and wheels[0] == wheels[1]
    yield "wheel", None if same else f"two builds differ: {wheels}"


def _supplied(tree: Path, files: set[str], folder: Path) -> Counted:
    found = [
        *_locks(tree), *_installed(), *_reaches_out(tree, folder),
        *_distributions(tree, files, folder),
    ]  # fmt: skip
    wrong = [f"{what}: {text}" for what, text in found if text]
    kinds = [what for what, _ in found]
    pinned = sum(what.endswith(".txt") for what in kinds)
    figure = (
        f"{pinned} lines and demands of the lock files, {kinds.count('sdist')} files of a source "
        f"distribution, {sum('help' in what for what in kinds)} commands: {len(wrong)} wrong"
    )
    return Counted(len(found), len(wrong), figure, {"wrong": wrong[:100]})


def canary_p1(folder: Path) -> Counted:
    """A line without a hash, an old version, a module that connects, and a key among the tests."""
    tree, files = _copy(folder)
    lock = tree / "requirements" / "train.txt"
    text = re.sub(r"(?m)^pillow==\S+", "pillow==9.0.0", lock.read_text())
    lock.write_text(text)
    with open(tree / "requirements" / "serve.txt", "a") as file:
        file.write("anything==1.0\n")
    (tree / "neurogaze_fast" / "phones.py").write_text(
        "import socket\ns = socket.socket()\ns.connect_ex(('127.0.0.1', 9))\n"
    )
    (tree / "tests" / "key.pem").write_text("a key\n")
    counted = _supplied(tree, files, folder)
    wanted = ("no hash: anything", "pillow 9.0.0 <", "connects", "key.pem")
    seen = sum(any(one in text for text in counted.details["wrong"]) for one in wanted)
    figure = f"{seen} of {len(wanted)} planted faults seen"
    return Counted(len(wanted), seen, figure, counted.details, needed=len(wanted))


@row(
    "P1",
    "the lock files line by line, versions with known vulnerabilities, connections made by "
    "importing every module and by each command's help, and what is built without a network",
    "every line has its hash; no version below its floor; no connection; a source distribution of "
    "tracked files alone; the same wheel twice",
    canary_p1,
)
def p1(folder: Path, scale: float) -> Counted:
    """The same at every scale."""
    tree, files = _copy(folder)
    return _supplied(tree, files, folder)
