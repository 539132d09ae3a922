"""Shards joined, and jobs that were stopped, give the files of one uninterrupted run."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mne")

from neurogaze_fast.artifacts import canonical_json, read_manifest, write_artifact
from neurogaze_fast.eeg import run_job as jobs
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.journal import Journal, sole_user
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.eeg.preprocess import COMMON_SITES
from neurogaze_fast.eeg.run_job import join_parts, run_job
from neurogaze_fast.eeg.sources import open_sources
from neurogaze_fast.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    Interrupted,
    OutputExistsError,
    RunInUseError,
)
from tests.eeg.bids_trees import recording

HEADER = "file,subject,clip,start_s,end_s,valence,arousal,baseline_start_s,baseline_end_s"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Options of a folder in which the whole set decides: two people in one recording, another
    with two recordings and a clip twice, one without a file, a rating outside its scale, a
    recording that lacks a site of the others, one low-passed below beta, and windows left out."""
    root = tmp_path_factory.mktemp("recordings")
    for at, name in enumerate(("a", "bc", "d", "d2", "e", "f", "h")):
        recording(root / name / "x.edf", seed=at, seconds=60)
    patch(root / "d2" / "x.edf", 256 + 16 * COMMON_SITES.index("T7"), b"Cz".ljust(16))
    patch(root / "h" / "x.edf", 256 + 14 * (16 + 80 + 5 * 8), b"LP:30Hz".ljust(80) * 14)
    rows = [
        *(f"a/x.edf,a,k{n},{10 + 15 * n},{25 + 15 * n},0.5,0.5,0,10" for n in range(3)),
        "bc/x.edf,b,k0,0,20,0.1,-0.5,,",
        "bc/x.edf,c,k0,20,40,-0.1,-0.5,,",
        "d/x.edf,d,k0,0,20,0.2,0.3,,",
        "e/x.edf,e,k1,0,20,3,0.3,,",
        "none/x.edf,g,k0,0,20,0.2,0.3,,",
        "d2/x.edf,d,k0,0,20,0.2,0.3,,",
        "d2/x.edf,d,k1,5,25,0.2,0.3,,",
        "e/x.edf,e,k2,0,20,-0.5,0.3,,",
        "f/x.edf,f,k2,0,20,-0.5,0.3,,",
        "h/x.edf,h,k2,0,20,-0.5,0.3,,",
    ]
    (root / "clips.csv").write_text("\n".join([HEADER, *rows]))
    return PrepareEegConfig(
        out=root, recording=root, ratings=root / "clips.csv", size=8, keep_signals=True,
        reject=60.0, all_channels=True,
    )  # fmt: skip


def patch(path, at, content):
    """Write bytes into a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)


def quiet(stage, done, total):
    pass


def go(config, out, stop=None, progress=quiet, **changes):
    return run_job(replace(config, out=out, **changes), progress, stop or threading.Event())


def files(folder):
    """Content of every file of a result by its name, without the demo's recordings."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "demo" not in path.relative_to(folder).parts
    }


@pytest.fixture(scope="module")
def once(given, tmp_path_factory):
    """Everything in one go."""
    out = tmp_path_factory.mktemp("once") / "out"
    go(given, out)
    return files(out)


