"""Packages: installed or not, working or not, whatever importing them does."""

import sys
import types

import pytest

from neurogaze_fast import machine
from neurogaze_fast.packages import PACKAGES, Package, try_imports

DALI = next(package for package in PACKAGES if package.name == "DALI")
ODD = Package("Odd", "odd", "odd", "nothing")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose modules can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


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
    assert results["odd_fine"] == {"detail": "1.2"}
    assert results["odd_raises"] == {"error": "ImportError: libmissing.so: cannot open"}
    assert results["odd_leaves"] == {"error": "SystemExit: 0"}
    assert results["odd_crashes"] == {"error": "importing it ended Python with status 7"}
    assert results["odd_hangs"] == {"error": "importing it took more than 5 s"}
    assert list(results["odd_last"]) == ["detail"]
    assert try_imports([]) == {}


def test_the_child_does_not_import_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "odd_local.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert try_imports(["odd_local"]) == {"odd_local": {}}


def finding(package, answer):
    return machine._probe(package.name, lambda: machine._package(package, answer))


def test_engines_tell_what_they_can_use(folder):
    (folder / "onnxruntime.py").write_text(
        "__version__ = '1'\ndef get_available_providers(): return ['A', 'B']"
    )
    answer = try_imports(["onnxruntime"])["onnxruntime"]
    runtime = next(package for package in PACKAGES if package.name == "ONNX Runtime")
    assert finding(runtime, answer).detail == "1, providers: A, B"


@pytest.mark.parametrize(("cuda", "flavour"), [("12.8", "cu12"), ("13.0", "cu13"), (None, "cu13")])
def test_a_package_that_is_not_there(monkeypatch, cuda, flavour):
    torch = types.SimpleNamespace(version=types.SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "torch", torch)
    found = finding(DALI, {})
    assert (found.status, found.detail) == ("missing", "not installed")
    assert f"neurogaze_fast[dali-{flavour}]" in found.advice
    assert "plain nvidia-dali on PyPI is a stub" in found.advice


def test_a_package_that_does_not_work(folder):
    (folder / "odd.py").write_text("raise OSError('a\\n b')")
    found = finding(ODD, try_imports(["odd"])["odd"])
    assert (found.status, found.detail) == ("broken", "does not work: OSError: a b")
    assert found.advice == "pip install --force-reinstall odd"


def test_the_first_name_that_is_there_is_imported(folder):
    (folder / "odd_parent.py").write_text("")  # no package: it has no child
    (folder / "odd_other.py").write_text("__version__ = '2'")
    names = ["odd_parent.child odd_other", "odd_parent.child odd_absent"]
    assert try_imports(names) == {names[0]: {"detail": "2"}, names[1]: {}}


def test_a_package_without_a_version_is_there(folder):
    (folder / "odd.py").write_text("")
    assert finding(ODD, try_imports(["odd"])["odd"]).status == "ok"
