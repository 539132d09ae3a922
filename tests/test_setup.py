"""setup.py builds what NEUROGAZE_BUILD_NATIVE asks for, and loads torch only for that."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
import torch
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parents[1]
NVCC = '#!/bin/sh\necho "Cuda compilation tools, release {release}, V{release}.1"\n'
CPU, CUDA = {"neurogaze_fast._io", "neurogaze_fast._C"}, {"neurogaze_fast._C_cuda"}


@pytest.fixture
def given(monkeypatch, tmp_path):
    """What setup.py hands to setuptools, by the switch and the command; there seems to be nvcc."""
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(NVCC.format(release=torch.version.cuda or "13.0"))
    nvcc.chmod(0o755)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(nvcc.parent.parent))
    for name in ("CUDA_HOME", "TORCH_CUDA_ARCH_LIST"):  # setup.py sets them: put back afterwards
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CUDA_PATH", str(nvcc.parent.parent))
    monkeypatch.chdir(ROOT)

    def run(asked, command="build_ext"):
        seen = {}
        monkeypatch.setattr(setuptools, "setup", lambda **said: seen.update(said))
        monkeypatch.setenv("NEUROGAZE_BUILD_NATIVE", asked)
        monkeypatch.setattr(sys, "argv", ["setup.py", command])
        runpy.run_path("setup.py")
        return seen

    return run


@pytest.mark.skipif(os.name == "nt", reason="the operators are not built there")
@pytest.mark.skipif(torch.version.cuda is None, reason="this torch was built without CUDA")
@pytest.mark.parametrize(
    ("asked", "names"), [("0", set()), ("cpu", CPU), ("cuda", CUDA), ("1", CPU | CUDA)]
)
def test_it_builds_what_is_asked_for(given, asked, names):
    assert {each.name for each in given(asked)["ext_modules"]} == names


@pytest.mark.parametrize("command", ["egg_info", "dist_info"])
def test_metadata_are_written_without_torch(command, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was loaded')\n")
    where = ["--output-dir", str(tmp_path)] if command == "dist_info" else ["-e", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "setup.py", command, *where],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("neurogaze_fast*")), done.stdout


@pytest.mark.parametrize(("asked", "stays"), [("cpu", False), ("0", True), ("1", True)])
def test_no_older_build_stays_of_what_is_left_out(given, monkeypatch, tmp_path, asked, stays):
    command = given(asked)["cmdclass"]["build_ext"](setuptools.Distribution())
    command.inplace, command.extensions = True, []
    older = tmp_path / "neurogaze_fast" / "_C_cuda.abi3.so"
    older.parent.mkdir()
    older.touch()
    monkeypatch.chdir(tmp_path)
    command.run()
    assert older.exists() == stays
