"""Arrays in the layouts of DEAP, AMIGOS, SEED and FACED, and pickles that are programs."""

import os
import pickle

import numpy as np
import pytest

pytest.importorskip("scipy")

import scipy.io as scipy_io

from neurogaze_fast.eeg.arrays import read_arrays
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.description import ArrayDescription, read_description
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.safe_pickle import read_pickle
from neurogaze_fast.eeg.sources import open_sources
from neurogaze_fast.errors import ConfigError, DataError
from tests.eeg.trials import noise

DESCRIPTION = """
name = "own"
files = ["{files}"]
rate = 128
axes = "trial channel time"
signal = "data"
ratings = "labels"
scale = [1, 9]
sites = ["AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4"]
"""


def read(root, name):
    found = list(read_arrays(root, read_description(name, ArrayDescription)))
    return [p for p in found if isinstance(p, Trial)], [p for p in found if isinstance(p, LeftOut)]


def deap(sine_at=13):
    data = np.stack([noise(n, channels=40, seconds=23) for n in range(2)]).astype(np.float64)
    time = np.arange(data.shape[2]) / 128
    data[:, sine_at] += 30 * np.sin(2 * np.pi * 10 * time)
    return {"data": data, "labels": np.array([[9.0, 1, 5, 5], [3.0, 7, 5, 5]])}


@pytest.mark.parametrize("kind", ["dat", "dat as Python 2 wrote it", "mat"])
def test_deap(tmp_path, kind):
    content = deap()
    if kind == "mat":
        scipy_io.savemat(tmp_path / "s01.mat", content, do_compression=True)
    else:
        protocol = 2 if "Python 2" in kind else 5
        text = pickle.dumps(content, protocol=protocol).replace(b"numpy._core", b"numpy.core")
        (tmp_path / "s01.dat").write_bytes(text if protocol == 2 else pickle.dumps(content))
    (first, second), out = read(tmp_path, "deap")
    assert out == []
    assert (first.subject, first.film, first.sfreq) == ("deap-01", "clip-01", 128.0)
    assert (first.valence, first.arousal) == (1, -1)
    assert (second.valence, second.arousal) == (-0.5, 0.5)
    np.testing.assert_array_equal(first.baseline, content["data"][0, :32, :384].astype(np.float32))
    np.testing.assert_array_equal(second.signal, content["data"][1, :32, 384:].astype(np.float32))
    config = PrepareEegConfig(
        out=tmp_path / "out", arrays=tmp_path, description="deap", baseline="none",
        reference="none", size=8, bad_channel=100.0,
    )  # fmt: skip
    maps = build_maps(open_sources(config).trials, config)
    rise = maps.level[0] - maps.level[0].mean(axis=1, keepdims=True)
    band, site = np.unravel_index(rise.argmax(), rise.shape)
    assert (maps.bands[band], maps.names[site]) == ("alpha", "O1")


def cells(values):
    found = np.empty((1, len(values)), object)
    for at, value in enumerate(values):
        found[0, at] = value
    return found


def test_amigos_time_first_arousal_first_and_a_rating_outside(tmp_path):
    signals = [noise(n, channels=17, seconds=20).T.astype(np.float64) for n in range(3)]
    ratings = [np.array([[9.0, 1, 5]]), np.array([[5.0, 7, 5]]), np.array([[0.0, 7, 5]])]
    content = {"joined_data": cells(signals), "labels_selfassessment": cells(ratings)}
    (tmp_path / "mat").mkdir()
    scipy_io.savemat(tmp_path / "mat/Data_Preprocessed_P07.mat", content)
    (first, second), (out,) = read(tmp_path, "amigos")
    assert (first.subject, first.arousal, first.valence) == ("amigos-07", 1, -1)
    assert (second.arousal, second.valence) == (0, 0.5)
    np.testing.assert_array_equal(first.signal, signals[0].T[:14, 640:].astype(np.float32))
    assert out.reason == "rating outside its scale"
    assert out.what.endswith("(valence 7.0, arousal 0.0)")
    content["labels_selfassessment"] = cells([*ratings[:2], np.array([[np.nan, 7, 5]])])
    scipy_io.savemat(tmp_path / "mat/Data_Preprocessed_P07.mat", content)
    _, (out,) = read(tmp_path, "amigos")
    assert out.reason == "rating is no number"


def test_seed_trials_by_number_and_sessions_of_one_person(tmp_path):
    signals = {f"djc_eeg{n}": noise(n, channels=62, seconds=12, sfreq=200) for n in (1, 2, 10)}
    for day in ("20131027", "20131030"):
        scipy_io.savemat(tmp_path / f"1_{day}.mat", dict(reversed(signals.items())))
    trials, out = read(tmp_path, "seed")
    assert [t.film for t in trials[:3]] == ["clip-01", "clip-02", "clip-03"]
    np.testing.assert_array_equal(trials[2].signal[0], signals["djc_eeg10"][0])
    assert len({(t.subject, t.clip) for t in trials}) == 6
    assert (len(trials[0].ch_names), trials[0].valence) == (60, None)
    assert [part.what for part in out] == ["channel CB1", "channel CB2"]


def test_a_recording_that_lies_there_in_two_kinds_is_read_once(tmp_path):
    content = deap()
    (tmp_path / "s01.dat").write_bytes(pickle.dumps(content))
    scipy_io.savemat(tmp_path / "s01.mat", content, do_compression=True)
    trials, (out,) = read(tmp_path, "deap")
    assert len(trials) == 2
    assert (out.what, out.reason) == ("s01.mat", "the same name as s01.dat")


