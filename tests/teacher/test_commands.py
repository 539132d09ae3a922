"""train_teacher and build_prototypes as a user types them: files, scores, errors, interruption."""

import dataclasses
import inspect
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from neurogaze_fast import build_prototypes as build_command
from neurogaze_fast import train_teacher as teacher_command
from neurogaze_fast.ablation.banks import make_banks
from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.artifacts import read_manifest, unseal
from neurogaze_fast.errors import BankError, ConfigError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.teacher.config import TrainTeacherConfig
from neurogaze_fast.teacher.model import load_teacher
from tests.teacher.helpers import map_set

QUICK = (
    "--epochs 8 --batch-size 32 --width 16 --learning-rate 3e-3 --threads 1 --clip-folds 2".split()
)

TRAIN_TEACHER_FLAGS = """
--maps --out --resume --folds --clip-folds --splits --normalise --model --train-subjects
--valid-subjects --width --epochs --batch-size
--learning-rate --weight-decay --warmup --clip --consistency --band-dropout --noise --shift --amp
--device --threads --deterministic --seed --checkpoint-minutes --log-every
""".split()
BUILD_PROTOTYPES_FLAGS = """
--teacher --embeddings --maps --grid --out --by --min-subjects --centre --npz --device
""".split()
COMMANDS = {
    "train_teacher": (TrainTeacherConfig, TRAIN_TEACHER_FLAGS),
    "build_prototypes": (BuildPrototypesConfig, BUILD_PROTOTYPES_FLAGS),
}


