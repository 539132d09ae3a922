"""The doctor: it tells what is there and why not, and is never the thing that fails."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from neurogaze_fast import doctor, machine
from neurogaze_fast.machine import Finding, inspect_machine
from neurogaze_fast.packages import PACKAGES

POSIX = pytest.mark.skipif(os.name != "posix", reason="the fake compilers are shell scripts")
NUMPY = next(package for package in PACKAGES if package.name == "NumPy")


def test_the_command_prints_one_json_object_and_succeeds_here():
    command = [sys.executable, "-m", "neurogaze_fast.doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is True
    findings = {row["name"]: row for row in answer["findings"]}
    always = {"Python", "platform", "CPU", "CPU instructions", "memory", "PyTorch", "GPU", "nvcc"}
    assert always | {"C++ compiler", "native csv reader", "native operators, CPU"} <= set(findings)
    assert {package.name for package in PACKAGES} <= set(findings)
    assert len(findings) == len(answer["findings"]), "every name once"
    for name in ("Python", "PyTorch", "NumPy", "safetensors"):
        assert findings[name]["status"] == "ok"
        assert findings[name]["required"]
    import torch

    assert findings["PyTorch"]["detail"].startswith(torch.__version__)
    assert torch.backends.cpu.get_cpu_capability() in findings["CPU instructions"]["detail"]
    assert all(row["detail"] for row in findings.values())


def show(monkeypatch, capsys, findings, argv=()):
    """(exit status, output) of the command, given what was found."""
    monkeypatch.setattr(doctor, "inspect_machine", lambda: findings)
    status = 0
    try:
        doctor.main(list(argv))
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr().out


OPTIONAL = [
    Finding("PyTorch", "ok", "9.9", required=True),
    Finding("GPU", "missing", "no driver [bold]", "Install it."),
    Finding("DALI", "broken", "1.0, but does not work: libx.so [red]"),
]
FATAL = [*OPTIONAL, Finding("NumPy", "broken", "wheel of another Python", required=True)]


@pytest.mark.parametrize(("findings", "status"), [(OPTIONAL, 0), (FATAL, 1)])
def test_only_a_required_thing_fails_the_command(monkeypatch, capsys, findings, status):
    assert show(monkeypatch, capsys, findings, ["--json"])[0] == status
    ended, text = show(monkeypatch, capsys, findings)
    assert ended == status
    for finding in findings:
        assert finding.name in text
        assert finding.detail in text, "brackets are text, not markup"
        assert finding.advice in text
    assert ("Nothing works without: NumPy." in text) == bool(status)


def probe(look):
    """The finding of one probe, as inspect_machine takes it."""
    return machine._probe("it", look)


def test_without_torch_everything_else_is_still_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    findings = {finding.name: finding for finding in inspect_machine(packages=[NUMPY])}
    assert findings["PyTorch"].status == "missing"
    assert findings["PyTorch"].required
    assert "pytorch.org" in findings["PyTorch"].advice
    assert findings["GPU"].detail == "cannot be asked without PyTorch"
    assert findings["CPU instructions"].status == "ok"
    assert findings["NumPy"].status == "ok"


def test_a_probe_that_fails_is_a_finding(monkeypatch):
    def fails():
        raise ValueError("two\nlines")

    monkeypatch.setattr(machine, "_memory", fails)
    memory = next(f for f in inspect_machine(packages=[]) if f.name == "memory")
    assert memory.status == "broken"
    assert memory.detail == "could not be determined: ValueError: two lines"


def fake_torch(cuda="13.0", devices=(), warning=None):
    import warnings

    def is_available():
        if warning:
            warnings.warn(warning, stacklevel=1)
        return bool(devices)

    return types.SimpleNamespace(
        version=types.SimpleNamespace(cuda=cuda),
        cuda=types.SimpleNamespace(
            is_available=is_available,
            device_count=lambda: len(devices),
            get_device_properties=lambda index: devices[index],
        ),
    )


def test_gpus_are_named_with_their_architecture(monkeypatch):
    device = types.SimpleNamespace(name="H200", major=9, minor=0, total_memory=140 * 1024**3)
    monkeypatch.setitem(sys.modules, "torch", fake_torch(devices=[device, device]))
    assert machine._gpu() == "H200 (SM 9.0, 140 GiB); H200 (SM 9.0, 140 GiB)"


def test_the_reason_for_no_gpu(monkeypatch):
    def why(**torch):
        monkeypatch.setitem(sys.modules, "torch", fake_torch(**torch))
        finding = probe(machine._gpu)
        assert finding.status == "missing"
        return finding.detail

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "without CUDA" in why(cuda=None)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.Path, "exists", lambda path: False)
    assert "no NVIDIA driver" in why()
    monkeypatch.setattr(machine.Path, "exists", lambda path: True)
    assert "shows no GPU" in why()
    assert why(warning="The driver\nis too old") == "The driver is too old"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' hides" in why()


@pytest.mark.parametrize(("gpu", "advice"), [(False, "Nothing is lost"), (True, "Reinstall")])
def test_kernels_that_were_not_built_matter_where_there_is_a_gpu(monkeypatch, gpu, advice):
    import torch

    from neurogaze_fast.ops import _library

    monkeypatch.setattr(_library, "status", lambda device: (False, f"no {device} kernels"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    finding = probe(lambda: machine._operators("cuda"))
    assert (finding.status, finding.detail) == ("missing", "no cuda kernels")
    assert finding.advice.startswith(advice)
    assert probe(lambda: machine._operators("cpu")).advice.startswith("Reinstall")


@POSIX
def test_nvcc_is_found_broken_or_missing(tmp_path, monkeypatch):
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho Cuda release 99.1, V99.1.7\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert machine._nvcc() == f"99.1.7, {nvcc}"
    nvcc.write_text("#!/bin/sh\necho no such file; exit 127\n")
    broken = probe(machine._nvcc)
    assert broken.status == "broken"
    assert "127 and said: no such file" in broken.detail
    monkeypatch.setattr(machine.shutil, "which", lambda *_, **__: None)
    missing = probe(machine._nvcc)
    assert missing.status == "missing"
    assert "CUDA_HOME" in missing.advice


@POSIX
def test_the_compiler_is_found_or_missed(tmp_path, monkeypatch):
    compiler = tmp_path / "my-cxx"
    compiler.write_text("#!/bin/sh\necho MyCC 1.0\necho more\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"{compiler} -O2")
    assert machine._compiler() == f"MyCC 1.0, {compiler}"
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probe(machine._compiler).status == "missing"


def test_the_native_reader_is_asked(monkeypatch):
    module = types.ModuleType("fer_csv")
    monkeypatch.setitem(sys.modules, "neurogaze_fast.faces.fer_csv", module)
    module.native_status = lambda: (False, "no compiler was found")
    finding = probe(machine._native_reader)
    assert (finding.status, finding.detail) == ("missing", "no compiler was found")
    module.native_status = lambda: (True, "")
    assert probe(machine._native_reader).status == "ok"


def test_cpu_and_memory_are_described():
    assert re.search(r"\d+ of \d+ logical cores", machine._cpu())
    memory = probe(machine._memory)
    if Path("/proc/meminfo").exists():
        total, available = map(float, re.findall(r"([\d.]+) GiB", memory.detail)[:2])
        assert 0 < available <= total
    else:
        assert memory.status == "broken"
