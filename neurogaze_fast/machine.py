"""What this machine offers: processor, GPU, compilers and packages, each found or with a reason.

Looking must never be the thing that fails, so every probe turns an exception into a finding.
Nothing here imports torch before it is asked to.
"""

from __future__ import annotations

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
from types import ModuleType
from typing import Any, Literal

from neurogaze_fast.packages import (
    PACKAGES,
    Package,
    installed_module,
    recorded_version,
    try_imports,
    wrong_torch,
)

_COMMAND_TIMEOUT_S = 20.0
_GIB = 1024**3
_X86_FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_bf16")
_ARM_FLAGS = ("asimd", "asimddp", "bf16", "i8mm", "sve")

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


def inspect_machine(packages: Sequence[Package] = PACKAGES) -> list[Finding]:
    """Look for everything; takes as long as importing torch does. Never raises."""
    installed = {package: installed_module(package) for package in packages}
    modules = [module for package, module in installed.items() if module and package.imported]
    with ThreadPoolExecutor(1) as pool:
        imports = pool.submit(try_imports, modules)
        torch, torch_finding = _import_torch()
        cuda = getattr(getattr(torch, "version", None), "cuda", None)
        findings = [
            _probe("Python", _python),
            _probe("platform", _platform),
            _probe("CPU", _cpu),
            _probe("CPU instructions", lambda: _instructions(torch)),
            _probe("memory", _memory),
            torch_finding,
            _probe("GPU", lambda: _gpu(torch)),
            _probe("nvcc", lambda: _nvcc(cuda)),
            _probe("C++ compiler", _compiler),
            _probe("native csv reader", _native),
            _probe("native operators, CPU", lambda: _operators("cpu")),
            _probe("native operators, CUDA", lambda: _operators("cuda")),
        ]
        answers = imports.result()
    for package, module in installed.items():
        answer = answers.get(module or "")
        findings.append(package_finding(package, module, answer, cuda))
    return findings