@pytest.fixture(scope="module")
def parts(given, tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    for number in (1, 2, 3):
        go(given, root / str(number), shard=f"{number}/3")
    return root


def copies(parts, folder):
    """Three folders that may be spoilt."""
    shutil.copytree(parts, folder)
    return [folder / str(number) for number in (1, 2, 3)]


def join(folders, out):
    return join_parts(list(folders), out, quiet, threading.Event())


def test_the_set_has_what_only_the_whole_of_it_can_decide(once):
    summary = json.loads(once["summary.json"])
    assert summary["sources"]["file"]["subjects"] == [f"file-{name}" for name in "abcdef"]
    assert summary["left_out"] == {
        "rating outside its scale": 1,
        "the recording is missing": 1,
        "the subject has a clip of this name already": 1,
        "low-passed at 30 Hz in the header: no beta or gamma": 1,
    }
    assert len(summary["windows_left_out"]) > 0
    assert "T7" not in json.loads(once["maps/maps.json"])["names"]
    assert set(once) >= {"maps/maps.json", "maps.png", "summary.json"}
    assert not [name for name in once if name.startswith(("measured", "unfinished"))]


def test_one_go_is_what_is_built_in_memory(given, tmp_path):
    go(given, tmp_path / "out")
    kept, made = MapSet.load(tmp_path / "out"), build_maps(open_sources(given).trials, given)
    for field in dataclasses.fields(MapSet):
        one, other = getattr(kept, field.name), getattr(made, field.name)
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other)
        elif field.name != "sha256":
            if field.name == "provenance":
                other["files"].append(one["files"][-1])  # the csv
            assert one == other, field.name


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_joined_shards_are_the_files_of_one_go(parts, once, tmp_path, order):
    folders = [parts / str(number) for number in (1, 2, 3)]
    before = files(parts)
    join([folders[at] for at in order], tmp_path / "out")
    assert files(tmp_path / "out") == once
    assert files(parts) == before
    assert len(MapSet.load(tmp_path / "out")) == json.loads(once["maps/maps.json"])["windows"]


@pytest.mark.parametrize("count", [1, 9])
def test_any_number_of_shards_and_another_place_on_another_machine(given, once, tmp_path, count):
    """More shards than people: some are empty. The data lie elsewhere for every second shard."""
    elsewhere = tmp_path / "mounted" / given.recording.name
    shutil.copytree(given.recording, elsewhere)
    there = replace(given, recording=elsewhere, ratings=elsewhere / "clips.csv")
    folders = [tmp_path / f"p{number}" for number in range(count)]
    for number, folder in enumerate(folders):
        config = there if number % 2 else given
        go(config, folder, shard=f"{number + 1}/{count}", workers=1 + number % 2)
    join(folders, tmp_path / "out")
    assert files(tmp_path / "out") == once


def test_a_person_is_measured_in_one_shard_and_all_shards_share_the_work(parts):
    people = []
    for number in (1, 2, 3):
        journal = Journal.read(parts / str(number) / "measured")
        kept = [found.kept for at in journal.mine for found in journal.load(at)]
        people.append({part.trial.subject for part in kept if hasattr(part, "trial")})
    assert all(people)
    assert sum(map(len, people)) == len(set.union(*people)) == 7
    assert any({"file-b", "file-c"} <= mine for mine in people)  # they share a recording


def test_dreamer_and_mahnob_in_shards(tmp_path):
    demo = PrepareEegConfig(
        out=tmp_path / "once", demo=True, demo_subjects=3, demo_clips=2, demo_sessions=3,
        demo_seconds=10, size=8,
    )  # fmt: skip
    go(demo, tmp_path / "once")
    for number in (1, 2):
        go(demo, tmp_path / str(number), shard=f"{number}/2")
    join([tmp_path / "1", tmp_path / "2"], tmp_path / "joined")
    assert files(tmp_path / "joined") == files(tmp_path / "once")


