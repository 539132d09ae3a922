"""README does what it says: each of its commands is run, as it stands there, on small data.

A command keeps its words; names of files that a reader has are replaced by small ones, and options
that make it quick follow. A command that nothing here runs fails a test.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import QUICK

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = [line.split(" #")[0].strip() for kind, text in BLOCK.findall(README) if kind == "sh"
         for line in text.splitlines() if line]  # fmt: skip
PYTHON = [text for kind, text in BLOCK.findall(README) if kind == "python"]
SHORT = {
    "train": [*QUICK, "--epochs", "1", "--threads", "1"],
    "export": ["--parity-faces", "8", "--threads", "1"],
    "prepare": ["--size", "16", "--seconds", "10"],
    "train-teacher": ["--epochs", "1", "--folds", "0", "--width", "16", "--threads", "1"],
    "predict": ["--threads", "1"],
}
"""Options that make a command quick."""


def part(*names):
    """README's commands of the program that are one of these."""
    lines = [line for line in SHELL if line.split()[0] == "neurogaze-fast"]
    return [line for line in lines if line.split()[1] in names]


def run(line, folder, **files):
    """A command of README's in `folder`, with the reader's files and what makes it quick."""
    words = shlex.split(line)
    assert words[0] == "neurogaze-fast"
    words = [str(files.get(word.removesuffix(".mat"), word)) for word in words[1:]]
    command = [sys.executable, "-m", "neurogaze_fast", *words, *SHORT.get(words[0], [])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture
def photo(tmp_path):
    """A folder with photo.jpg, on which there is a face."""
    from skimage import data

    Image.fromarray(data.astronaut()[:300, 100:400]).save(tmp_path / "photo.jpg")
    return tmp_path


def test_every_command_is_run_by_a_test():
    ours = {line for line in SHELL if line.startswith("neurogaze-fast ")}
    known = ("predict", "train", "evaluate", "export", "prepare", "train-teacher",
             "build-prototypes")  # fmt: skip
    assert set(part(*known)) == ours
    others = {line.split()[0] for line in SHELL} - {"neurogaze-fast"}
    assert others == {"pip", "make"}
    assert len(SHELL) >= 12


def test_it_is_short():
    words = re.sub(r"<!--.*?-->|^\|.*$", "", README, flags=re.MULTILINE).split()
    assert len(words) < 1000


def test_a_photo_gives_a_table_and_a_copy(photo):
    (line,) = part("predict")
    said = run(line, photo)
    names = {path.name for path in (photo / "predictions").rglob("*") if path.is_file()}
    assert {"results.csv", "results.json"} <= names
    assert len((photo / "predictions/results.csv").read_text().splitlines()) == 2
    assert any(name.startswith("photo") for name in names)
    assert "compact" in said


def test_the_python_of_it_runs(photo, monkeypatch, capsys):
    monkeypatch.chdir(photo)
    (code,) = PYTHON
    exec(compile(code, "README.md", "exec"), {})
    assert "neutral" in capsys.readouterr().out


def test_train_evaluate_and_export(small_set, tmp_path):
    first, evaluate, export = *part("train")[:1], *part("evaluate"), *part("export")
    run(first, tmp_path, DIR=small_set)
    assert (tmp_path / "runs/first/report.html").is_file()
    assert "macro" in run(evaluate, tmp_path, DIR=small_set).lower()
    run(export, tmp_path)
    assert list((tmp_path / "runs/first/export").glob("*.onnx"))


def test_from_eeg_to_a_bank(small_set, tmp_path):
    from neurogaze_fast.eeg.synthetic_dreamer import write_demo_dreamer

    recordings = tmp_path / "made.mat"
    write_demo_dreamer(recordings, subjects=4, clips=4, seconds=10.0, baseline_seconds=12.0)
    steps = [
        *part("prepare"),
        *part("train-teacher"),
        *part("build-prototypes"),
        *part("train")[1:],
    ]
    assert len(steps) == 4
    for line in steps:
        run(line, tmp_path, DIR=small_set, DREAMER=recordings)
    assert (tmp_path / "maps/maps.png").is_file()
    assert list((tmp_path / "runs").glob("*/report.html"))


def test_the_make_targets_and_extras_are_there():
    for line in SHELL:
        if line.startswith("make "):
            done = subprocess.run([*line.split(), "-n"], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert "neurogaze_fast" in done.stdout
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"pip install '\.\[([\w,-]+)\]'", README)
    assert named
    for extras in named:
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert any(line == "pip install ." for line in SHELL)


def test_what_it_says_of_answers_is_so(photo):
    from neurogaze_fast import analyse

    face = analyse(np.asarray(Image.open(photo / "photo.jpg")))[0]
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert -1 <= face.valence <= 1
    assert -1 <= face.arousal <= 1


def test_versions_agree():
    import neurogaze_fast

    version = neurogaze_fast.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"image: neurogaze_fast:{version} " in (ROOT / "docs/kubernetes.yaml").read_text()
    pins = (ROOT / "constraints.txt").read_text()
    ruff = re.search(r"^ruff==(\S+)$", pins, re.MULTILINE)[1]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"ruff==([\d.]+)", hooks) == [ruff, ruff]
