"""What this package leaves on a machine: nothing sent, nothing outside its cache folder.

Some libraries report their use to their makers when they are imported: OpenVINO asks for a Google
Analytics host, ONNX Runtime for one of Microsoft's, and both write ids into the home folder.
:func:`switch_off_reports` runs when the package is imported, which is before anything here can
import them, whichever way that happens.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

REPORTING_MODULES = ("openvino_telemetry",)
"""Modules that do nothing but report; those that use them work without."""
SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "HF_HUB_DISABLE_TELEMETRY": "1",  # the Hugging Face Hub's client
}
"""Environment variables by which libraries are told not to report; child processes inherit them."""


def switch_off_reports() -> None:
    """Let no library that this process or its children import report to anybody."""
    os.environ.update(SWITCHES)
    for name in REPORTING_MODULES:
        # None: an import of it fails as if it were not installed, for which OpenVINO is prepared.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def keep_caches_together() -> None:
    """Put what Matplotlib keeps between runs into the cache folder, unless the user chose one.

    For the commands only: a program that imports the package may have settings in Matplotlib's own
    folder.
    """
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))


def cache_folder() -> Path:
    """$NEUROGAZE_CACHE, or `neurogaze_fast` in the user's cache folder."""
    return Path(
        os.environ.get("NEUROGAZE_CACHE")
        or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "neurogaze_fast"
        )
    )