def spoil(kind, folders, given):
    """Plant a difference; the folders to join."""
    one, two, three = folders
    if kind == "missing":
        return [one, three]
    if kind == "twice":
        return [one, two, three, two]
    if kind == "none":
        return []
    if kind == "another division":
        shutil.rmtree(three)
        go(given, three, shard="3/4")
    elif kind == "other options":
        shutil.rmtree(two)
        go(given, two, shard="2/3", size=10)
    elif kind == "other ratings":
        root = folders[0].parent / "data"
        shutil.copytree(given.recording, root)
        csv = root / "clips.csv"
        csv.write_text(csv.read_text().replace("0.5,0.5", "0.5,0.4"))
        shutil.rmtree(two)
        go(replace(given, recording=root, ratings=csv), two, shard="2/3")
    elif kind == "another recording":
        root = folders[0].parent / "data"
        shutil.copytree(given.recording, root)
        recording(root / "a" / "x.edf", seed=99, seconds=60)
        shutil.rmtree(two)
        go(replace(given, recording=root, ratings=root / "clips.csv"), two, shard="2/3")
    elif kind == "another version":
        path = two / "measured" / "job.json"
        content = json.loads(path.read_bytes())
        content["job"]["version"] = "0.0.1"
        write_artifact(path, canonical_json(content), read_manifest(path)["provenance"])
    elif kind == "not finished":
        next((two / "measured").glob("piece-*.manifest.json")).unlink()
    elif kind == "altered":
        path = next((two / "measured").glob("piece-*.safetensors"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif kind == "no shard":
        shutil.rmtree(two / "measured")
    elif kind == "mixed up":
        other = folders[0].parent / "other"
        go(given, other, shard="2/3", size=10)
        for path in (other / "measured").glob("piece-*"):
            shutil.copy(path, two / "measured")
    return folders


REFUSED = {
    "missing": (ConfigError, "Shard 2/3 is missing"),
    "twice": (ConfigError, "Shard 2/3 is there twice"),
    "none": (ConfigError, "nothing to join"),
    "another division": (ConfigError, "shard 3/4"),
    "other options": (ConfigError, "--size is 10 there and 8 here"),
    "other ratings": (DataError, "clips.csv is not the same"),
    "another recording": (DataError, "recording/a/x.edf is not the same"),
    "another version": (ConfigError, "by version 0.0.1"),
    "not finished": (ConfigError, "Shard 2/3 .* not finished"),
    "altered": (ConfigError, "Shard 2/3 .* not finished"),
    "no shard": (ArtifactError, "job.manifest.json cannot be read"),
    "mixed up": (ConfigError, "Shard 2/3 .* not finished"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_belong_together_is_not_joined(given, parts, tmp_path, kind):
    error, words = REFUSED[kind]
    folders = spoil(kind, copies(parts, tmp_path / "copy"), given)
    with pytest.raises(error, match=words):
        join(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_join_leaves_what_is_there_alone_and_can_be_stopped(parts, tmp_path):
    folders = [parts / str(number) for number in (1, 2, 3)]
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(OutputExistsError):
        join(folders, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="nothing was written"):
        join_parts(folders, tmp_path / "new", quiet, stop)
    assert not (tmp_path / "new").exists()


def stopping(after, stage="trials"):
    """(an event, a progress that sets it after so many)."""
    stop = threading.Event()

    def progress(name, done, total):
        if name == stage and done >= after:
            stop.set()

    return stop, progress


@pytest.mark.parametrize(("stage", "after"), [("trials", 4), ("trials", 7), ("maps", 1)])
def test_a_stopped_job_goes_on_and_ends_as_if_it_never_was(
    given, once, tmp_path, monkeypatch, stage, after
):
    out = tmp_path / "out"
    stop, progress = stopping(after, stage)
    with pytest.raises(Interrupted, match="measured"):
        go(given, out, stop, progress)
    with pytest.raises(ArtifactError):
        MapSet.load(out)
    kept = len(list((out / "measured").glob("piece-*.manifest.json")))
    assert kept
    read, real = [], jobs.measured

    def measured(trials, *rest):
        for number, found in real(trials, *rest):
            read.append(number)
            yield number, found

    monkeypatch.setattr(jobs, "measured", measured)
    outcome = go(given, out, workers=2)
    assert outcome.kept == kept
    assert len(set(read)) == outcome.pieces - kept  # what was measured is not measured again
    assert files(out) == once


def test_a_stopped_shard_goes_on_too_and_a_finished_one_stays(given, parts, tmp_path):
    stop, progress = stopping(3)
    with pytest.raises(Interrupted):
        go(given, tmp_path / "1", stop, progress, shard="1/3")
    go(given, tmp_path / "1", shard="1/3")
    assert files(tmp_path / "1") == files(parts / "1")
    assert go(given, tmp_path / "1", shard="1/3").kept > 0
    assert files(tmp_path / "1") == files(parts / "1")


def test_other_options_or_data_do_not_go_on_in_the_same_folder(given, tmp_path):
    stop, progress = stopping(4)
    with pytest.raises(Interrupted):
        go(given, tmp_path / "out", stop, progress)
    before = files(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"--size is 8 there and 9 here. .* remove .*measured"):
        go(given, tmp_path / "out", size=9)
    with pytest.raises(ConfigError, match="--shard is None there and '1/2' here"):
        go(given, tmp_path / "out", shard="1/2")
    root = tmp_path / "data"
    shutil.copytree(given.recording, root)
    recording(root / "f" / "x.edf", seed=50, seconds=60)
    other = replace(given, recording=root, ratings=root / "clips.csv")
    with pytest.raises(DataError, match=r"recording/f/x\.edf is not the same"):
        go(other, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_a_file_of_all_people_that_changed_meanwhile_is_no_longer_one(tmp_path):
    demo = PrepareEegConfig(
        out=tmp_path / "out", demo=True, demo_subjects=3, demo_clips=2, demo_sessions=1,
        demo_seconds=10, size=8,
    )  # fmt: skip
    stop, progress = stopping(3)
    with pytest.raises(Interrupted):
        go(demo, tmp_path / "out", stop, progress)
    file = tmp_path / "out" / "demo" / "DREAMER.mat"
    patch(file, file.stat().st_size // 2, b"\0" * 8)  # where a quick look does not reach
    with pytest.raises(ArtifactError, match=r"DREAMER\.mat was changed"):
        go(demo, tmp_path / "out")
    assert not (tmp_path / "out" / "maps").exists()


def test_two_processes_do_not_share_a_folder(given, tmp_path):
    with sole_user(tmp_path / "out"), pytest.raises(RunInUseError):
        go(given, tmp_path / "out")


def test_an_error_of_the_data_before_anything_is_measured_leaves_nothing(tmp_path, given):
    csv = tmp_path / "clips.csv"
    csv.write_text(f"{HEADER}\na/x.edf,a,k0,0,20,3,3,,\n")
    config = replace(given, ratings=csv, all_channels=False)
    with pytest.raises(DataError, match="--ratings-scale"):
        go(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


KILLED = """
import os, signal, sys
from neurogaze_fast import prepare
from neurogaze_fast.eeg import journal, map_files
kind, out = sys.argv[1:3]
count = 0
def ends(real, after, sent):
    def wrapped(*args, **options):
        global count
        count += 1
        if count > after:
            os.kill(os.getpid(), sent)
        return real(*args, **options)
    return wrapped
if kind == "maps":
    map_files.MapWriter.finish = ends(map_files.MapWriter.finish, 0, signal.SIGKILL)
else:
    sent = {"kill": signal.SIGKILL, "ctrl-c": signal.SIGINT}[kind]
    journal.Journal.write = ends(journal.Journal.write, 2, sent)
prepare.main(sys.argv[3:] + ["--out", out])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("kind", ["kill", "ctrl-c", "maps"])
def test_a_killed_process_goes_on(given, once, tmp_path, kind):
    out = tmp_path / "out"
    argv = [
        "eeg", "--recording", str(given.recording), "--ratings", str(given.ratings),
        "--size", "8", "--keep-signals", "--all-channels", "--reject", "60",
    ]  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, kind, str(out), *argv], capture_output=True, text=True
    )
    code = -signal.SIGKILL if kind in ("kill", "maps") else 143
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    if code == 143:
        assert ended.stderr.count("\n") == 1
        assert "The same command goes on from there" in ended.stderr
    with pytest.raises(ArtifactError):
        MapSet.load(out)
    assert go(given, out).kept >= 2
    assert files(out) == once
