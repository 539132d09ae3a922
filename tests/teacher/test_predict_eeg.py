"""A new recording is scored as the same clip was in training, alone where the scale allows it."""

import threading
from dataclasses import replace

import mne
import numpy as np
import pytest
import torch

from neurogaze_fast import predict_eeg as command
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.preprocess import COMMON_SITES
from neurogaze_fast.errors import CheckpointError, ConfigError, DataError
from neurogaze_fast.teacher.inputs import TOPOMAP, InputMaker
from neurogaze_fast.teacher.model import embed, load_teacher
from neurogaze_fast.teacher.predict import predict_eeg
from neurogaze_fast.teacher.run import TeacherRun
from tests.eeg.trials import CONFIG, people, trial
from tests.teacher.helpers import CPU, quick, silent

KINDS = {"topomap": TOPOMAP, "EEGNet": "EEGNet"}


def fif(path, one):
    """A trial as a recording: its baseline, then its clip."""
    info = mne.create_info(list(COMMON_SITES), 128.0, "eeg")
    data = np.concatenate([one.baseline, one.signal], axis=1) * 1e-6
    mne.io.RawArray(data, info, verbose="error").save(path, fmt="double", verbose="error")
    return path


@pytest.fixture(scope="module", params=["topomap", "EEGNet"])
def trained(request, tmp_path_factory):
    """(folder, maps, model name) of a teacher on the scale of its training windows."""
    if request.param != TOPOMAP:
        pytest.importorskip("braindecode")
    folder = tmp_path_factory.mktemp("teacher")
    maps = build_maps(people(), replace(CONFIG, keep_signals=True), synthetic=True)
    config = quick(
        normalise="train", epochs=1, train_subjects=2, valid_subjects=1, maps=folder, folds=3,
        splits=("people",), width=8, model=request.param,
    )  # fmt: skip
    TeacherRun(config, maps, folder / "t", silent()).train(threading.Event())
    return folder / "t", maps, request.param


def test_one_clip_alone_is_scored_as_among_the_rest(trained, tmp_path):
    folder, maps, name = trained
    one = trial(10)  # the first clip of the second person
    found = predict_eeg(fif(tmp_path / "new_raw.fif", one), folder, baseline=(0, 10))
    model, metadata = load_teacher(folder)
    mine = np.flatnonzero(maps.trial == 2)
    train = np.flatnonzero(np.isin(maps.subject, [maps.subjects.index(n) for n in
                                                  metadata["split"]["train"]]))  # fmt: skip
    train = train[maps.labelled[train]]
    store = InputMaker(maps, "train", name, CPU).of(train).store
    expected = embed(model, store.maps, mine, device=torch.device("cpu"))[1]
    # The file holds the baseline and the clip as one stretch: its edges are filtered otherwise.
    clip = found.clips[0]
    assert abs(len(clip.start) - 10 - len(mine)) <= 1
    raw = clip.raw[-len(mine) + 2 : -2]
    np.testing.assert_allclose(raw, expected[2:-2][-len(raw) :], atol=0.05)
    assert np.corrcoef(raw[:, 0], expected[2:-2][-len(raw) :, 0])[0, 1] > 0.9
    line = np.array(metadata["calibration"])
    np.testing.assert_allclose(clip.va, np.clip(line[:, 0] + line[:, 1] * clip.raw, -1, 1))


def test_the_command_prints_a_clip_and_writes_every_window(trained, tmp_path, capsys):
    folder, _, _ = trained
    file = fif(tmp_path / "new_raw.fif", trial(3))
    csv = tmp_path / "clips.csv"
    csv.write_text(
        "file,subject,clip,start_s,end_s,valence,arousal,baseline_start_s,baseline_end_s\n"
        "new_raw.fif,anna,film,10,30,,,0,10\n"
    )
    out = tmp_path / "windows.csv"
    command.main([str(file), "--teacher", str(folder), "--clips", str(csv), "--csv", str(out)])
    said = capsys.readouterr().out
    assert "anna" in said
    assert "synthetic recordings" in said
    rows = out.read_text().splitlines()
    assert rows[0] == "file,subject,clip,start_s,valence,arousal,valence_raw,arousal_raw"
    assert len(rows) == 1 + 19
    with pytest.raises(SystemExit):
        command.main([str(file), "--teacher", str(folder), "--csv", str(out)])
    assert "left alone" in capsys.readouterr().err


def test_what_cannot_be_scored_is_said(trained, tmp_path):
    folder, _, _ = trained
    with pytest.raises(DataError, match="is a folder"):
        predict_eeg(tmp_path, folder)
    info = mne.create_info(["Fp1", "Fp2", "C3", "C4", "O1"], 128.0, "eeg")
    data = np.random.default_rng(0).standard_normal((5, 128 * 20)) * 1e-5
    file = tmp_path / "few_raw.fif"
    mne.io.RawArray(data, info, verbose="error").save(file, verbose="error")
    with pytest.raises(DataError, match="without the site"):
        predict_eeg(file, folder)
    with pytest.raises(CheckpointError):
        predict_eeg(file, tmp_path / "no-teacher")
    with pytest.raises(ConfigError, match="--baseline"):
        command.parse(["x", "--teacher", "t", "--clips", "c", "--baseline", "0", "1"])
