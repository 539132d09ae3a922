"""What this machine offers: processor, GPU, compilers and packages, each found or with a reason.

Looking must never be the thing that fails, so every probe turns an exception into a finding.
Nothing here imports torch before it is asked to.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.environment import cpu_model, cpuinfo
from neurogaze_fast.packages import PACKAGES, Package, try_imports

_GIB = 1024**3
_CPU_FLAGS = frozenset(
    "avx2 fma avx512f avx512bw avx512_vnni avx512_bf16 amx_bf16 "  # x86
    "asimd asimddp bf16 i8mm sve".split()  # ARM
)


Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing looked for."""

    name: str
    status: Status
    """broken: it is there and does not work."""
    detail: str
    """Version and such; or why it is missing or broken."""
    advice: str = ""
    """What to do about it."""
    required: bool = False
    """Nothing works without it."""


class Lacking(Exception):
    """What a probe raises where something is missing or broken."""

    def __init__(self, detail: str, advice: str = "", status: Status = "missing") -> None:
        super().__init__(detail)
        self.detail, self.advice, self.status = detail, advice, status


def inspect_machine(packages: Sequence[Package] = PACKAGES) -> list[Finding]:
    """Look for everything; takes as long as importing the packages does. Never raises."""
    with ThreadPoolExecutor(1) as pool:
        imports = pool.submit(try_imports, [package.modules for package in packages])
        findings = [
            _probe("Python", lambda: f"{platform.python_version()} "
                   f"({platform.python_implementation()}), {sys.executable}", required=True),
            _probe("platform", lambda: f"{platform.platform()}, {platform.machine()}"),
            _probe("PyTorch", _torch, required=True),
            _probe("CPU", _cpu),
            _probe("CPU instructions", _instructions),
            _probe("memory", _memory),
            _probe("GPU", _gpu),
            _probe("nvcc", _nvcc),
            _probe("C++ compiler", _compiler),
            _probe("native csv reader", _native_reader),
            _probe("native operators, CPU", lambda: _operators("cpu")),
            _probe("native operators, CUDA", lambda: _operators("cuda")),
        ]  # fmt: skip
        answers = imports.result()
    for package in packages:
        look = functools.partial(_package, package, answers[package.modules])
        findings.append(_probe(package.name, look, required=package.required))
    return findings


def _probe(name: str, look: Callable[[], str], *, required: bool = False) -> Finding:
    try:
        return Finding(name, "ok", look(), required=required)
    except Lacking as why:
        return Finding(name, why.status, why.detail, why.advice, required)
    except Exception as error:  # a machine we did not foresee: say so and go on
        detail = " ".join(f"could not be determined: {type(error).__name__}: {error}".split())
        return Finding(name, "broken", detail, required=required)


def _version_of(program: str) -> tuple[int, str]:
    """(exit status, output and errors together) of ``PROGRAM --version``."""
    done = subprocess.run(
        [program, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=20, env={**os.environ, "LC_ALL": "C"}, errors="replace",
    )  # fmt: skip
    return done.returncode, done.stdout


def _torch() -> str:
    try:
        import torch
    except Exception as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        advice = "Install it as https://pytorch.org/get-started says for your machine."
        raise Lacking(
            " ".join(str(error).split()), advice, "missing" if absent else "broken"
        ) from None
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"


def _cpu() -> str:
    cores = usable_cores()
    detail = f"{cpu_model()}, {cores.allowed} of {cores.total} logical cores usable"
    if cores.quota is not None:
        detail += f", limited to the time of {cores.quota:g} for this container"
    return detail


def _instructions() -> str:
    present = (cpuinfo("flags") or cpuinfo("Features")).split()
    flags = ", ".join(flag for flag in present if flag in _CPU_FLAGS) or "flags unknown"
    try:
        import torch

        return f"torch uses {torch.backends.cpu.get_cpu_capability()}; {flags}"
    except ImportError:
        return flags


def _memory() -> str:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if ":" in line}
    free = kib.get("MemAvailable", kib.get("MemFree", 0))
    detail = f"{kib['MemTotal'] * 1024 / _GIB:.1f} GiB, {free * 1024 / _GIB:.1f} GiB available"
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        detail += f", limited to {int(text) / _GIB:.1f} GiB for this container"
    return detail


