"""Source distribution -> wheel -> a clean environment that runs a native operator."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from neurogaze_fast.faces.synthetic import draw_faces

ROOT = Path(__file__).resolve().parents[1]
PARTS = (
    *(".ci", ".github", "benchmarks", "csrc", "docs", "neurogaze_fast", "requirements", "tests"),
)
MADE = ("*.so", "*.pyc", "__pycache__", ".*_cache", "node_modules")
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({folder!r}))"
USE = """
import json, torch, neurogaze_fast
from neurogaze_fast import ops, reference
from neurogaze_fast.faces.fer_csv import native_status
from neurogaze_fast.ops import _library
torch.manual_seed(0)
logits, targets, teacher = torch.randn(6, 8), torch.randn(6, 8).softmax(1), torch.randn(6, 8)
inputs = (logits, targets, torch.rand(8) + 1, teacher)
options = {"label_smoothing": 0.1, "kd": "kl", "temperature": 2.0}
found = [float(x) for x in ops.logit_loss(*inputs, **options)]
wanted = [float(x) for x in reference.logit_loss(*inputs, **options)]
print(json.dumps({"file": neurogaze_fast.__file__, "cpu": _library.status("cpu"),
                  "io": native_status(), "found": found, "wanted": wanted}))
"""


def repository():
    """Every file that belongs to the repository, relative to it."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        names = {Path(name) for name in listed.stdout.split("\0") if name}
    else:  # an unpacked source distribution
        names = {p.relative_to(ROOT) for part in PARTS for p in (ROOT / part).rglob("*")}
        names |= {p.relative_to(ROOT) for p in ROOT.glob("*")}
    made = (".pyc", ".so")
    return {n for n in names if (ROOT / n).is_file() and n.suffix not in made}


def python(*arguments, cwd, executable=sys.executable, **environment):
    """Output of a Python process that sees neither this checkout nor what it has installed."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=inherited | environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """An unpacked source distribution, made from a copy of the repository."""
    folder = tmp_path_factory.mktemp("source")
    tree = folder / "tree"
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns(*MADE))
    for path in ROOT.glob("*"):
        if path.is_file():
            shutil.copy(path, tree)
    code = BUILD.format(kind="sdist", folder=str(folder))
    python("-c", code, cwd=tree, NEUROGAZE_BUILD_NATIVE="0")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


def test_the_source_distribution_is_the_repository(source):
    hidden = {Path(".gitignore")}
    missing = {n for n in repository() - hidden if not (source / n).is_file()}
    assert not missing
    for kind in ("*.cu", "*.cuh", "*.h", "*.cpp"):
        assert list((source / "csrc").rglob(kind)), kind
    for name in repository() - hidden:
        assert (source / name).read_bytes() == (ROOT / name).read_bytes(), name


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="needs Linux and g++"
)
def test_its_wheel_runs_native_operators_in_a_clean_environment(source, tmp_path):
    # What -O3 costs is no business of this test: the build of the checkout has it.
    quick = tmp_path / "quick-g++"
    quick.write_text('#!/bin/sh\nexec g++ "$@" -O0\n')
    quick.chmod(0o755)
    code = BUILD.format(kind="wheel", folder=str(tmp_path))
    switches = {"CXX": str(quick), "CC": str(quick), "CUDA_HOME": str(tmp_path / "no-cuda")}
    switches |= {"NEUROGAZE_BUILD_NATIVE": "1", "MAX_JOBS": "2"}
    python("-c", code, cwd=source, **switches)
    (wheel,) = tmp_path.glob("*.whl")
    packaged = {n for n in repository() if n.parts[0] == "neurogaze_fast"}
    with zipfile.ZipFile(wheel) as file:
        names = {Path(name) for name in file.namelist() if ".dist-info/" not in name}
    built = {name for name in names if name.suffix == ".so"}
    assert names - built == packaged
    assert {name.name.partition(".")[0] for name in built} == {"_C", "_io"}

    venv.create(tmp_path / "clean", symlinks=True)
    clean = tmp_path / "clean" / "bin" / "python"
    # pip of here installs there; torch and the rest are seen by their folders. A .pth inside such a
    # folder has no effect, so neither has an editable install of this checkout.
    options = ("--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "-q")
    python("-m", "pip", "--python", str(clean), "install", *options, str(wheel), cwd=tmp_path)
    (packages,) = (tmp_path / "clean").glob("lib/python*/site-packages")
    folders = {sysconfig.get_paths()[name] for name in ("purelib", "platlib")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(folders)) + "\n")
    said = python("-c", USE, cwd=tmp_path, executable=clean, NEUROGAZE_NATIVE="1")
    found = json.loads(said.splitlines()[-1])
    assert Path(found["file"]).is_relative_to(packages)
    assert found["cpu"][0], found["cpu"]
    assert found["io"][0], found["io"]
    assert found["found"] == pytest.approx(found["wanted"], rel=1e-5)

    # And it answers for a picture, with the model that came in the wheel.
    Image.fromarray(draw_faces("train", 1)[0][0]).save(tmp_path / "face.png")
    words = ("-m", "neurogaze_fast", "predict", "face.png", "--no-detect", "--threads", "1")
    said = python(*words, cwd=tmp_path, executable=clean)
    assert "compact" in said
    header, row = (tmp_path / "predictions/results.csv").read_text().splitlines()
    assert header.startswith("source,")
    assert row.startswith("face.png,")
