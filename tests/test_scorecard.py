"""The scorecard: its rows find what is planted, its forms hold, and the READMEs agree with it."""

import ast
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scorecard import report
from benchmarks.scorecard.processes import Call
from benchmarks.scorecard.row import ROWS, CannotRun, Counted, Row, load_rows, measure
from benchmarks.scorecard.write_order import WRITERS, disorder

load_rows()
OURS = ("neurogaze_fast", "benchmarks", "tests")
BENCHMARKS = sorted(Path(report.__file__).parents[1].rglob("*.py"))
QUICK = {"R5": 0.01, "A1": 0.001, "A5": 0.02}
"""Rows that take a moment, with so small a share of their faults. A2 takes 64 MB files."""


@pytest.mark.parametrize("name", QUICK)
def test_a_row_withstands_its_faults_and_finds_the_planted_one(tmp_path, name):
    entry = measure(ROWS[name], tmp_path, QUICK[name])
    assert entry["passed"], entry
    assert entry["found"]["n"] > 0
    assert entry["canary"]["failures"] >= entry["canary"]["needed"] > 0


def one_row(found, canary):
    return Row("R1", "a fault", "nothing lost", lambda folder, scale: found(), lambda _: canary())


def test_a_row_passes_only_without_failures_and_with_its_canary_found(tmp_path):
    good, bad = lambda: Counted(10, 0, "fine"), lambda: Counted(10, 2, "lost 2")
    strict = lambda: Counted(10, 2, "2 of 3 found", needed=3)  # noqa: E731
    cases = [(good, bad, True), (bad, bad, False), (good, good, False), (good, strict, False)]
    for number, (found, canary, passes) in enumerate(cases):
        entry = measure(one_row(found, canary), tmp_path / str(number), 1)
        assert entry["passed"] is passes


def test_rows_that_cannot_run_or_break_say_so(tmp_path):
    def missing():
        raise CannotRun("no such tool")

    def broken():
        raise ValueError("of its own")

    entry = measure(one_row(missing, missing), tmp_path / "a", 1)
    assert (entry["not_run"], entry["passed"]) == ("no such tool", False)
    assert report.cells(entry)[-1] == "not run: no such tool"
    entry = measure(one_row(broken, broken), tmp_path / "b", 1)
    assert (entry["broken"], entry["passed"]) == ("ValueError: of its own", False)
    assert report.cells(entry)[-1] == "broken: ValueError: of its own"


def test_order_of_calls_is_judged():
    def call(name, words):
        return Call(name, 1, words)

    write = call("write", '3</f/x.tmp>, ""..., 5')
    sync = call("fsync", "3</f/x.tmp>")
    rename = call("rename", '"/f/x.tmp", "/f/x"')
    folder = call("fsync", "3</f>")
    assert disorder([write, sync, rename, folder], "/f") == (1, [])
    for faulty in (
        [write, rename, folder],
        [write, sync, rename],
        [sync, rename, write, folder, call("write", '3</f/x>, ""..., 5')],
        [write, sync, rename, call("unlink", '"/f/old"'), folder],
    ):
        assert disorder(faulty, "/f")[1], faulty
    assert len(WRITERS) == 4


def test_every_row_of_the_plan_is_there():
    assert list(ROWS)[:10] == [f"R{number}" for number in range(1, 11)]
    assert list(ROWS)[10:16] == [f"A{number}" for number in range(1, 7)]
    assert all(one.fault and one.expected for one in ROWS.values())


def test_the_command_writes_the_file_and_the_table(tmp_path):
    out = tmp_path / "x.json"
    command = [sys.executable, "-m", "benchmarks.scorecard", "--rows", "A5", "--scale", "0.02"]
    done = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, cwd=report.ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result.keys() == {"date", "scale", "seconds", "cores", "environment", "rows"}
    (entry,) = result["rows"]
    assert entry.keys() == {
        "id", "fault", "expected", "found", "canary", "passed", "seconds",
    }  # fmt: skip
    assert "1 fault classes" in done.stdout
    text = json.dumps(result)
    assert str(Path.home()) not in text
    assert str(report.ROOT) not in text
    wrong = subprocess.run([*command[:3], "--rows", "Z9"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no row Z9" in wrong.stderr


@pytest.mark.parametrize("path", report.DOCUMENTS, ids=lambda path: path.parent.name)
def test_the_documents_hold_the_newest_results(path):
    result = json.loads(report.newest().read_text())
    text = path.read_text()
    assert text == report.replaced(text, result, report.DOCUMENTS[path]), (
        "run python -m benchmarks.scorecard --readme"
    )
    assert {entry["id"] for entry in result["rows"]} == set(ROWS)
    assert not re.search(r"/(home|root|tmp|work)/", json.dumps(result))


def named_elsewhere(path):
    """(module, name) of what a file takes from this project: by import, and of what is imported."""
    tree = ast.parse(path.read_text())
    for scope in (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Module)
    ):
        imported = {}
        for node in scope.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
                for alias in node.names:
                    imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    yield node.module, alias.name
        if isinstance(scope, ast.FunctionDef):  # in a module the same word may mean something else
            for node in ast.walk(scope):
                if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in imported:
                    yield imported[node.value.id], node.attr


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_benchmarks_name_is_there(path):
    """They run rarely, and what they name moves meanwhile."""
    for module, name in named_elsewhere(path):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as missing:
            if missing.name == module:
                continue  # a class or a function, whose own parts are not looked at
            pytest.skip(f"{missing.name} is not installed")
        if not hasattr(found, name):
            path_of_package = getattr(found, "__path__", None)
            inside = path_of_package and importlib.util.find_spec(f"{module}.{name}")
            assert inside, f"{path.name} names {name} of {module}, which has none"
