"""Packages: installed or not, working or not, whatever importing them does."""

import sys

import pytest

from neurogaze_fast.machine import package_finding
from neurogaze_fast.packages import (
    PACKAGES,
    Package,
    installed_module,
    recorded_version,
    try_imports,
    wrong_torch,
)

DALI = next(package for package in PACKAGES if package.name == "DALI")
ODD = Package("Odd", ("odd",), ("odd-dist",), "odd", "nothing")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose modules can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def distribution(folder, name, version, requires=()):
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def test_imports_that_fail_crash_or_hang_are_charged_to_the_right_module(folder):
    sources = {
        "fine": "__version__ = '1.2'; import os; print('chatter'); os.write(1, b'[\"no\", {}]\\n')",
        "raises": "raise ImportError('libmissing.so:\\n cannot open')",
        "leaves": "raise SystemExit(0)",
        "crashes": "import os; os._exit(7)",
        "hangs": "import time; time.sleep(60)",
        "last": "",
    }
    for name, source in sources.items():
        (folder / f"odd_{name}.py").write_text(source)
    names = [f"odd_{name}" for name in sources]
    results = try_imports(names, timeout_s=5)
    assert set(results) == set(names)
    assert results["odd_fine"] == {"version": "1.2", "extra": ""}
    assert results["odd_raises"] == {"error": "ImportError: libmissing.so:\n cannot open"}
    assert results["odd_leaves"] == {"error": "SystemExit: 0"}
    assert results["odd_crashes"] == {"error": "importing it ended Python with status 7"}
    assert results["odd_hangs"] == {"error": "importing it took more than 5 s"}
    assert results["odd_last"] == {"version": "", "extra": ""}
    assert try_imports([]) == {}


def test_the_child_does_not_import_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "odd_local.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert "ModuleNotFoundError" in try_imports(["odd_local"])["odd_local"]["error"]


def test_engines_tell_what_they_can_use(folder):
    (folder / "onnxruntime.py").write_text(
        "__version__ = '1'\ndef get_available_providers(): return ['A', 'B']"
    )
    answer = try_imports(["onnxruntime"])["onnxruntime"]
    assert answer == {"version": "1", "extra": "providers: A, B"}
    runtime = next(package for package in PACKAGES if package.name == "ONNX Runtime")
    assert package_finding(runtime, "onnxruntime", answer, None).detail == "1, providers: A, B"


def test_a_package_that_is_not_there(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)  # other tests import it
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:2])  # no files at all
    assert installed_module(DALI) is None
    finding = package_finding(DALI, None, None, "12.8")
    assert (finding.status, finding.detail) == ("missing", "not installed")
    assert "neurogaze_fast[dali-cu12]" in finding.advice
    assert "plain nvidia-dali on PyPI is a stub" in finding.advice
    assert "dali-cu13" in package_finding(DALI, None, None, "13.0").advice
    assert "dali-cu13" in package_finding(DALI, None, None, None).advice


def test_a_package_that_is_there(folder):
    (folder / "odd.py").write_text("")
    assert installed_module(ODD) == "odd"
    assert recorded_version(ODD) == ""
    distribution(folder, "odd-dist", "3.4")
    assert recorded_version(ODD) == "3.4"
    imported = package_finding(ODD, "odd", {"version": "", "extra": ""}, None)
    assert (imported.status, imported.detail) == ("ok", "3.4")
    unimported = package_finding(ODD, "odd", None, None)
    assert (unimported.status, unimported.detail) == ("ok", "3.4 (installed, not imported)")
    gone = package_finding(ODD, None, None, None)
    assert (gone.status, gone.detail) == ("missing", "3.4 is recorded, but its files are gone")
    broken = package_finding(ODD, "odd", {"error": "OSError: a\n b"}, None)
    assert (broken.status, broken.detail) == ("broken", "3.4, but does not work: OSError: a b")
    assert broken.advice == "pip install --force-reinstall odd"


def test_a_parent_package_that_is_no_package(folder):
    (folder / "odd_parent.py").write_text("")
    package = Package("Odd", ("odd_parent.child", "odd_other"), (), "odd", "nothing")
    assert installed_module(package) is None


@pytest.mark.parametrize(
    ("requirement", "works"),
    [
        ("torch==2.14.1", True),
        ("torch (>=2.11.0)", True),
        ("torch==2.13.0", False),
        ("torch>=3.0", False),
        ("torchmetrics==1.0", True),
    ],
)
def test_a_package_for_another_torch_is_broken(folder, requirement, works):
    distribution(folder, "torch", "2.14.1+cu130")
    distribution(folder, "odd-dist", "1.0", requires=["numpy", requirement])
    finding = package_finding(ODD, "odd", None, None)
    assert finding.status == ("ok" if works else "broken")
    assert bool(wrong_torch(ODD)) != works
    assert works or "2.14.1+cu130 is installed" in finding.detail
