"""What a run was made with: versions, device and threads, for its provenance."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Versions and hardware as a JSON object."""
    import numpy as np
    import torch

    from neurogaze_fast import __version__
    from neurogaze_fast.ops import _library

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "neurogaze_fast": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(terse=True),
        "cpu": cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "native": {device: _library.status(device)[1] for device in ("cpu", "cuda")},
    }


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def cpuinfo(key: str) -> str:
    """First value of a key of /proc/cpuinfo; empty where there is no such file or key."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return next((value.strip() for name, value in pairs if name.strip() == key), "")
