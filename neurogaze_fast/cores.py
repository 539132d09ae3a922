"""How many cores this process may use: its affinity, and the CPU quota of its container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")


@dataclass(frozen=True)
class Cores:
    """What of the machine's processor this process may use."""

    total: int
    """Logical cores of the machine."""
    allowed: int
    """Those it may run on (taskset, cpusets)."""
    quota: float | None
    """Cores' worth of time that its control groups give it; None: no limit."""

    @property
    def usable(self) -> int:
        """Threads that can compute at the same time, at least 1.

        A quota of 1.5 counts as 1: of two threads, each would wait for the other one whenever the
        quota is used up.
        """
        whole = self.allowed if self.quota is None else min(self.allowed, int(self.quota))
        return max(1, whole)


def usable_cores(root: Path = ROOT) -> Cores:
    """Look at affinity and control groups (version 2 or 1); /proc and /sys lie under `root`."""
    total = os.cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)
    return Cores(total, len(affinity(0)) if affinity else total, cpu_quota(root))


def cpu_quota(root: Path = ROOT) -> float | None:
    """The smallest quota of this process's control group and of those around it, in cores."""
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that may limit this process's processor time."""
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:  # such as 0::/user.slice (version 2) or 4:cpu,cpuacct:/docker/0123
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        places = [mount / controllers, mount / "cpu"] if controllers else [mount, mount / "unified"]
        own = PurePosixPath(path.lstrip("/"))
        for place in places:
            # In a container the path may be the host's, of which only the root is to be seen.
            for group in (own, *own.parents):
                yield place / group
    yield from (mount, mount / "cpu")


def _quota(folder: Path) -> float | None:
    try:
        if (file := folder / "cpu.max").is_file():  # "max 100000" or "150000 100000"
            quota, period = file.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()  # -1: no limit
            period = (folder / "cpu.cfs_period_us").read_text()
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
    return cores if cores > 0 else None