def _gpu() -> str:
    try:
        import torch
    except ImportError:
        raise Lacking("cannot be asked without PyTorch") from None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return "; ".join(
            f"{it.name} (SM {it.major}.{it.minor}, {it.total_memory / _GIB:.0f} GiB)"
            for it in found
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.version.cuda:
        why, advice = "this PyTorch is built without CUDA", "Install a CUDA build of PyTorch."
    elif visible is not None and visible.strip() in ("", "-1"):
        why = f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU"
        advice = "Unset CUDA_VISIBLE_DEVICES."
    elif sys.platform == "linux" and not Path("/proc/driver/nvidia/version").exists():
        why = "no NVIDIA driver is loaded"
        advice = "Install the driver, or pass the GPU to the container (docker run --gpus all)."
    else:
        said = "; ".join(" ".join(str(warning.message).split()) for warning in caught)
        why = said or "the driver is there, but shows no GPU"
        advice = "Compare the driver's CUDA version (nvidia-smi) with PyTorch's."
    raise Lacking(why, f"Everything runs on the CPU. {advice}")


def _nvcc() -> str:
    folders = filter(None, map(os.environ.get, ("CUDA_HOME", "CUDA_PATH")))
    found = [shutil.which("nvcc", path=os.path.join(folder, "bin")) for folder in folders]
    found += [shutil.which("nvcc"), shutil.which("nvcc", path="/usr/local/cuda/bin")]
    advice = "Needed only to build the CUDA operators: install the CUDA toolkit, or set CUDA_HOME."
    if not (nvcc := next(filter(None, found), None)):
        raise Lacking("not in CUDA_HOME, on PATH or in /usr/local/cuda", advice)
    status, text = _version_of(nvcc)
    release = re.search(r"release [\d.]+, V([\d.]+)", text)
    if status != 0 or not release:
        said = " ".join(text.split())[:200] or "nothing"
        raise Lacking(f"{nvcc} ended with {status} and said: {said}", advice, "broken")
    return f"{release[1]}, {nvcc}"


def _compiler() -> str:
    named = shlex.split(os.environ.get("CXX", ""))[:1]
    if path := next(filter(None, map(shutil.which, [*named, "c++", "g++", "clang++"])), None):
        return f"{(_version_of(path)[1].splitlines() or ['?'])[0]}, {path}"
    advice = "Needed only to build the native code: apt-get install g++, or xcode-select --install."
    raise Lacking("no c++, g++ or clang++ on PATH", advice)


def _native_reader() -> str:
    from neurogaze_fast.faces.fer_csv import native_status

    return _native(*native_status(), "a C++ compiler")


def _operators(device: str) -> str:
    import torch

    from neurogaze_fast.ops import _library

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the finding says it
        loaded, detail = _library.status(device)
    if device == "cuda" and not loaded and not torch.cuda.is_available():
        raise Lacking(detail, "Nothing is lost: they need a GPU, and none can be used here.")
    cuda = ", and nvcc of torch's CUDA version" if device == "cuda" else ""
    return _native(loaded, detail, f"a C++ compiler{cuda}")


def _native(loaded: bool, detail: str, needed: str) -> str:
    if not loaded:
        raise Lacking(
            detail,
            f"Reinstall with `pip install --no-build-isolation .` and {needed} at hand; until then "
            "plain Python or torch is used, slower.",
        )
    return detail or "loaded"


def _package(package: Package, answer: dict[str, str]) -> str:
    """`answer`: what importing it gave (:func:`packages.try_imports`)."""
    cuda = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None) or "13"
    install = package.install.format(cuda=cuda.split(".")[0])
    if not answer:
        raise Lacking("not installed", f"pip install {install} ({package.purpose})")
    if "error" in answer:
        why = f"does not work: {answer['error']}"
        raise Lacking(why, f"pip install --force-reinstall {install}", "broken")
    return answer["detail"]
