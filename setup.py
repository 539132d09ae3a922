"""Builds the native part; all metadata is in pyproject.toml.

NEUROGAZE_BUILD_NATIVE=0 builds none of it, =cpu all but _C_cuda, =cuda that alone. Each extension
is optional: where it cannot be built, the package installs without it, says so in one line, and
runs on its Python counterpart.

    _io      pybind11, no torch              needs a C++ compiler
    _C       operators for the CPU           + torch (pip install --no-build-isolation)
    _C_cuda  the same operators for CUDA     + nvcc of torch's CUDA version

TORCH_CUDA_ARCH_LIST says for which GPUs; by default the one here, or all from Turing on.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup

LOST = {
    "neurogaze_fast._io": "fer2013.csv is read by the slower Python reader",
    "neurogaze_fast._C": "operators run in plain torch, more slowly",
    "neurogaze_fast._C_cuda": "operators on a GPU run in plain torch, more slowly",
}
"""What is lost without each extension; the key is the extension's name."""

TORCH_TARGET = "0x020b000000000000"  # stable ABI of torch 2.11: one build serves it and later
ARCHITECTURES = "7.5;8.0;8.6;8.9;9.0;10.0;12.0+PTX"


def skip(name: str, why: str) -> None:
    """Say in one line that an extension is not built."""
    print(f"warning: {name} not built ({why}): {LOST[name]}.", file=sys.stderr)


def cuda_home() -> Path | None:
    """The toolkit's own folder: asked of nvcc, because the one on PATH may be a wrapper."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if folder := os.environ.get(variable):
            return Path(folder)
    if nvcc := shutil.which("nvcc"):
        command = [nvcc, "--dryrun", "-E", "-x", "cu", os.devnull]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if found := re.search(r"_HERE_=(.+)", said.stderr + said.stdout):
            return Path(found[1].strip()).parent
    return None


def nvcc_version(home: Path) -> str | None:
    """Such as "13.0", or None where nvcc does not run."""
    try:
        said = subprocess.run([home / "bin" / "nvcc", "--version"], capture_output=True, text=True)
    except OSError:
        return None
    found = re.search(r"release (\d+\.\d+)", said.stdout)
    return found[1] if found else None


def wanted() -> str:
    """What NEUROGAZE_BUILD_NATIVE asks for: "0" none, "cpu", "cuda", anything else all."""
    return os.environ.get("NEUROGAZE_BUILD_NATIVE", "1")


def extensions() -> list[Extension]:
    """The extensions to build."""
    if wanted() == "0":
        return []
    # No -march=native: a wheel runs on machines other than the one that built it; cpu/simd.h
    # chooses the instruction set at run time instead.
    io_flags = [] if os.name == "nt" else ["-O3", "-pthread"]
    reader = Pybind11Extension(
        "neurogaze_fast._io",
        ["csrc/io/fer_csv.cpp"],
        cxx_std=17,
        extra_compile_args=io_flags,
        extra_link_args=io_flags,
        optional=True,
    )
    return operators() if wanted() == "cuda" else [reader, *operators()]


def operators() -> list[Extension]:
    """_C and _C_cuda, as far as torch and nvcc allow."""
    if os.name == "nt":
        skip("neurogaze_fast._C", "the kernels need GCC's or Clang's vector types")
        return []
    home = cuda_home()
    if home is not None:
        os.environ["CUDA_HOME"] = str(home)  # before torch guesses it
    try:
        import torch
        from torch.utils.cpp_extension import CppExtension, CUDAExtension
    except ImportError:
        skip(
            "neurogaze_fast._C", "torch is not installed; pip install --no-build-isolation sees it"
        )
        return []
    common = ["-O3", f"-DTORCH_TARGET_VERSION={TORCH_TARGET}"]
    # Without errno and traps, loops with square roots and rounding vectorise.
    simd = ["-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
    quiet = ["-Wno-psabi", "-Wno-unknown-pragmas", "-g0"]
    headers = [str(path) for path in Path("csrc").glob("*/*.*h")]
    built: list[Extension] = []
    if wanted() != "cuda":
        built.append(
            CppExtension(
                "neurogaze_fast._C",
                sorted(str(path) for path in Path("csrc/cpu").glob("*.cpp")),
                include_dirs=[str(Path("csrc/common").resolve())],
                extra_compile_args={"cxx": [*common, *simd, *quiet]},
                depends=headers,
                py_limited_api=True,
                optional=True,
            )
        )
    if wanted() == "cpu":
        return built
    why = without_cuda(torch.version.cuda, home)
    if why:
        skip("neurogaze_fast._C_cuda", why)
        return built
    if not torch.cuda.is_available():
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES)
    nvcc = [*common, "-DUSE_CUDA", "--expt-relaxed-constexpr", "--threads=2"]
    built.append(
        CUDAExtension(
            "neurogaze_fast._C_cuda",
            sorted(str(path) for path in Path("csrc/cuda").glob("*.cu")),
            include_dirs=[str(Path(f"csrc/{part}").resolve()) for part in ("common", "cuda")],
            extra_compile_args={"cxx": [*common, *quiet], "nvcc": nvcc},
            depends=headers,
            py_limited_api=True,
            optional=True,
        )
    )
    return built


def without_cuda(torch_cuda: str | None, home: Path | None) -> str | None:
    """Why _C_cuda cannot be built, or None."""
    if torch_cuda is None:
        return "this torch was built without CUDA"
    found = None if home is None else nvcc_version(home)
    if found is None:
        return "nvcc was not found; set CUDA_HOME to the CUDA toolkit's folder"
    if found.partition(".")[0] != torch_cuda.partition(".")[0]:
        return f"nvcc is of CUDA {found}, torch of CUDA {torch_cuda}"
    return None


def build_command() -> type:
    """torch's build_ext where torch is, which runs nvcc and ninja; otherwise setuptools'."""
    try:
        from torch.utils.cpp_extension import BuildExtension as Base
    except ImportError:
        from setuptools.command.build_ext import build_ext as Base

    class OptionalBuildExt(Base):
        """Goes on without an extension that does not build."""

        def run(self) -> None:
            """Build; in the tree no older build stays of the extension that =cpu leaves out."""
            super().run()
            if wanted() == "cpu" and (self.inplace or self.editable_mode):
                for older in Path("neurogaze_fast").glob("_C_cuda.*"):
                    older.unlink()

        def build_extension(self, ext: Extension) -> None:
            """Build `ext`, or warn in one line and remove an older build of it from the tree."""
            try:
                super().build_extension(ext)
            except Exception as error:  # whatever a compiler, a linker or their absence may raise
                # The compiler's own words are printed above.
                skip(ext.name, textwrap.shorten(str(error), 120))
                # An editable install would otherwise go on loading what older source was built to.
                Path(self.get_ext_filename(ext.name)).unlink(missing_ok=True)

    return OptionalBuildExt


if {"egg_info", "dist_info"} & set(sys.argv):
    setup()  # pip asks for the metadata twice before it builds; torch is slow to import
else:
    found = extensions()  # first: it sets CUDA_HOME, which torch reads when its builder is imported
    setup(ext_modules=found, cmdclass={"build_ext": build_command()})
