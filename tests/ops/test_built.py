"""The operators' libraries are there wherever they can be built: without them most tests skip."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neurogaze_fast.ops import _library

COMPILERS = ("c++", "g++", "clang++")


def why_not_built():
    """Why the CPU library need not be there, or None."""
    for switch in ("NEUROGAZE_BUILD_NATIVE", "NEUROGAZE_NATIVE"):
        if os.environ.get(switch) == "0":
            return f"{switch}=0 asks for none"
    if sys.platform == "win32":
        return "the kernels need GCC or Clang"
    return None if any(map(shutil.which, COMPILERS)) else "there is no C++ compiler"


def why_no_cuda():
    """Why the CUDA library need not be there, or None."""
    if why := why_not_built():
        return why
    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    folders = (os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH"))
    found = [shutil.which("nvcc", path=Path(folder) / "bin") for folder in folders if folder]
    nvcc = next(filter(None, [*found, shutil.which("nvcc")]), None)
    if nvcc is None:
        return "there is no nvcc"
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    release = re.search(r"release (\d+)\.", said)
    wanted = torch.version.cuda.partition(".")[0]
    if release is None or release[1] != wanted:
        return f"nvcc is not of torch's CUDA {wanted}"
    return None


@pytest.mark.parametrize(("device", "why"), [("cpu", why_not_built), ("cuda", why_no_cuda)])
def test_the_library_is_built_where_it_can_be(device, why):
    if reason := why():
        pytest.skip(reason)
    loaded, detail = _library.status(device)
    assert loaded, f"{detail}. Run `python setup.py build_ext --inplace`."
