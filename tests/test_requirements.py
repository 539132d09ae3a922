"""The lock files agree with constraints.txt and hold all that the package asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
LINE = re.compile(r"([a-z0-9-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "python_version": "3.11"}
EXTRAS = {
    "train": ["eeg"],
    "serve": ["eeg", "serve", "vision"],
    "test": ["eeg", "test"],
    "bench": ["eeg", "bench"],
    "docs": ["eeg", "docs"],
}


def locked(name):
    """Name -> version of a lock file and of those it includes."""
    pins = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            pins |= locked(line.removeprefix("-r ").removesuffix(".txt"))
        elif not line.startswith("#"):
            found = LINE.fullmatch(line)
            assert found, line
            assert found[1] not in pins, line
            pins[found[1]] = found[2]
    return pins


def asked(extras):
    """What pyproject.toml asks for with these extras on Linux, its own extras resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = project["build-system"]["requires"] + project["project"]["dependencies"]
    for extra in extras:
        texts = texts + project["project"]["optional-dependencies"][extra]
    for requirement in map(Requirement, texts):
        if requirement.marker and not requirement.marker.evaluate(LINUX):
            continue
        if canonicalize_name(requirement.name) == "neurogaze-fast":
            yield from asked(sorted(requirement.extras))
        else:
            yield requirement


def test_there_is_one_for_each_command():
    assert {path.stem for path in FILES} == EXTRAS.keys()


@pytest.mark.parametrize("name", EXTRAS)
def test_it_holds_what_the_package_asks_for(name):
    pins = locked(name)
    for requirement in asked(EXTRAS[name]):
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is not in requirements/{name}.txt: run `make lock`"
        assert requirement.specifier.contains(version, prereleases=True), requirement


@pytest.mark.parametrize("name", EXTRAS)
def test_its_versions_are_those_of_the_constraints(name):
    pins = locked(name)
    constraints = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            package, _, version = line.partition("==")
            constraints[canonicalize_name(package)] = version
    both = pins.keys() & constraints.keys()
    assert {"torch", "numpy", "pybind11"} <= both
    assert {n: pins[n] for n in both} == {n: constraints[n] for n in both}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_names_no_host(path):
    assert "://" not in path.read_text()
