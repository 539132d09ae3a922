"""The command as a user types it: its files, its figure, its table and its refusals."""

import dataclasses
import inspect
import json
import re

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast import prepare
from neurogaze_fast.artifacts import sha256_file
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.maps import MapSet

DEMO = [
    "eeg", "--demo", "--demo-subjects", "2", "--demo-seconds", "10", "--demo-sessions", "2",
    "--demo-clips", "3"]  # fmt: skip


def run(argv, capsys):
    """(exit code, standard output, standard error)."""
    code = 0
    try:
        prepare.main([str(word) for word in argv])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "demo"
    prepare.main([*DEMO, "--out", str(folder)])
    return folder


def test_a_recording_without_its_csv_is_told_what_belongs_there(tmp_path, capsys):
    code, _, said = run(["eeg", "--recording", tmp_path, "--out", tmp_path / "maps"], capsys)
    assert code == 2
    assert "file,subject,clip,start_s,end_s,valence,arousal" in said


def test_demo_writes_recordings_maps_figure_and_summary(demo):
    assert {p.name for p in demo.iterdir()} == {"demo", "maps", "maps.png", "summary.json"}
    maps = MapSet.load(demo)
    assert maps.synthetic
    assert maps.maps.shape[1:] == (4, 32, 32)
    assert {name.split("-")[0] for name in maps.subjects} == {"dreamer", "mahnob"}
    mahnob = np.array([name.startswith("mahnob") for name in maps.subjects])[maps.subject]
    assert maps.labelled[~mahnob].all()
    assert not maps.labelled[mahnob].any()
    with Image.open(demo / "maps.png") as image:
        assert min(image.size) > 300


def test_summary_is_the_maps_provenance(demo):
    summary = json.loads((demo / "summary.json").read_text())
    assert summary == MapSet.load(demo).provenance
    assert summary["synthetic"] is True
    by_name = {entry["file"]: entry["sha256"] for entry in summary["files"]}
    assert by_name["demo/DREAMER.mat"] == sha256_file(demo / "demo" / "DREAMER.mat")
    assert any(name.endswith("session.xml") for name in by_name)
    assert any(name.endswith(".bdf") for name in by_name)
    assert str(demo) not in (demo / "summary.json").read_text()


def test_the_demos_own_files_are_read_like_real_ones(demo, tmp_path, capsys):
    out = tmp_path / "again"
    source = demo / "demo"
    code, printed, _ = run(
        ["eeg", "--dreamer", source / "DREAMER.mat", "--mahnob", source / "MAHNOB",
         "--mahnob-labels", "--out", out],
        capsys,
    )  # fmt: skip
    assert code == 0
    first, second = MapSet.load(demo), MapSet.load(out)
    np.testing.assert_array_equal(first.maps, second.maps)
    assert second.labelled.any()
    assert second.synthetic  # the files say so themselves
    assert "Kept" in printed
    assert "dreamer" in printed
    assert "mahnob" in printed


def test_same_command_same_maps(demo, tmp_path):
    prepare.main([*DEMO, "--out", str(tmp_path / "two")])
    one, two = MapSet.load(demo), MapSet.load(tmp_path / "two")
    np.testing.assert_array_equal(one.maps, two.maps)


def test_existing_output_is_left_alone(demo, capsys):
    before = {p: p.read_bytes() for p in demo.rglob("*") if p.is_file()}
    code, _, err = run([*DEMO, "--out", demo], capsys)
    assert code == 2
    assert "OutputExistsError" in err
    assert {p: p.read_bytes() for p in demo.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "--dreamer"),
        (["--demo", "--dreamer", "x.mat"], "Leave one or the other out"),
        (["--recording", "x.bdf"], "--ratings"),
        (["--ratings", "x.csv"], "--recording"),
        (["--demo", "--all-channels"], "14 sites"),
        (["--dreamer", "x.mat", "--mahnob", "y", "--all-channels"], "14 sites"),
        (["--dreamer", "x.mat", "--mahnob-labels"], "--mahnob"),
        (["--demo", "--window", "0.5"], "--window is 0.5"),
        (["--demo", "--overlap", "1"], "--overlap is 1"),
        (["--demo", "--shard", "0/2"], "--shard is '0/2'"),
        (["--demo", "--shard", "3/2"], "--shard is '3/2'"),
        (["--demo", "--shard", "1"], "--shard is '1'"),
        (["--demo", "--reject", "nan"], "--reject is nan"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(
    argv, words, tmp_path, capsys
):
    code, _, err = run(["eeg", *argv, "--out", tmp_path / "out"], capsys)
    assert code == 2
    assert "ConfigError" in err
    assert words in err
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    code, _, err = run(
        ["eeg", "--dreamer", tmp_path / "DREAMER.mat", "--out", tmp_path / "out"], capsys
    )
    assert code == 2
    assert "DataError" in err
    assert "DREAMER.mat" in err
    assert not (tmp_path / "out").exists()


def test_help_names_the_subcommand_and_every_option(capsys):
    code, out, _ = run(["--help"], capsys)
    assert code == 0
    assert "eeg" in out
    code, out, _ = run(["eeg", "--help"], capsys)
    assert code == 0
    for flag in ("--dreamer", "--mahnob", "--recording", "--ratings", "--demo", "--out"):
        assert flag in out
    code, _, _ = run([], capsys)
    assert code == 2


def test_settings_hold_no_place(tmp_path):
    settings = PrepareEegConfig(out=tmp_path, dreamer=tmp_path / "DREAMER.mat").settings()
    assert str(tmp_path) not in json.dumps(settings)
    assert settings["window"] == 2.0


def test_every_option_is_explained():
    source = inspect.getsource(PrepareEegConfig)
    for field in dataclasses.fields(PrepareEegConfig):
        assert re.search(rf'    {field.name}: .*\n    """\S', source), field.name


def test_ctrl_c_before_anything_is_measured_writes_nothing(tmp_path, capsys, monkeypatch):
    from neurogaze_fast.eeg import run_job

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_job, "measured", stopped)
    with pytest.raises(SystemExit) as stop:
        prepare.main([*DEMO, "--out", str(tmp_path / "o")])
    assert stop.value.code == 143
    said = capsys.readouterr().err
    assert "nothing was written" in said
    assert "Traceback" not in said
    assert not (tmp_path / "o").exists()
