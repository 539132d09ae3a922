"""predict-eeg on the files of consumer headsets says what it says of the same EEG in an EDF."""

import csv
import threading
from dataclasses import replace

import numpy as np
import pytest

from neurogaze_fast import predict_eeg as command
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.teacher.run import TeacherRun
from tests.eeg import tables
from tests.eeg.edf_files import SITES, write_edf
from tests.eeg.trials import CONFIG, noise, people
from tests.teacher.helpers import quick, silent

SIGNAL = np.rint(noise(7, seconds=40) * 10) / 10
"""10 s of rest and a clip of 30 s."""
FAST = np.rint(noise(8, seconds=40, sfreq=250) * 10) / 10
MUSE_SIGNAL = np.rint(noise(9, channels=4, seconds=40, sfreq=256) * 10) / 10


def muse_people():
    for number, one in enumerate(people()):
        part = {"signal": one.signal[:4], "ch_names": tables.MUSE}
        rest = None if one.baseline is None else noise(500 + number, channels=4, seconds=10.0)
        yield replace(one, baseline=rest, **part)


@pytest.fixture(scope="module", params=["emotiv", "muse"])
def teacher(request, tmp_path_factory):
    """(which headset's, folder) of a teacher that scores one clip alone."""
    folder = tmp_path_factory.mktemp("teacher")
    muse = request.param == "muse"
    clips = folder / "clips.csv"
    clips.write_text("file,subject,clip,start_s,end_s,valence,arousal\nx.csv,1,a,0,30,,\n")
    config = replace(CONFIG, demo=False, recording=folder, ratings=clips, all_channels=muse)
    maps = build_maps(muse_people() if muse else people(), config, synthetic=True)
    options = quick(normalise="train", epochs=1, train_subjects=2, valid_subjects=1, maps=folder,
                    folds=3, splits=("people",), width=8)  # fmt: skip
    TeacherRun(options, maps, folder / "t", silent()).train(threading.Event())
    return request.param, folder / "t"


def openbci(path, data, lost=()):
    """16 channels of a Cyton with Daisy, of which 14 have a name in the table beside it."""
    names = ["n/a", *SITES, "n/a"]
    tables.write_channels(path.with_name(f"{path.stem}_channels.tsv"), names)
    return tables.write_openbci(path, np.vstack([data[:1], data, data[:1]]), lost=lost)


HEADSETS = {
    "emotiv": {
        "EmotivPRO": ("a.csv", tables.write_emotivpro, SIGNAL, 128, SITES),
        "TestBench": ("b.csv", tables.write_testbench, SIGNAL, 128, SITES),
        "OpenBCI": ("c.txt", openbci, FAST, 250, SITES),
        "any": ("d.tsv", lambda path, data: tables.write_plain(path, data, mark="\t"), SIGNAL,
                128, SITES),
    },
    "muse": {
        "Mind Monitor": ("e.csv", tables.write_mind_monitor, MUSE_SIGNAL, 256, tables.MUSE),
        "muselsl": ("f.csv", tables.write_muselsl, MUSE_SIGNAL, 256, tables.MUSE),
    },
}  # fmt: skip


def answers(recording, teacher, *options):
    """start_s and the uncalibrated answers, [n] and [n, 2], that the command writes."""
    out = recording.with_name(f"{recording.name}.answers")
    command.main([str(recording), "--teacher", str(teacher), "--csv", str(out), *options])
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {recording.name}
    raw = [[float(row["valence_raw"]), float(row["arousal_raw"])] for row in rows]
    return np.array([float(row["start_s"]) for row in rows]), np.array(raw)


def test_a_headsets_table_is_answered_as_the_same_eeg_in_an_edf(teacher, tmp_path, capsys):
    which, folder = teacher
    for kind, (name, write, data, sfreq, names) in HEADSETS[which].items():
        table = write(tmp_path / name, data)
        edf = write_edf(tmp_path / f"{table.stem}.edf", list(data), sfreq, labels=names)
        whole = answers(table, folder, "--baseline", "0", "10")
        capsys.readouterr()
        expected = answers(edf, folder, "--baseline", "0", "10")
        assert "Left out" not in capsys.readouterr().out
        assert len(whole[0]) == len(expected[0]) == 39, kind
        np.testing.assert_allclose(whole[1], expected[1], atol=2e-3, err_msg=kind)
        assert np.ptp(expected[1], axis=0).min() > 0.02  # the windows differ


def test_time_that_a_headset_lost_is_not_answered(teacher, tmp_path, capsys):
    which, folder = teacher
    for name, write, data, sfreq, _ in HEADSETS[which].values():
        if name == "d.tsv":  # written without losses
            continue
        table = write(tmp_path / name, data, lost=[(20 * sfreq, 20 * sfreq + sfreq // 2)])
        csv_file = tmp_path / "clips.tsv"
        csv_file.write_text(
            "file,subject,clip,start_s,end_s,valence,arousal,baseline_start_s,baseline_end_s\n"
            f"{name},anna,film,10,40,,,0,10\n"
        )
        start, _ = answers(table, folder, "--clips", str(csv_file))
        assert "anna" in capsys.readouterr().out
        assert len(start) in (29 - 2, 29 - 3), name
        assert not {9.0, 10.0} & set(start)


def test_what_a_table_lacks_is_said(teacher, tmp_path, capsys):
    which, folder = teacher
    if which == "muse":
        table, says = tables.write_emotivpro(tmp_path / "a.csv", SIGNAL), "without the site(s) TP9"
    else:
        table, says = tables.write_openbci(tmp_path / "a.txt", FAST[:8]), "channels.tsv"
    with pytest.raises(SystemExit) as ended:
        command.main([str(table), "--teacher", str(folder)])
    assert ended.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())