def _probe(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # a machine we did not foresee: say so and go on
        return Finding(name, "broken", f"could not be determined: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _run(command: Sequence[str]) -> tuple[int, str]:
    """(exit status, output and errors together) of a short command; C locale."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=_COMMAND_TIMEOUT_S, env={**os.environ, "LC_ALL": "C"}, errors="replace",
    )  # fmt: skip
    return done.returncode, done.stdout


def _python() -> Finding:
    detail = f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    return Finding("Python", "ok", detail, required=True)


def _platform() -> Finding:
    return Finding("platform", "ok", f"{platform.platform()}, {platform.machine()}")


def _cpuinfo(key: str) -> str:
    """First value of a key of /proc/cpuinfo, or nothing where there is no such file or key."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _cpu() -> Finding:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    model = _cpuinfo("model name") or platform.processor() or "unknown model"
    return Finding("CPU", "ok", f"{model}, {usable} of {total} logical cores usable")


def _instructions(torch: ModuleType | None) -> Finding:
    present = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    flags = ", ".join(flag for flag in _X86_FLAGS + _ARM_FLAGS if flag in present)
    level = torch.backends.cpu.get_cpu_capability() if torch else "unknown"
    return Finding("CPU instructions", "ok", f"torch uses {level}; {flags or 'flags unknown'}")


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return Finding("memory", "missing", "this system does not tell (no /proc/meminfo)")
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if ":" in line}
    free = kib.get("MemAvailable", kib.get("MemFree", 0))
    detail = f"{kib['MemTotal'] * 1024 / _GIB:.1f} GiB, {free * 1024 / _GIB:.1f} GiB available"
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        detail += f", limited to {int(text) / _GIB:.1f} GiB for this container"
    return Finding("memory", "ok", detail)


def _import_torch() -> tuple[ModuleType | None, Finding]:
    advice = "Install it as https://pytorch.org/get-started says for your machine."
    try:
        import torch

        cuda = torch.version.cuda
        build = f"built for CUDA {cuda}" if cuda else "built without CUDA"
        detail = f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"
        return torch, Finding("PyTorch", "ok", detail, required=True)
    except ModuleNotFoundError as error:
        status: Status = "missing" if error.name == "torch" else "broken"
        return None, Finding("PyTorch", status, _one_line(error), advice, required=True)
    except Exception as error:
        return None, Finding("PyTorch", "broken", _one_line(error), advice, required=True)


def _gpu(torch: ModuleType | None) -> Finding:
    if torch is None:
        return Finding("GPU", "missing", "cannot be asked without PyTorch")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        devices = []
        for index in range(torch.cuda.device_count()):
            it = torch.cuda.get_device_properties(index)
            memory = f"{it.total_memory / _GIB:.0f} GiB"
            devices.append(f"{it.name} (SM {it.major}.{it.minor}, {memory})")
        return Finding("GPU", "ok", "; ".join(devices))
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
    return Finding("GPU", "missing", why, f"Everything runs on the CPU. {advice}")


def _nvcc(torch_cuda: str | None) -> Finding:
    folders = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    found = [shutil.which("nvcc", path=os.path.join(f, "bin")) for f in folders if f]
    found += [shutil.which("nvcc"), shutil.which("nvcc", path="/usr/local/cuda/bin")]
    nvcc = next((path for path in found if path), None)
    advice = "Needed only to build the CUDA operators: install the CUDA toolkit, or set CUDA_HOME."
    if nvcc is None:
        return Finding("nvcc", "missing", "not in CUDA_HOME, on PATH or in /usr/local/cuda", advice)
    status, text = _run([nvcc, "--version"])
    release = re.search(r"release ([\d.]+), V([\d.]+)", text)
    if status != 0 or not release:
        said = " ".join(text.split())[:200] or "nothing"
        return Finding("nvcc", "broken", f"{nvcc} ended with {status} and said: {said}", advice)
    # The file found may be a wrapper: nvcc itself tells the folder of its toolkit.
    _, plan = _run([nvcc, "--dryrun", "-x", "cu", os.devnull, "-o", os.devnull])
    top = re.search(r"^#\$ TOP=(.+)$", plan, re.MULTILINE)
    toolkit = os.path.realpath(top[1].strip()) if top else os.path.dirname(os.path.dirname(nvcc))
    detail = f"{release[2]}, toolkit in {toolkit}"
    if not Path(nvcc).resolve().is_relative_to(toolkit):
        detail += f" (through {nvcc})"
    if torch_cuda and torch_cuda.split(".")[0] != release[1].split(".")[0]:
        return Finding("nvcc", "ok", detail, f"PyTorch is built for CUDA {torch_cuda}: the CUDA "
                       "operators need a toolkit of the same major version.")  # fmt: skip
    return Finding("nvcc", "ok", detail)


def _compiler() -> Finding:
    named = shlex.split(os.environ.get("CXX", ""))[:1]
    for candidate in [*named, "c++", "g++", "clang++", "cl"]:
        if path := shutil.which(candidate):
            _, text = _run([path] if candidate == "cl" else [path, "--version"])
            return Finding("C++ compiler", "ok", f"{(text.splitlines() or ['?'])[0]}, {path}")
    advice = "Needed only to build the native code: apt-get install g++, or xcode-select --install."
    return Finding("C++ compiler", "missing", "no c++, g++, clang++ or cl on PATH", advice)


def _native() -> Finding:
    name = "native csv reader"
    advice = "Reinstall with a C++ compiler at hand; until then plain Python is used, slower."
    try:
        from neurogaze_fast.faces.fer_csv import native_status
    except ImportError as error:
        return Finding(name, "missing", _one_line(error), advice)
    loaded, reason = native_status()
    if loaded:
        return Finding(name, "ok", reason or "neurogaze_fast._io is loaded")
    return Finding(name, "missing", reason, advice)


def _operators(device: str) -> Finding:
    name = f"native operators, {device.upper()}"
    advice = "Reinstall with `pip install --no-build-isolation .` and a C++ compiler at hand"
    advice += (", and nvcc of torch's CUDA version" if device == "cuda" else "") + "; until then "
    advice += "plain torch is used, slower."
    try:
        from neurogaze_fast.ops import _library
    except ImportError as error:
        return Finding(name, "missing", _one_line(error), advice)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the finding says it
        loaded, detail = _library.status(device)
    return Finding(name, "ok" if loaded else "missing", detail, "" if loaded else advice)


def package_finding(
    package: Package, module: str | None, answer: dict[str, Any] | None, cuda: str | None
) -> Finding:
    """What there is to say about one package.

    Args:
        package: what was looked for.
        module: the module found, or None.
        answer: what importing it gave (:func:`packages.try_imports`); None: not imported.
        cuda: CUDA version of torch, which decides the flavour to install.
    """
    install = package.install.format(cuda=cuda.split(".")[0] if cuda else "13")
    version = recorded_version(package)
    if module is None:
        why = f"{version} is recorded, but its files are gone" if version else "not installed"
        advice = f"pip install {install} ({package.purpose})"
        return Finding(package.name, "missing", why, advice, package.required)
    error = wrong_torch(package) if answer is None else " ".join(answer.get("error", "").split())
    if error:
        detail = f"{version or 'installed'}, but does not work: {error}"
        advice = f"pip install --force-reinstall {install}"
        return Finding(package.name, "broken", detail, advice, package.required)
    if answer is None:
        detail = f"{version or 'version unknown'} (installed, not imported)"
    else:
        version = answer["version"] or version or "version unknown"
        detail = f"{version}, {answer['extra']}" if answer["extra"] else version
    return Finding(package.name, "ok", detail, required=package.required)