@pytest.fixture(scope="module")
def teacher(maps_folder, tmp_path_factory):
    """A finished teacher with three folds."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    teacher_command.main([str(maps_folder), *QUICK, "--folds", "3", "--out", str(folder)])
    return folder


@pytest.fixture
def copied(teacher, tmp_path):
    """A finished teacher that a test may damage or write beside."""
    return shutil.copytree(teacher, tmp_path / "teacher")


def refused(capsys, main, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    return capsys.readouterr().err


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_surface_has_not_changed_and_is_documented(command):
    config, flags = COMMANDS[command]
    names = [f.name for f in dataclasses.fields(config)]
    assert ["--" + name.replace("_", "-") for name in names] == flags
    kinds = [k for k in config.__mro__ if dataclasses.is_dataclass(k)]
    source = "\n".join(map(inspect.getsource, kinds))
    for name in names:
        after = source.split(f"    {name}: ", 1)[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""'), f"{name} has no docstring"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_shows_every_flag_without_loading_torch(command):
    code = (
        f"import runpy, sys; sys.argv = ['{command}', '--help']\n"
        f"try: runpy.run_module('neurogaze_fast.{command}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert text.splitlines()[-1] == "[]"
    for flag in COMMANDS[command][1]:
        name = flag.removeprefix("--")
        assert f"{flag} " in text or f"--no-{name}" in text or name.upper() in text, flag


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "--folds is 1"),
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 1}, "--batch-size"),
        ({"consistency": -1.0}, "--consistency"),
        ({"band_dropout": 1.0}, "--band-dropout"),
        ({"valid_subjects": 0}, "--valid-subjects"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainTeacherConfig(**options)
    with pytest.raises(ConfigError, match="--grid"):
        BuildPrototypesConfig(teacher="x", grid=1)


def test_maps_are_needed(capsys):
    assert "Name the folder of maps" in refused(capsys, teacher_command.main, [])
    with pytest.raises(ConfigError, match="Name the folder of maps"):  # called from a program
        teacher_command.train_teacher(TrainTeacherConfig())


# --- train_teacher --------------------------------------------------------------------------------


def test_teacher_folder_holds_everything(teacher):
    assert {p.name for p in teacher.iterdir()} == {
        "config.json", "teacher.safetensors", "teacher.manifest.json", "scores.json", "scores.png",
        "curves.png", "checkpoints", "films_out.safetensors", "films_out.manifest.json",
    }  # fmt: skip
    assert sorted(p.name for p in (teacher / "checkpoints").iterdir()) == [
        "films-out", "fold-0", "fold-0-clips-0", "fold-0-clips-1", "fold-1", "fold-1-clips-0",
        "fold-1-clips-1", "fold-2", "fold-2-clips-0", "fold-2-clips-1", "teacher",
    ]  # fmt: skip


def test_scores_beat_the_mean_on_a_planted_signal(teacher):
    result = unseal(json.loads((teacher / "scores.json").read_text()))
    assert result["synthetic"] is True
    held = [name for fold in result["folds"] for name in fold["subjects"]]
    assert sorted(held) == [f"dreamer-{i:02d}" for i in range(1, 7)]
    assert "clip_mean" not in result["people_and_clips_out"]["pooled"]["trial"]
    assert result["bootstrap"]["unit"] == "subject x clip"
    pairs = [
        (part, level) for part in (result, result["people_and_clips_out"])
        for level in ("window", "trial")
    ]  # fmt: skip
    for part, level in pairs:
        pooled = part["pooled"][level]
        for target in ("valence", "arousal"):
            assert pooled["teacher"][target]["ccc"]["value"] > 0.5
            assert pooled["teacher - mean"][target]["ccc"]["low"] > 0
            assert pooled["ridge"][target]["ccc"]["value"] > 0.5
            assert pooled["mean"][target]["ccc"]["value"] < 0.1
            rmse = [pooled[m][target]["rmse"]["value"] for m in ("teacher_calibrated", "mean")]
            assert rmse[0] < 0.8 * rmse[1]


def test_provenance_names_maps_split_options_and_scores(teacher, planted):
    _, metadata = load_teacher(teacher)
    split = metadata["split"]
    assert sorted(split["train"] + split["valid"]) == list(planted.subjects[:6])
    assert split["support"] == list(planted.subjects[6:])
    assert len(metadata["maps"]["sha256"]) == 64
    assert metadata["options"]["epochs"] == 8
    assert metadata["synthetic"] is True
    assert "pooled" in metadata["scores"]["people_and_clips_out"]
    assert metadata["normalise"] == "subject"
    assert metadata["scale"] is None
    assert np.array(metadata["calibration"]).shape == (2, 2)


def test_existing_folder_is_left_alone(teacher, maps_folder, capsys):
    before = {p: p.read_bytes() for p in teacher.rglob("*") if p.is_file()}
    argv = [str(maps_folder), *QUICK, "--out", str(teacher)]
    assert "exists and was left alone" in refused(capsys, teacher_command.main, argv)
    assert "is finished" in refused(capsys, teacher_command.main, ["--resume", str(teacher)])
    assert before == {p: p.read_bytes() for p in teacher.rglob("*") if p.is_file()}


def test_altered_maps_are_refused(maps_folder, tmp_path, capsys):
    altered = shutil.copytree(maps_folder, tmp_path / "maps")
    shard = next(altered.glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    argv = [str(altered), *QUICK, "--out", str(tmp_path / "t")]
    assert "altered or damaged" in refused(capsys, teacher_command.main, argv)
    assert not (tmp_path / "t").exists()


def test_too_few_rated_people_are_refused(tmp_path, capsys):
    map_set(subjects=1, support=2).save(tmp_path / "maps")
    argv = [str(tmp_path / "maps"), *QUICK, "--out", str(tmp_path / "t")]
    assert "at least two" in refused(capsys, teacher_command.main, argv)
    assert not (tmp_path / "t").exists()


def launch(argv, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "neurogaze_fast.train_teacher", *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def test_sigterm_exits_143_and_resumes_to_the_same_teacher(
    teacher,
    maps_folder,
    tmp_path,
    capsys,
):
    options = [*QUICK, "--folds", "3"]
    stopped = launch([maps_folder, *options, "--out", "stopped"], tmp_path)
    deadline = time.monotonic() + 100
    while not list((tmp_path / "stopped" / "checkpoints" / "fold-0-clips-0").glob("last_*.json")):
        assert time.monotonic() < deadline
        assert stopped.poll() is None, stopped.stderr.read()
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    _, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 143, errors
    assert "--resume stopped" in errors
    assert not (tmp_path / "stopped" / "teacher.safetensors").exists()

    folder = tmp_path / "stopped"
    assert "interrupted" in refused(capsys, build_command.main, [str(folder)])
    argv = ["--resume", str(folder), "--epochs", "9"]
    assert "--epochs cannot change" in refused(capsys, teacher_command.main, argv)
    other = tmp_path / "other"
    map_set(seed=1, support=2).save(other)
    argv = [str(other), "--resume", str(folder)]
    assert "is not the map set" in refused(capsys, teacher_command.main, argv)

    teacher_command.main(["--resume", str(folder)])
    for name in ("teacher.safetensors", "scores.json"):
        assert (folder / name).read_bytes() == (teacher / name).read_bytes()


# --- build_prototypes -----------------------------------------------------------------------------


def test_bank_of_validation_windows(copied, planted, capsys):
    build_command.main([str(copied), "--npz", str(copied / "paper.npz")])
    printed = capsys.readouterr().out
    bank = PrototypeBank.load(copied / "bank.safetensors", width=16, grid=5)
    films_out = PrototypeBank.load(copied / "bank_films_out.safetensors", width=16, grid=5)
    found = bank.provenance["films_out"]
    assert "Bank of films its teacher never saw" in printed
    # The planted signal is in the rating and not in the film, so the bank does not need the films.
    assert found["centred_cosine"] > 0.5 > found["centred_other_cells"]
    seen = load_teacher(copied / "films_out.safetensors")[1]["split"]["clips"]
    assert films_out.provenance["clips"] == seen["held"]
    assert not set(seen["held"]) & set(seen["train"])
    _, metadata = load_teacher(copied)
    held = [planted.subjects.index(name) for name in metadata["split"]["valid"]]
    rows = np.isin(planted.subject, held)
    assert bank.counts.sum() == rows.sum()
    assert bank.subjects.max() <= len(held)
    assert bank.synthetic
    assert (
        bank.provenance["teacher"]["sha256"]
        == read_manifest(copied / "teacher.safetensors")["sha256"]
    )
    filled = bank.filled_from.any(1)
    assert f"{25 - filled.sum()} of 25 cells have their own prototype" in printed
    assert "25 of 25 cells can be reached by a rating" in printed
    for name in ("coverage.png", "topomaps.png", "paper.npz"):
        assert (copied / name).exists()


def test_neighbouring_ratings_have_alike_prototypes(copied):
    """The teacher learnt the planted signal, so the bank's geometry follows valence/arousal."""
    build_command.main([str(copied), "--centre"])
    bank = PrototypeBank.load(copied / "bank.safetensors")
    distance = np.linalg.norm(bank.centres[:, None] - bank.centres[None], axis=2).ravel()
    cosine = (bank.prototypes @ bank.prototypes.T).ravel()
    assert np.corrcoef(distance, cosine)[0, 1] < -0.6


