"""The ablation as a user runs it, on a handful of pictures."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from neurogaze_fast import ablate
from neurogaze_fast.ablation.plan import PlannedRun, train_flags
from neurogaze_fast.ablation.runner import Runner
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.student.config import TrainConfig

LIMIT_S = 240
OPTIONS = [
    *("--size", "16", "--start-size", "None", "--epochs", "2", "--batch-size", "16"),
    *("--model", "compact-half", "--no-augment"),
]


def command(data, out, *words):
    given = ["--data", str(data), "--out", str(out), "--jobs", "2", *words, *OPTIONS]
    return [sys.executable, "-m", "neurogaze_fast.ablate", *given]


@pytest.fixture(scope="module")
def ablation(small_set, tmp_path_factory):
    """(folder, what was printed) of three arms with two seeds each."""
    out = tmp_path_factory.mktemp("ablation") / "study"
    words = command(small_set, out, "--arms", "b0", "b3", "random", "--seeds", "2")
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_every_run_is_there_and_in_the_tables(ablation):
    out, printed = ablation
    summary = json.loads((out / "ablation.json").read_text())
    assert set(summary["arms"]) == {"b0", "b3", "random"}
    assert all(arm["seeds"] == [0, 1] for arm in summary["arms"].values())
    pairs = {(d["arm"], d["against"]) for d in summary["differences"]}
    assert pairs == {("b3", "b0"), ("b3", "random")}
    difference = next(d for d in summary["differences"] if d["against"] == "b0")
    scores = {
        (arm, seed): json.loads((out / f"runs/{arm}/seed{seed}/metrics.json").read_text())
        for arm in ("b0", "b3")
        for seed in (0, 1)
    }
    each = [
        scores["b3", s]["valid"]["8way"]["macro_f1"] - scores["b0", s]["valid"]["8way"]["macro_f1"]
        for s in (0, 1)
    ]
    assert difference["macro_f1"]["mean"] == pytest.approx(sum(each) / 2)
    for name in ("ablation.md", "ablation.tex", "timeline.png", "differences.png"):
        assert (out / name).stat().st_size > 0
    page = (out / "ablation.html").read_text()
    assert "random prototypes" in page
    assert "--prototypes random" in page  # the command that repeats it
    assert "6/6" in printed
    assert "KD speeds early learning" in printed


def test_checkpoints_of_finished_runs_are_gone_and_models_stay(ablation):
    out, _ = ablation
    assert not list(out.glob("runs/*/*/checkpoints"))
    assert len(list(out.glob("runs/*/*/model.safetensors"))) == 6


def test_the_control_was_trained_and_not_only_named(ablation):
    out, _ = ablation
    models = [
        (out / f"runs/{arm}/seed0/model.safetensors").read_bytes() for arm in ("b3", "random")
    ]
    assert models[0] != models[1]


def test_the_same_command_again_trains_nothing(ablation, small_set):
    out, _ = ablation
    before = (out / "ablation.json").read_bytes()
    models = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/model.safetensors")}
    words = command(small_set, out, "--arms", "b0", "b3", "random", "--seeds", "2")
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)
    assert "6 of 6 runs are there already" in done.stdout
    assert (out / "ablation.json").read_bytes() == before
    assert models == {path: path.stat().st_mtime_ns for path in models}


def test_other_options_are_refused_before_anything_is_trained(ablation, small_set):
    out, _ = ablation
    words = command(small_set, out, "--arms", "b0", "--seeds", "2", "--tau", "0.5")[3:]
    with pytest.raises(ConfigError, match=r"--tau 0\.9 instead of 0\.5.*another --out"):
        ablate.ablate(*ablate.parse(words))


def test_stopped_and_started_again(small_set, tmp_path):
    out = tmp_path / "study"
    words = command(small_set, out, "--arms", "b0", "--seeds", "1")
    words[words.index("--epochs") + 1] = "8"
    words[words.index("--batch-size") + 1] = "8"
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    states = out / "runs/b0/seed0/checkpoints"
    deadline = time.monotonic() + LIMIT_S / 2
    while len(list(states.glob("*.manifest.json"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT_S / 2)
    assert process.returncode == 143
    assert "goes on from there" in errors
    assert not list(out.glob("runs/*/*/metrics.json"))
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert "Continuing" in (out / "logs/b0-seed0.log").read_text()
    assert len(json.loads((out / "runs/b0/seed0/history.json").read_text())) == 8


def test_a_run_that_fails_does_not_end_the_others(small_set, tmp_path):
    def planned(name, **options):
        config = TrainConfig(
            data=small_set, variant="b0", size=16, start_size=None, epochs=1, batch_size=16,
            model="compact-half", select="last",
        )  # fmt: skip
        return PlannedRun(name, 0, tmp_path / name, replace(config, **options))

    broken = planned("broken", init=Path("nowhere.safetensors"))
    waits = replace(planned("waits"), after=broken.folder)
    runner = Runner(
        tmp_path / "logs", jobs=1, threads=1, keep_checkpoints=True, console=Console(quiet=True)
    )
    done = []
    good = planned("good")
    runner.run([broken, waits, good], done.append)
    assert done == [good]
    assert "nowhere.safetensors cannot be read" in runner.failed["broken/seed0"]
    assert "has failed" in runner.failed["waits/seed0"]
    assert list(good.folder.glob("checkpoints/*"))
    assert train_flags(good.config)  # and its words are those of the log
    assert (
        " ".join(train_flags(replace(good.config, out=good.folder, threads=1)))
        in (tmp_path / "logs/good-seed0.log").read_text()
    )
