"""Cores a process may use: affinity, and the quota of control groups as files tell it."""

import os

import pytest
import torch

from neurogaze_fast.config import MachineConfig
from neurogaze_fast.cores import Cores, cpu_quota, usable_cores
from neurogaze_fast.device import prepare_torch

# (/proc/self/cgroup, files below /sys/fs/cgroup, quota in cores)
MACHINES = {
    "no control groups": (None, {}, None),
    "version 2, in a container": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
    "version 2, no limit": ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    "version 2, its own group": (
        "0::/user.slice/job\n",
        {"user.slice/job/cpu.max": "400000 100000\n", "user.slice/cpu.max": "max 100000\n"},
        4.0,
    ),
    "version 2, a tighter group around it": (
        "0::/a/b\n",
        {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"},
        2.0,
    ),
    "version 2, the host's path": (
        "0::/system.slice/docker-0123.scope\n",
        {"cpu.max": "50000 100000\n"},
        0.5,
    ),
    "version 2, another group's limit": (
        "0::/a\n",
        {"a/cpu.max": "max 100000\n", "b/cpu.max": "100000 100000\n"},
        None,
    ),
    "version 1": (
        "5:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n",
        {
            "cpu,cpuacct/docker/0123/cpu.cfs_quota_us": "300000\n",
            "cpu,cpuacct/docker/0123/cpu.cfs_period_us": "100000\n",
            "memory/docker/0123/cpu.cfs_quota_us": "100000\n",
            "memory/docker/0123/cpu.cfs_period_us": "100000\n",
        },
        3.0,
    ),
    "version 1, in a container": (
        "4:cpu,cpuacct:/docker/0123\n",
        {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        2.5,
    ),
    "version 1, no limit": (
        "4:cpu:/\n",
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "nonsense": ("what\n", {"cpu.max": "a b c\n", "cpu/cpu.cfs_quota_us": ""}, None),
    "a period of 0": ("0::/\n", {"cpu.max": "100000 0\n"}, None),
}


def machine(folder, groups, files):
    (folder / "proc/self").mkdir(parents=True)
    if groups is not None:
        (folder / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize("case", MACHINES)
def test_quota(tmp_path, case):
    groups, files, quota = MACHINES[case]
    assert cpu_quota(machine(tmp_path, groups, files)) == quota


@pytest.mark.parametrize(
    ("allowed", "quota", "usable"),
    [(8, None, 8), (8, 2.0, 2), (8, 3.9, 3), (8, 0.5, 1), (2, 4.0, 2), (1, None, 1)],
)
def test_usable(allowed, quota, usable):
    assert Cores(16, allowed, quota).usable == usable


def test_this_machine():
    cores = usable_cores()
    assert 1 <= cores.usable <= cores.allowed <= cores.total == os.cpu_count()


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("quota", "option", "variable", "expected"),
    [
        (None, 0, None, 4),
        (2.0, 0, None, 2),
        (0.5, 0, None, 1),
        (64.0, 0, None, 4),
        (2.0, 3, None, 3),  # who asks for a number gets it
        (2.0, 0, "4", 4),
    ],
)
def test_torch_gets_no_more_threads_than_the_quota_allows(
    threads, monkeypatch, quota, option, variable, expected
):
    monkeypatch.setattr("neurogaze_fast.device.usable_cores", lambda: Cores(64, 64, quota))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    prepare_torch(MachineConfig(threads=option))
    assert torch.get_num_threads() == expected