def test_finer_grid_by_rating_and_by_prediction(copied, tmp_path, capsys):
    out = tmp_path / "seven" / "bank"
    build_command.main([str(copied), "--grid", "7", "--out", str(out)])
    assert "25 of 49 cells can be reached by a rating" in capsys.readouterr().out
    assert np.count_nonzero(PrototypeBank.load(out, grid=7).counts) <= 25
    out = tmp_path / "predicted" / "bank"
    build_command.main([str(copied), "--by", "prediction", "--out", str(out)])
    assert PrototypeBank.load(out).provenance["by"] == "prediction"
    assert "25 of 25 cells can be reached by a prediction" in capsys.readouterr().out


def test_existing_bank_or_picture_is_left_alone(copied, capsys):
    (copied / "coverage.png").write_bytes(b"mine")
    assert "left alone" in refused(capsys, build_command.main, [str(copied)])
    assert (copied / "coverage.png").read_bytes() == b"mine"
    assert not (copied / "bank.safetensors").exists()


def test_altered_teacher_and_other_maps_are_refused(copied, tmp_path, capsys):
    map_set(seed=1, support=2).save(tmp_path / "other")
    argv = [str(copied), "--maps", str(tmp_path / "other")]
    assert "is not the map set" in refused(capsys, build_command.main, argv)
    argv = [str(copied), "--maps", str(tmp_path / "absent")]
    assert "--maps" in refused(capsys, build_command.main, argv)
    file = copied / "teacher.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "altered or damaged" in refused(capsys, build_command.main, [str(copied)])
    assert not (copied / "bank.safetensors").exists()


def test_an_ablation_builds_the_bank_of_every_grid_from_one_teacher(teacher, tmp_path):
    config = AblateConfig(teacher=(teacher,), arms=("b3", "grid-7"))
    banks = make_banks(config, tmp_path, Console(quiet=True))
    assert set(banks) == {5, 7}
    sha256 = read_manifest(teacher / "teacher.safetensors")["sha256"]
    for grid, (path,) in banks.items():
        bank = PrototypeBank.load(path, grid=grid)
        assert bank.provenance["teacher"]["sha256"] == sha256
    assert make_banks(config, tmp_path, Console(quiet=True)) == banks  # not built again
    with pytest.raises(BankError, match="was not made from no teacher"):
        make_banks(AblateConfig(arms=("b3",)), tmp_path, Console(quiet=True))
    with pytest.raises(BankError, match="expected 5 x 5"):
        make_banks(AblateConfig(bank=tuple(banks[7])), tmp_path, Console(quiet=True))


def test_an_ablation_without_a_teacher_makes_banks_that_know_no_eeg(tmp_path):
    banks = make_banks(AblateConfig(arms=("b0", "b3", "grid-9")), tmp_path, Console(quiet=True))
    assert set(banks) == {5, 9}
    assert all(PrototypeBank.load(path).synthetic for (path,) in banks.values())
