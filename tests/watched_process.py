"""A child process in a home of its own, and what it wrote, looked up and connected to.

Two witnesses: an audit hook in Python, and strace, where it is installed, which also sees native
code. What stays in the home folder is looked at in any case.
"""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT_S = 240
HOOK = """
import os, sys
_log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def _hook(event, given):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        os.write(_log, f"look-up {given[0]!r}\\n".encode())
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and given[1]:
        os.write(_log, f"address {given[1]!r}\\n".encode())
sys.addaudithook(_hook)
"""
SYSTEM_CALLS = (
    "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,"
    "symlink,symlinkat,link,linkat,mknod,mknodat"
)
HARMLESS = ("/dev/", "/proc/", "/sys/")
"""Where opening for writing leaves nothing behind: shared memory is taken back, too."""
LOCAL_NAMES = ("None", "''", "b''", "'localhost'", "b'localhost'")


@dataclass
class Traces:
    """What a watched process did."""

    code: int
    output: str
    network: list[str] = field(default_factory=list)
    """Look-ups, and addresses that are not this machine's own."""
    outside: list[str] = field(default_factory=list)
    """Paths it made outside the folders it was given."""


class Place:
    """Folders of their own for a home, temporary files and work."""

    def __init__(self, base):
        self.base = base
        self.home, self.temp, self.work = (base / name for name in ("home", "temp", "work"))
        for folder in (self.home, self.temp, self.work):
            folder.mkdir(parents=True)

    @property
    def cache(self):
        """The package's cache folder."""
        return self.home / ".cache" / "neurogaze_fast"

    def environment(self, hook):
        """Nothing of the caller's: CI variables, for one, switch off what is to be found."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.temp),
            "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "AUDIT_LOG": str(hook / "audit"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *words):
        """Run Python with these words in the work folder, to its end."""
        hook, command, trace = self._prepare()
        done = subprocess.run(
            [*command, *map(str, words)], capture_output=True, text=True, timeout=LIMIT_S,
            cwd=self.work, env=self.environment(hook), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return self.judge(done.returncode, done.stdout + done.stderr, hook, trace)

    def start(self, *words):
        """(process, function that judges it after its end) of a process that goes on; signals are
        to be sent to its group, for strace keeps those that are sent to itself."""
        hook, command, trace = self._prepare()
        process = subprocess.Popen(
            [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=self.work, env=self.environment(hook), stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        return process, lambda output: self.judge(process.returncode, output, hook, trace)

    def _prepare(self):
        hook = self.base / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK)
        (hook / "audit").write_text("")
        trace = hook / "strace" if shutil.which("strace") else None
        watcher = [] if trace is None else [
            *("strace", "-f", "-qq", "-y", "--seccomp-bpf", "-s", "300", "-o", str(trace)),
            *("-e", f"trace={SYSTEM_CALLS}"),
        ]  # fmt: skip
        return hook, [*watcher, sys.executable], trace

    def judge(self, code, output, hook, trace):
        """The traces of an ended process."""
        found = Traces(code, output)
        for line in (hook / "audit").read_text().splitlines():
            kind, _, value = line.partition(" ")
            # An address is (host, port); a path in the file system goes nowhere.
            host = value if kind == "look-up" else value.startswith("(") and value.split("'")[1]
            if host and host not in LOCAL_NAMES and not _is_own(host.strip("b'")):
                found.network.append(line)
        for folder in (self.home, self.temp):
            there = (p for p in folder.rglob("*") if p.is_file() or p.is_symlink())
            found.outside += [str(p) for p in there if self.cache not in p.parents]
        if trace is not None:
            self._read_trace(trace.read_text(errors="replace"), found)
        return found

    def _read_trace(self, text, found):
        for line in text.splitlines():
            if re.search(r'"/etc/resolv\.conf"', line) or "htons(53)" in line:
                found.network.append(line)
            for address in re.findall(r'inet_(?:addr\(|pton\(AF_INET6, )"([^"]+)"', line):
                if not _is_own(address):
                    found.network.append(line)
            if " = -1 " in line or not re.search(
                r"O_CREAT|\b(creat|mkdir|rename|symlink|link|mknod)(at2?)?\(", line
            ):
                continue
            for path in re.findall(r'(?<!<)"(/[^"]*)"', line):
                if not path.startswith((str(self.base), *HARMLESS)):
                    found.outside.append(line)


def _is_own(address):
    try:
        own = ipaddress.ip_address(address)
    except ValueError:
        return False
    return own.is_loopback or own.is_unspecified
