"""OpenVINO's end in one thread leaves another its stack for signals."""

import subprocess
import sys

import pytest

_SCRIPT = """
import gc, signal, sys, threading
import numpy as np
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.vision.detect import CenterFace
kept = [{opened}]
def end():
    kept.clear()
    gc.collect()
thread = threading.Thread(target=end)
thread.start()
thread.join()
signal.signal(signal.SIGUSR1, lambda *_: print("answered"))
signal.raise_signal(signal.SIGUSR1)
"""
OPENED = {
    "engine": "open_engine(sys.argv[1], 'openvino', precision='fp32', threads=1)",
    "detector": "CenterFace(threads=1)",
}


@pytest.mark.parametrize("opened", OPENED)
def test_signals_are_answered_after_another_thread_let_go_of(opened, exported_run):
    script = _SCRIPT.format(opened=OPENED[opened])
    done = subprocess.run(
        [sys.executable, "-c", script, str(exported_run)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "answered\n", "")
