"""The documentation: builds without a warning, links lead somewhere, what is made is fresh."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*sorted(ROOT.glob("*.md")), *PAGES, *(ROOT / name for name in (
    "benchmarks/README.md", "benchmarks/results/README.md", "csrc/README.md",
    "tests/witness/README.md"))]  # fmt: skip
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]+)")
CHILD = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def anchors(path):
    """The anchors that a page's headings get."""
    words = (re.sub(r"[`*]|\[|\]\([^)]*\)", "", text) for text in HEADING.findall(path.read_text()))
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", text.lower()).strip()) for text in words}


def broken_links(path, text):
    """Links of a text, as if at `path`, that lead to no file or to no heading."""
    for link in LINK.findall(text):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_lead_somewhere(path):
    assert list(broken_links(path, path.read_text())) == []


def test_a_broken_link_is_found():
    text = "[a](data.md) [b](no.md) [c](data.md#ferplus) [d](data.md#no) ![e](no.png)"
    assert list(broken_links(ROOT / "docs/x.md", text)) == ["no.md", "data.md#no", "no.png"]


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=CHILD, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        assert (tmp_path / page.with_suffix(".html").name).is_file(), page
    api = (tmp_path / "api.html").read_text()
    assert "neurogaze_fast.deploy.predictor.Predictor" in api
    assert "DataError" in api
    pages = [path.read_text() for path in tmp_path.rglob("*.html")]
    outside = re.compile(r'<(?:script|img|link)[^>]+(?:src|href)="?(?:https?:)?//')
    assert not any(outside.search(page) for page in pages)  # a reader's browser asks nobody else


def test_the_drawing_is_that_of_the_code():
    from docs._site import floors

    assert floors.DRAWING.read_text() == floors.draw(), "run python -m docs._site.floors"


def test_the_tables_are_those_of_the_newest_results():
    from benchmarks import readme_tables

    for path, name in readme_tables.BLOCKS:
        text = path.read_text()
        assert text == readme_tables.replaced(path, text), "run python -m benchmarks.readme_tables"
        table = text.split(readme_tables.markers(name)[0])[1]
        assert table.strip().startswith("|"), name
        other = text.replace(table.strip()[:40], "| something else ", 1)
        assert other != readme_tables.replaced(path, other)


def known_flags():
    """Every flag of every command, as the fields of the dataclasses that are their options."""
    from neurogaze_fast.ablation.config import AblateConfig
    from neurogaze_fast.deploy.export.config import ExportConfig
    from neurogaze_fast.deploy.server.config import ServeConfig
    from neurogaze_fast.deploy.vision.config import PredictConfig
    from neurogaze_fast.eeg.config import PrepareEegConfig
    from neurogaze_fast.evaluation.config import EvaluateConfig
    from neurogaze_fast.faces.config import PrepareShardsConfig
    from neurogaze_fast.prototypes.config import BuildPrototypesConfig
    from neurogaze_fast.student.config import TrainConfig
    from neurogaze_fast.teacher.config import PredictEegConfig, TrainTeacherConfig

    configs = (AblateConfig, ExportConfig, ServeConfig, PredictConfig, PrepareEegConfig,
               EvaluateConfig, PrepareShardsConfig, BuildPrototypesConfig, TrainConfig,
               PredictEegConfig, TrainTeacherConfig)  # fmt: skip
    names = {name.replace("_", "-") for c in configs for name in c.__dataclass_fields__}
    return names | {f"no-{name}" for name in names}


OTHERS = {
    *("nproc-per-node", "nnodes", "rdzv-backend", "rdzv-endpoint", "rdzv-id", "max-restarts"),
    *("model-repository", "data-binary", "help", "version", "rows", "readme"),
    *("rm", "read-only", "ignore-scripts", "prefix", "bind"),
}
"""Flags of torchrun, Triton, curl, docker and npm, of every command, and of the scorecard."""


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=name_of)
def test_flags_that_are_named_exist(path):
    assert set(FLAG.findall(path.read_text())) <= known_flags() | OTHERS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(path, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(codes) >= 4
    assert not any(cell.outputs for cell in codes), "clear the outputs before committing"
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": path.parent}})
    client.execute()
    assert sum(bool(cell.outputs) for cell in codes) >= 3


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3


def test_the_manifest_for_kubernetes_is_the_servers(monkeypatch):
    import tyro
    import yaml

    from neurogaze_fast.deploy.server.config import ServeConfig

    deployment, service = yaml.safe_load_all((ROOT / "docs/kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["neurogaze-fast", "serve"]
    (token,) = (entry for entry in container["env"] if entry["name"] == "NEUROGAZE_TOKEN")
    assert "secretKeyRef" in token["valueFrom"]
    monkeypatch.setenv("NEUROGAZE_TOKEN", "a-token-of-enough-characters")
    config = tyro.cli(ServeConfig, args=container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": config.port, "grpc": config.grpc_port}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports.keys()
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    routes = (ROOT / "neurogaze_fast/deploy/server/service.py").read_text()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in routes
