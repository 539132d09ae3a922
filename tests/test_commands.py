"""The commands as a user types them: a whole run, its files, its errors, its interruption."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from neurogaze_fast import evaluate as evaluate_command
from neurogaze_fast import train as train_command
from neurogaze_fast.artifacts import manifest_path, verified_open, write_artifact
from neurogaze_fast.prototypes.bank import PrototypeBank, demo_bank
from neurogaze_fast.prototypes.npz import export_npz
from tests.helpers import QUICK, write_set


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def run(small_set, tmp_path_factory):
    """A finished B3 run on the small set."""
    folder = tmp_path_factory.mktemp("runs") / "b3"
    train_command.main([*QUICK, "--data", str(small_set), "--out", str(folder)])
    return folder


def test_run_folder_holds_everything(run):
    expected = {
        "config.json", "bank.safetensors", "bank.manifest.json", "model.safetensors",
        "model.manifest.json", "metrics.json", "history.json", "duplicates.csv", "curves.png",
        "confusion.png", "reliability.png", "circumplex.png", "bank.png", "report.html",
        "fingerprint.json", "training_images.npy", "valid_logits.npz", "checkpoints", "tensorboard",
    }  # fmt: skip
    assert {p.name for p in run.iterdir()} == expected
    assert list((run / "tensorboard").glob("events.*"))
    names = sorted(p.name for p in (run / "checkpoints").glob("*.pt"))
    assert len([n for n in names if n.startswith("last_")]) == 2
    assert 1 <= len([n for n in names if n.startswith("best_")]) <= 2


def test_metrics_have_all_forms_with_and_without_duplicates(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["synthetic"] is False  # the folder carries no marker
    assert metrics["synthetic_bank"] is True
    for scores in (metrics["valid"], metrics["valid"]["without_duplicates"]):
        for form in ("8way", "present_only", "present_only_labels"):
            assert 0 <= scores[form]["accuracy"] <= 1
            assert {"macro_f1", "balanced_accuracy", "recall"} <= scores[form].keys()


def test_provenance_names_bank_data_and_selection(run):
    _, metadata = verified_open(run / "model.safetensors")
    _, bank = verified_open(run / "bank.safetensors")
    assert (
        metadata["bank"]["sha256"]
        == json.loads(manifest_path(run / "bank.safetensors").read_text())["sha256"]
    )
    assert bank["synthetic"]
    assert metadata["data"]["rows"] == {"train": 80, "valid": 40}
    assert metadata["selected"]["on"] == "valid"
    assert metadata["environment"]["torch"]


def test_report_is_one_file_that_needs_no_network(run):
    text = (run / "report.html").read_text()
    assert "data:image/png;base64," in text
    assert not re.search(r'(src|href)="(https?:)?//', text)


def test_evaluate_reprints_the_same_scores(run, small_set, tmp_path, capsys):
    where = ["--data", str(small_set), "--out", str(tmp_path / "out")]
    evaluate_command.main([str(run), *where, "--split", "valid", "--json"])
    printed = json.loads(capsys.readouterr().out)
    saved = json.loads((run / "metrics.json").read_text())
    assert printed["valid"] == saved["valid"]
    evaluate_command.main([str(run)])  # the set is found again by itself
    assert "same pixels and votes" in capsys.readouterr().out
    assert (run / "evaluation" / "ferplus-valid" / "metrics.json").exists()


@pytest.mark.parametrize("variant", ["b0", "b1", "b2"])
def test_every_variant_runs(small_set, tmp_path, variant):
    options = ["--variant", variant, "--data", str(small_set), "--out", str(tmp_path / "r")]
    train_command.main([*QUICK, "--epochs", "1", *options])
    terms = json.loads((tmp_path / "r" / "history.json").read_text())[0]["train"]
    assert (terms["kd"] > 0) == (variant != "b0")
    assert (terms["proto"] > 0) == (variant == "b2")
    assert (tmp_path / "r" / "bank.safetensors").exists() == (variant == "b2")


def test_learnable_prototypes_are_kept_beside_the_bank_they_started_from(small_set, tmp_path):
    out = tmp_path / "run"
    words = ["--data", str(small_set), "--variant", "b2", "--prototypes", "learnable"]
    train_command.main([*QUICK, *words, "--model", "compact-half", "--out", str(out)])
    metrics = json.loads((out / "metrics.json").read_text())
    learned = np.load(out / "learned_prototypes.npy")
    np.testing.assert_allclose(np.linalg.norm(learned, axis=1), 1, atol=1e-5)
    bank = PrototypeBank.load(out / "bank.safetensors")
    cosines = (bank.prototypes * learned).sum(1)
    assert metrics["prototypes"]["mean_cosine_to_start"] == pytest.approx(cosines.mean(), abs=1e-5)
    assert 0.5 < cosines.mean() < 0.99999
    kept = np.load(out / "valid_logits.npz")
    found = metrics["valid"]["8way"]["accuracy"]
    labels = kept["votes"][:, :8].argmax(1)
    assert (kept["logits"].argmax(1) == labels).mean() == pytest.approx(found, abs=0.026)
    assert metrics["valid_logits"]["n"] == len(labels)
    assert metrics["geo"] is None  # b2
    history = json.loads((out / "history.json").read_text())
    assert 0 <= history[-1]["geo"]["cap_binds"] <= 1


def test_resnet50_with_the_run_as_kd_teacher(run, small_set, tmp_path):
    options = ["--model", "resnet50", "--kd-teacher", str(run), "--kd-loss", "mse"]
    where = ["--data", str(small_set), "--out", str(tmp_path / "r")]
    train_command.main([*QUICK, "--epochs", "1", *options, *where])
    _, metadata = verified_open(tmp_path / "r" / "model.safetensors")
    assert metadata["architecture"] == "resnet50"


def test_init_starts_from_a_model_file(run, small_set, tmp_path):
    where = ["--data", str(small_set), "--out", str(tmp_path / "r")]
    train_command.main([*QUICK, "--epochs", "1", "--init", str(run / "model.safetensors"), *where])
    assert (tmp_path / "r" / "metrics.json").exists()


# --- bad input: exit code 2, a paragraph that names what is wrong, nothing overwritten ---


def refused(capsys, main, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_existing_output_is_left_alone(run, small_set, capsys):
    before = files(run)
    argv = [*QUICK, "--data", str(small_set), "--out", str(run)]
    assert "exists and was left alone" in refused(capsys, train_command.main, argv)
    assert files(run) == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("hash", "is not the file its manifest describes"),
        ("order", "was made for the emotion order"),
        ("folder", "is a folder"),
        ("missing", "cannot be read"),
    ],
)
def test_bad_bank_stops_before_training(small_set, tmp_path, capsys, damage, message):
    bank = tmp_path / "bank.safetensors"
    demo_bank().save(bank)
    if damage == "hash":
        data = bytearray(bank.read_bytes())
        data[-1] ^= 1
        bank.write_bytes(data)
    if damage == "order":
        data, metadata = verified_open(bank)
        write_artifact(bank, data, metadata | {"emotions": sorted(metadata["emotions"])})
    bank = {"folder": tmp_path, "missing": tmp_path / "no"}.get(damage, bank)
    out = tmp_path / "r"
    argv = [*QUICK, "--data", str(small_set), "--bank", str(bank), "--out", str(out)]
    assert message in refused(capsys, train_command.main, argv)
    assert not out.exists()


def test_a_bank_in_the_authors_layout_is_taken(small_set, tmp_path, capsys):
    bank = demo_bank(seed=3)
    export_npz(bank, tmp_path / "released.npz")
    options = ["--data", str(small_set), "--bank", str(tmp_path / "released.npz")]
    train_command.main([*QUICK, "--epochs", "1", *options, "--out", str(tmp_path / "r")])
    used = PrototypeBank.load(tmp_path / "r" / "bank.safetensors")
    np.testing.assert_allclose(used.prototypes, bank.prototypes, atol=1e-6)
    assert used.provenance["source"]["file"] == "released.npz"
    assert "released.npz, which does not say what it was made from" in capsys.readouterr().out
    np.savez(tmp_path / "released.npz", weights=np.ones((7, 3)))
    argv = [*QUICK, *options, "--out", str(tmp_path / "r2")]
    assert "weights [7, 3], and none of it fits" in refused(capsys, train_command.main, argv)
    assert not (tmp_path / "r2").exists()


def test_bank_of_another_width_gets_a_projector(small_set, tmp_path):
    demo_bank(width=64).save(tmp_path / "bank.safetensors")
    where = ["--data", str(small_set), "--out", str(tmp_path / "r")]
    bank = ["--bank", str(tmp_path / "bank.safetensors")]
    train_command.main([*QUICK, "--epochs", "1", *bank, *where])
    model, _ = verified_open(tmp_path / "r" / "model.safetensors")
    assert b"projector" not in model  # dropped: nothing of it is needed to predict


@pytest.mark.parametrize("kept", ["Training", "PublicTest"])
def test_missing_split_is_refused_before_anything_is_written(drawn, tmp_path, capsys, kept):
    images, votes, usage = drawn
    here = [i for i, u in enumerate(usage) if u == kept]
    data = write_set(tmp_path / "d", images[here], votes[here], [kept] * len(here))
    out = tmp_path / "r"
    argv = [*QUICK, "--data", str(data), "--out", str(out)]
    missing = "valid" if kept == "Training" else "train"
    assert f"no '{missing}' split" in refused(capsys, train_command.main, argv)
    assert not out.exists()


def test_a_set_without_training_images_is_compared_with_those_of_the_run(
    run, drawn, tmp_path, capsys
):
    images, votes, usage = drawn
    images = images.copy()
    images[100] = images[3]
    data = write_set(tmp_path / "data", images[80:], votes[80:], usage[80:])
    where = ["--data", str(data), "--out", str(tmp_path / "out")]
    evaluate_command.main([str(run), *where, "--json"])
    scores = json.loads(capsys.readouterr().out)["valid"]
    assert scores["duplicates"] == {"known": True, "n": 1}
    assert scores["without_duplicates"]["n"] == scores["n"] - 1


@pytest.mark.parametrize(
    ("option", "message"),
    [("--kd-teacher", "does not exist"), ("--init", "cannot be read")],
)
def test_missing_weights_are_named(small_set, tmp_path, capsys, option, message):
    where = ["--data", str(small_set), "--out", str(tmp_path / "r")]
    argv = [*QUICK, option, str(tmp_path / "absent"), *where]
    assert message in refused(capsys, train_command.main, argv)
    assert not (tmp_path / "r").exists()


def test_altered_init_is_refused(run, small_set, tmp_path, capsys):
    for name in ("model.safetensors", "model.manifest.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    where = ["--data", str(small_set), "--out", str(tmp_path / "r")]
    argv = [*QUICK, "--init", str(tmp_path / "model.safetensors"), *where]
    assert "altered" in refused(capsys, train_command.main, argv)


def test_unwritable_demo_cache_says_what_to_do(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROGAZE_CACHE", str(tmp_path / "file"))
    assert "NEUROGAZE_CACHE" in refused(capsys, train_command.main, ["--out", str(tmp_path / "r")])


def test_missing_data_says_what_is_expected(tmp_path, capsys):
    text = refused(capsys, train_command.main, ["--data", str(tmp_path / "no"), "--out", "x"])
    assert "fer2013.csv" in text


def test_damaged_row_is_named(small_set, tmp_path, capsys):
    for name in ("fer2013.csv", "fer2013new.csv"):
        (tmp_path / name).write_bytes((small_set / name).read_bytes())
    lines = (tmp_path / "fer2013.csv").read_text().splitlines()
    lines[5] = lines[5].replace(" ", " x ", 1)
    (tmp_path / "fer2013.csv").write_text("\n".join(lines) + "\n")
    text = refused(capsys, train_command.main, ["--data", str(tmp_path), "--out", "unused"])
    assert "fer2013.csv" in text
    assert "row 5" in text
    assert not os.path.exists("unused")


def test_data_that_is_a_file(small_set, capsys):
    argv = ["--data", str(small_set / "fer2013.csv"), "--out", "unused"]
    assert "is a file, not a folder" in refused(capsys, train_command.main, argv)


def test_resume_of_what_is_no_run(tmp_path, capsys):
    text = refused(capsys, train_command.main, ["--resume", str(tmp_path)])
    assert "is this a run folder" in text


def test_options_out_of_range_exit_2(run, capsys):
    argv = [str(run), "--batch-size", "0"]
    assert "--batch-size" in refused(capsys, evaluate_command.main, argv)
    assert "--epochs is 0" in refused(capsys, train_command.main, ["--epochs", "0"])


def test_evaluating_what_is_no_run(tmp_path, capsys):
    assert "Name a run folder" in refused(capsys, evaluate_command.main, [str(tmp_path)])


def test_resume_refuses_other_options_and_other_data(run, drawn, tmp_path, capsys):
    text = refused(capsys, train_command.main, ["--resume", str(run), "--learning-rate", "1"])
    assert "--learning-rate cannot change" in text
    images, votes, usage = drawn
    other = write_set(tmp_path / "other", 255 - images, votes, usage)
    text = refused(capsys, train_command.main, ["--resume", str(run), "--data", str(other)])
    assert "is not the one" in text


# --- interruption --------------------------------------------------------------------------------


def launch(argv, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "neurogaze_fast.train", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def test_sigterm_saves_exits_143_and_resumes_to_the_same_model(small_set, tmp_path):
    options = [*QUICK, "--epochs", "3", "--data", str(small_set), "--threads", "1"]
    options += ["--log-every", "1", "--checkpoint-minutes", "0.0001"]  # a save after each step
    straight = launch([*options, "--out", "straight"], tmp_path)
    assert straight.wait(timeout=250) == 0, straight.stderr.read()

    stopped = launch([*options, "--out", "stopped"], tmp_path)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "stopped" / "checkpoints").glob("last_*.manifest.json")):
        assert time.monotonic() < deadline
        assert stopped.poll() is None, stopped.stderr.read()
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    _, errors = stopped.communicate(timeout=100)
    assert stopped.returncode == 143, errors
    assert "--resume stopped" in errors
    assert not (tmp_path / "stopped" / "model.safetensors").exists()

    resumed = launch(["--resume", "stopped"], tmp_path)
    assert resumed.wait(timeout=250) == 0, resumed.stderr.read()
    models = [tmp_path / name / "model.safetensors" for name in ("straight", "stopped")]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_duplicates_are_listed(drawn, tmp_path):
    images, votes, usage = drawn
    images = images.copy()
    images[100] = images[3]
    data = write_set(tmp_path / "data", images, votes, usage)
    train_command.main([*QUICK, "--epochs", "1", "--data", str(data), "--out", str(tmp_path / "r")])
    with open(tmp_path / "r" / "duplicates.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["split"], r["row"], r["train_row"]) for r in rows] == [("valid", "101", "4")]
