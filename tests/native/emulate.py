"""Builds csrc/cuda/*.cu with g++ for the CPU, against the cuda_runtime.h in the folder emulation.

library = emulate.load(emulate.build(sources, "name"))
library.ng_emulated_launches()  # how many kernels have been launched so far
library.ng_emulated_shared_bytes()  # dynamic shared memory of a block of the last one
"""

import contextlib
import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EMULATION = Path(__file__).parent / "emulation"
COMPILER = shlex.split(os.environ.get("CXX", "g++"))
COMPILE = ["-std=c++20", "-O1", "-g1", "-fPIC", "-Wno-unknown-pragmas"]
# Two libraries in one process must not share their emulators' state.
COMPILE += ["-fvisibility=hidden", "-fno-gnu-unique", "-DTORCH_TARGET_VERSION=0x020b000000000000"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
# Sanitized loops are not vectorised in any case, and unoptimised they compile twice as fast.
SANITIZE += ["-O0"]


def available() -> str | None:
    """What is missing to build at all, or None."""
    if sys.platform != "linux":
        return "the emulator is written for Linux"
    return None if shutil.which(COMPILER[0]) else f"there is no C++ compiler named {COMPILER[0]}"


def sanitizers_available() -> str | None:
    """What is missing to build with `sanitize`, or None."""
    for library in ("asan", "ubsan"):
        if not _compilers(f"lib{library}.so").is_absolute():
            return f"{COMPILER[0]} has no lib{library}.so"
    return None


def sanitizer_environment() -> dict[str, str]:
    """Environment of a Python process that loads a library built with `sanitize`.

    Address sanitizer must be loaded first, and libstdc++ with it or it would miss what is thrown.
    """
    first = [str(_compilers(name).resolve()) for name in ("libasan.so", "libstdc++.so")]
    return os.environ | {"LD_PRELOAD": ":".join(first), "ASAN_OPTIONS": "detect_leaks=0"}


def build(
    sources: Iterable[Path],
    name: str,
    include: Iterable[Path] = (),
    sanitize: bool = False,
    extra: Iterable[str] = (),
    first: Path = EMULATION / "with_torch.h",
) -> Path:
    """A library with the operators that `sources` register, as lib`name`.so in a cache folder.

    `extra` are flags for the compiler, which win over those here. `first` is a header that every
    source sees before its own; it is compiled once for all sources with the same flags, which
    halves the time of a small one. Compiled again only where a source, the flags, or a header
    beside a source or in `include` changed. Raises RuntimeError with the compiler's words.
    """
    import torch

    include = [Path(folder) for folder in include]
    installed = Path(torch.__file__).parent
    flags = COMPILE + (SANITIZE if sanitize else [])
    flags += [f"-I{EMULATION}", "-isystem", str(installed / "include"), *extra]
    libraries = installed / "lib"
    link = ["-shared", "-Wl,--no-undefined", f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    link += (SANITIZE if sanitize else []) + ["-ltorch_cpu", "-ltorch"]
    about = [torch.__version__, _run([*COMPILER, "--version"], "the compiler's version")]

    command = [*COMPILER, *flags, "-x", "c++-header", str(first)]
    made_of = [*about, *command, *_texts([first, *_headers([EMULATION])])]
    precompiled = _cached(command, f"{first.name}.gch", made_of, f"{first.name} did not compile")

    def compile_one(source: Path) -> Path:
        folders = [EMULATION, source.parent, *include]
        command = [*COMPILER, *flags, *(f"-I{folder}" for folder in include)]
        command += ["-include", str(precompiled.with_suffix("")), "-x", "c++", "-c", str(source)]
        made_of = [*about, *command, *_texts([source, *_headers(folders)])]
        return _cached(command, f"{source.stem}.o", made_of, f"{source.name} did not compile")

    with ThreadPoolExecutor(2) as pool:
        objects = [str(path) for path in pool.map(compile_one, map(Path, sources))]
    command = [*COMPILER, *objects, *link]
    return _cached(command, f"lib{name}.so", command, f"lib{name}.so did not link")


def build_program(source: Path, defines: Iterable[str] = (), sanitize: bool = False) -> Path:
    """A program from one source that has a main() and needs no torch."""
    flags = COMPILE + (SANITIZE if sanitize else []) + [f"-I{EMULATION}"]
    flags += [f"-D{define}" for define in defines]
    command = [*COMPILER, *flags, "-x", "c++", str(source)]
    made_of = [*command, *_texts([source, *_headers([EMULATION])])]
    return _cached(command, source.stem, made_of, f"{source.name} did not compile")


def load(library: Path) -> ctypes.CDLL:
    """Register the library's operators with torch."""
    import torch

    torch.ops.load_library(str(library))
    handle = ctypes.CDLL(str(library))
    for about in (handle.ng_emulated_launches, handle.ng_emulated_shared_bytes):
        about.restype = ctypes.c_int64
    return handle


def _headers(folders: list[Path]) -> list[Path]:
    kinds = ("*.h", "*.hpp", "*.cuh", "*.inl")
    return sorted({file for folder in folders for kind in kinds for file in folder.glob(kind)})


def _texts(files: list[Path]) -> list[str]:
    return [file.read_text() for file in files]


def _compilers(library: str) -> Path:
    """Where the compiler finds a library of its own; just the name where it has none."""
    command = [*COMPILER, f"-print-file-name={library}"]
    return Path(_run(command, f"{COMPILER[0]} does not say where {library} is").strip())


def _run(command: list[str], failure: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{failure}:\n{' '.join(command)}\n{done.stderr}")
    return done.stdout


def cache() -> Path:
    """The folder that builds are kept in."""
    folder = Path(tempfile.gettempdir()) / f"neurogaze_emulated_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to somebody else: set TMPDIR to another folder")
    return folder


def _cached(command: list[str], name: str, made_of: list[str], failure: str) -> Path:
    """Where the output of `command` is, which is run unless it was before."""
    folder = cache()
    digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    output = folder / digest / name
    if not output.exists():
        output.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as made_here:  # others may build it meanwhile
            _run([*command, "-o", f"{made_here}/{name}"], failure)
            os.replace(f"{made_here}/{name}", output)
        _forget_old(folder)
    os.utime(output.parent)
    return output


def _forget_old(folder: Path, days: float = 14) -> None:
    """Remove builds that nothing has asked for: each change of a header leaves 100 MB behind."""
    before = time.time() - days * 86400
    for build in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process forgets it, too
            if build.stat().st_mtime < before:
                shutil.rmtree(build)
