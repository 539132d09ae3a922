"""What tests of several folders share."""

import os
import subprocess
import tempfile


def run_and_measure(command):
    """(standard output, seconds of processor time) of a child process that must end with 0."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, command
        out.seek(0)
        return out.read().decode(), usage.ru_utime + usage.ru_stime