def test_faced_ratings_of_another_file_by_the_films_number(tmp_path):
    data = np.stack([noise(n, channels=32, seconds=12, sfreq=250) for n in range(2)])
    (tmp_path / "Processed_data").mkdir()
    with open(tmp_path / "Processed_data/sub004.pkl", "wb") as file:
        pickle.dump(data.astype(np.float64), file)
    score = np.zeros((2, 12))
    score[0, 8:10], score[1, 8:10] = (7, 0), (3.5, 7)
    remarks = np.empty((1, 2), [("score", object), ("vid", object)])
    remarks["score"][0], remarks["vid"][0] = [score[0], score[1]], [2, 1]
    folder = tmp_path / "After_remarks/sub004"
    folder.mkdir(parents=True)
    scipy_io.savemat(folder / "After_remarks.mat", {"After_remark": remarks})
    (first, second), _ = read(tmp_path, "faced")
    assert (first.subject, first.arousal, first.valence) == ("faced-004", 0, 1)
    assert (second.arousal, second.valence) == (1, -1)
    assert "T7" in first.ch_names
    other = tmp_path / "EEG_Features/DE"  # features of FACED's own, which are no recordings
    other.mkdir(parents=True)
    (other / "sub004.pkl").write_bytes(pickle.dumps([1.0]))
    assert len(read(tmp_path, "faced")[0]) == 2
    (folder / "After_remarks.mat").unlink()
    with pytest.raises(DataError, match=r"After_remarks\.mat is missing"):
        read(tmp_path, "faced")


def test_the_ratings_of_one_trial_may_be_a_list(tmp_path):
    text = DESCRIPTION.format(files="s*.dat")
    (tmp_path / "one.toml").write_text(text)
    for ratings, fits in (([9.0, 1.0], True), ([[9.0, 1.0]], True), ([[9.0], [1.0]], False)):
        content = {"data": noise(0)[None].astype(np.float64), "labels": np.array(ratings)}
        (tmp_path / "s01.dat").write_bytes(pickle.dumps(content))
        if fits:
            (only,), out = read(tmp_path, str(tmp_path / "one.toml"))
            assert (only.valence, only.arousal, out) == (1, -1, [])
        else:
            with pytest.raises(DataError, match="labels has 2 rows for 1 trials"):
                read(tmp_path, str(tmp_path / "one.toml"))


def test_everything_that_maps_depend_on_is_hashed(tmp_path):
    text = DESCRIPTION.format(files="s*.dat") + 'ratings_file = "rated/{subject}.mat"\n'
    (tmp_path / "own.toml").write_text(text)
    (tmp_path / "s01.dat").write_bytes(pickle.dumps({"data": noise(0)[None].astype(np.float64)}))
    (tmp_path / "rated").mkdir()
    scipy_io.savemat(tmp_path / "rated/01.mat", {"labels": np.array([[9.0, 1.0]])})
    config = PrepareEegConfig(
        out=tmp_path / "out", arrays=tmp_path, description=str(tmp_path / "own.toml"),
        baseline="none", size=8,
    )  # fmt: skip
    sources = open_sources(config)
    maps = build_maps(sources.trials, config, also_hash=sources.beside)
    assert sorted(entry["file"].split("/")[-1] for entry in maps.provenance["files"]) == [
        "01.mat", "own.toml", "s01.dat",
    ]  # fmt: skip


class Program:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_is_a_program_is_not_run(tmp_path):
    mark = tmp_path / "was_run"
    (tmp_path / "s01.dat").write_bytes(pickle.dumps({"data": Program(mark)}))
    with pytest.raises(DataError, match=r"posix\.system"):
        read(tmp_path, "deap")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [np.array([{}], object), np.zeros(1, [("a", "f8")]), {1, 2}, np.array(["2020"], "M8[D]"), len],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, content):
    path = tmp_path / "x.pkl"
    for protocol in (2, 5):
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(DataError, match="pickle"):
            read_pickle(path)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol_are_what_they_were(tmp_path, protocol):
    path = tmp_path / "x.pkl"
    content = {
        "by rows": np.arange(6, dtype=">i2").reshape(2, 3), "text": "é", "number": np.float32(2.5),
        "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "list": [1, None, (2.5,)],
    }  # fmt: skip
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(path)
    for key in ("by rows", "by columns"):
        np.testing.assert_array_equal(found[key], content[key])
    assert (found["text"], found["number"], found["list"]) == ("é", 2.5, [1, None, [2.5]])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        read_pickle(path)


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no file"):
        read(tmp_path, "deap")
    (tmp_path / "s02.dat").write_bytes(pickle.dumps({"data": 5}))
    with pytest.raises(DataError, match="the signal is a int"):
        read(tmp_path, "deap")
    (tmp_path / "s02.dat").unlink()
    scipy_io.savemat(tmp_path / "s01.mat", {"eeg": np.zeros((2, 2))})
    with pytest.raises(DataError, match="no variable data; it has eeg"):
        read(tmp_path, "deap")
    content = deap()
    scipy_io.savemat(tmp_path / "s01.mat", content | {"labels": content["labels"][:1]})
    with pytest.raises(DataError, match="1 rows for 2 trials"):
        read(tmp_path, "deap")
    scipy_io.savemat(tmp_path / "s01.mat", content | {"data": content["data"][:, :20]})
    with pytest.raises(DataError, match="20 channels"):
        read(tmp_path, "deap")
    with pytest.raises(ConfigError, match="--arrays needs --description"):
        PrepareEegConfig(out=tmp_path, arrays=tmp_path)
