"""The package is the pipeline: a room imports from those below it, never from those above."""

import ast
from pathlib import Path

import pytest

import neurogaze_fast

PACKAGE = Path(neurogaze_fast.__file__).parent
FLOORS = (
    *("eeg", "training", "teacher", "prototypes", "faces", "student"),
    *("evaluation", "ablation", "deploy"),
)
"""From the ground up. Below them: the operators and the files beside the rooms, which everybody may
import; above them: the commands."""
COMMANDS = {
    *("prepare", "train_teacher", "build_prototypes", "train", "evaluate", "ablate"),
    *("export", "predict", "predict_eeg", "serve", "doctor", "packages", "machine"),
    *("__init__", "__main__"),  # the front doors
}
EXCEPTIONS = {
    # Only while types are checked: an operator's Python front names the class it takes.
    ("ops/topomap.py", "neurogaze_fast.eeg.interpolation"),
    ("reference/topomap.py", "neurogaze_fast.eeg.interpolation"),
}


def imports(path):
    """(module, whether only for type checking) of each import of the package in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            checked |= {id(inner) for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neurogaze_fast"):
            names = [node.module]
            if node.module == "neurogaze_fast":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("neurogaze_fast.")]
        else:
            continue
        for name in names:
            yield name, id(node) in checked


def floor(module):
    """Height of a module: ground is -1, commands are on top."""
    parts = module.split(".")
    first = parts[1] if len(parts) > 1 else ""
    if first in FLOORS:
        return FLOORS.index(first)
    return len(FLOORS) if first in COMMANDS else -1


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_import_goes_up(path):
    name = path.relative_to(PACKAGE).as_posix()
    own = floor(".".join(("neurogaze_fast", *path.relative_to(PACKAGE).with_suffix("").parts)))
    up = [
        module
        for module, checked in imports(path)
        if floor(module) > own and not (checked and (name, module) in EXCEPTIONS)
    ]
    assert up == [], f"{name} imports from above: {up}"


def test_the_exceptions_are_still_needed():
    found = {
        (path.relative_to(PACKAGE).as_posix(), module)
        for path in FILES
        for module, checked in imports(path)
        if checked
    }
    assert found >= EXCEPTIONS


def test_a_planted_import_is_found(tmp_path):
    path = tmp_path / "planted.py"
    path.write_text("def f():\n    from neurogaze_fast.deploy.predictor import Predictor\n")
    assert [floor(module) for module, _ in imports(path)] == [FLOORS.index("deploy")]


TESTS = Path(__file__).parent


def borrowed(path):
    """The test files that a file of the tests imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("tests.") and ".test_" in name:
                yield name


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda p: p.relative_to(TESTS).as_posix()
)
def test_what_tests_share_lies_in_no_test_file(path):
    """Else its fixtures and its tests would come along, and its imports be everybody's."""
    assert list(borrowed(path)) == []
