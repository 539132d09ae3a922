"""DREAMER.mat: what is read, what is left out, and what ends the run."""

import numpy as np
import pytest

pytest.importorskip("scipy")
from scipy.io import savemat

from neurogaze_fast.eeg.dreamer import SITES, read_dreamer
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import ConfigError, DataError

SAMPLES = 1500  # 11.7 s


def cell(entries, shape):
    out = np.empty(len(entries), object)
    for i, entry in enumerate(entries):
        out[i] = entry
    return out.reshape(shape)


def content(subjects=2, clips=3, samples=SAMPLES, dtype=np.float64):
    """The published nesting; sample t of channel c, subject s, clip k is unlike every other."""

    def clip(s, k, length, shift=0.0):
        t = np.arange(length, dtype=np.float64)[:, None]
        return (4000 + shift + 1000 * s + 100 * k + np.arange(14) + 1e-2 * t).astype(dtype)

    people = []
    for s in range(subjects):
        films = [clip(s, k, samples + 10 * k) for k in range(clips)]
        rests = [clip(s, k, 256, 0.5) for k in range(clips)]
        people.append(
            {
                "Age": "22",
                "Gender": "male",
                "EEG": {
                    "baseline": cell(rests, (clips, 1)),
                    "stimuli": cell(films, (clips, 1)),
                },
                "ScoreValence": (1.0 + (np.arange(clips)[:, None] + s) % 5),
                "ScoreArousal": (5.0 - (np.arange(clips)[:, None] + s) % 5),
            }
        )
    return {
        "Data": cell(people, (1, subjects)),
        "EEG_SamplingRate": 128,
        "EEG_Electrodes": cell(list(SITES), (1, 14)),
        "noOfSubjects": subjects,
    }


def save(path, root, name="DREAMER"):
    savemat(path, {name: root})
    return path


@pytest.fixture
def mat(tmp_path):
    return tmp_path / "DREAMER.mat"


def read(path, **options):
    found = list(read_dreamer(path, **options))
    assert all(isinstance(part, Trial | LeftOut) for part in found)
    return found


def changed(mat, change):
    root = content()
    change(root)
    return save(mat, root)


# What is read


def test_every_clip_comes_in_order(mat):
    trials = read(save(mat, content()))
    assert [(t.subject, t.clip) for t in trials] == [
        (f"dreamer-0{s}", f"clip-0{k}") for s in (1, 2) for k in (1, 2, 3)
    ]
    root = content()
    for i, trial in enumerate(trials):
        person = root["Data"][0, i // 3]
        film = person["EEG"]["stimuli"][i % 3, 0]
        assert trial.signal.dtype == trial.baseline.dtype == np.float32
        assert trial.signal.flags.c_contiguous
        np.testing.assert_array_equal(trial.signal, film.T.astype(np.float32))
        rest = person["EEG"]["baseline"][i % 3, 0]
        np.testing.assert_array_equal(trial.baseline, rest.T.astype(np.float32))
        assert (trial.source, trial.sfreq, trial.ch_names) == ("dreamer", 128.0, SITES)
        assert trial.path == mat


@pytest.mark.parametrize("rating", [1, 2, 3, 4, 5])
def test_ratings_map_to_the_unit_square(mat, rating):
    root = content(1, 1)
    root["Data"][0, 0]["ScoreValence"][0, 0] = rating
    root["Data"][0, 0]["ScoreArousal"][0, 0] = 6 - rating
    (trial,) = read(save(mat, root))
    assert trial.valence == (rating - 3) / 2
    assert trial.arousal == (3 - rating) / 2


def test_the_last_seconds_are_taken_to_the_sample(mat):
    save(mat, content(1, 1, samples=2000))
    whole = read(mat)[0].signal
    assert whole.shape == (14, 2000)
    last = read(mat, seconds=12)[0].signal
    np.testing.assert_array_equal(last, whole[:, -12 * 128 :])
    assert read(mat, seconds=2000 / 128)[0].signal.shape == (14, 2000)


def test_sixty_seconds_are_the_default(mat):
    save(mat, content(1, 1, samples=61 * 128, dtype=np.float32))
    assert read(mat)[0].signal.shape == (14, 60 * 128)


def test_one_subject_with_one_clip(mat):
    (trial,) = read(save(mat, content(1, 1)))
    assert trial.signal.shape == (14, SAMPLES)


def test_a_struct_array_does_as_well_as_a_cell_of_structs(mat):
    root = content()
    people = root["Data"][0]
    array = np.empty((1, 2), [(name, object) for name in people[0]])
    for i, person in enumerate(people):
        for name, value in person.items():
            array[0, i][name] = value
    root["Data"] = array
    assert [t.subject for t in read(save(mat, root))] == ["dreamer-01"] * 3 + ["dreamer-02"] * 3


def test_electrodes_in_another_order_and_case_keep_their_names(mat):
    root = content(1, 1)
    root["EEG_Electrodes"] = cell([name.lower() for name in reversed(SITES)], (1, 14))
    (trial,) = read(save(mat, root))
    assert trial.ch_names == SITES[::-1]


def test_integers_and_compression_are_read(mat):
    savemat(mat, {"DREAMER": content(1, 2, dtype=np.int32)}, do_compression=True)
    assert len(read(mat)) == 2


def test_no_baseline_is_none(mat):
    root = content(1, 2)
    root["Data"][0, 0]["EEG"]["baseline"][1, 0] = np.zeros((0, 0))
    trials = read(save(mat, root))
    assert trials[0].baseline is not None
    assert trials[1].baseline is None


# What is left out


def put(part, key, value):
    def change(root):
        person = root["Data"][0, 1]
        target = person["EEG"][part] if part in person["EEG"] else person[part]
        if callable(value):
            value(target[key])
        else:
            target[key] = value

    return change


def spoil(value, rows=5, columns=3):
    return lambda clip: clip.__setitem__((rows, columns), value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("stimuli", (1, 0), np.ones((1279, 14))), "shorter than 10 s"),
        (put("stimuli", (1, 0), np.zeros((0, 0))), "shorter than 10 s"),
        (put("stimuli", (1, 0), np.ones((SAMPLES, 13))), "wrong number of channels"),
        (put("stimuli", (1, 0), np.ones((14, SAMPLES))), "wrong number of channels"),
        (put("stimuli", (1, 0), spoil(np.nan)), "NaN or infinity in the signal"),
        (put("stimuli", (1, 0), spoil(np.inf)), "NaN or infinity in the signal"),
        (put("stimuli", (1, 0), spoil(-np.inf, -1, -1)), "NaN or infinity in the signal"),
        (put("stimuli", (1, 0), np.full((SAMPLES, 14), 4300.0)), "flat signal"),
        (put("baseline", (1, 0), spoil(np.nan)), "NaN or infinity in the baseline"),
        (put("baseline", (1, 0), np.full((256, 14), 1.0)), "flat baseline"),
        (put("baseline", (1, 0), np.ones((256, 3))), "wrong number of channels in the baseline"),
        (put("ScoreValence", (1, 0), 0), "rating outside 1..5"),
        (put("ScoreValence", (1, 0), 6), "rating outside 1..5"),
        (put("ScoreArousal", (1, 0), np.nan), "rating is no number"),
        (put("ScoreArousal", (1, 0), -np.inf), "rating outside 1..5"),
    ],
)
def test_one_bad_clip_is_left_out_and_the_rest_stays(mat, change, reason):
    found = read(changed(mat, change))
    (bad,) = [part for part in found if isinstance(part, LeftOut)]
    assert (bad.what.partition(" (")[0], bad.reason) == ("subject 2, clip 2", reason)
    assert ("(valence " in bad.what) == ("rating" in reason)
    assert bad.path == mat
    assert found.index(bad) == 4
    assert len(found) == 6


def test_ten_seconds_are_just_enough(mat):
    assert isinstance(read(save(mat, content(1, 1, samples=1280)))[0], Trial)


def test_one_flat_channel_is_left_to_cleaning(mat):
    (trial,) = read(save(mat, _with_flat_channel()))
    assert np.ptp(trial.signal[4]) == 0


def _with_flat_channel():
    root = content(1, 1)
    root["Data"][0, 0]["EEG"]["stimuli"][0, 0][:, 4] = 7
    return root


# What ends the run


def drop(*keys):
    def change(root):
        target = root
        for key in keys[:-1]:
            target = target[key]
        del target[keys[-1]]

    return change


def assign(value, *keys):
    def change(root):
        target = root
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return change


SECOND = ("Data", (0, 1))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (drop("Data"), "DREAMER.Data is missing"),
        (drop("EEG_SamplingRate"), "DREAMER.EEG_SamplingRate is missing"),
        (drop("EEG_Electrodes"), "DREAMER.EEG_Electrodes is missing"),
        (drop(*SECOND, "EEG"), "DREAMER.Data[2].EEG is missing"),
        (drop(*SECOND, "EEG", "stimuli"), "DREAMER.Data[2].EEG.stimuli is missing"),
        (drop(*SECOND, "EEG", "baseline"), "DREAMER.Data[2].EEG.baseline is missing"),
        (drop(*SECOND, "ScoreValence"), "DREAMER.Data[2].ScoreValence is missing"),
        (drop(*SECOND, "ScoreArousal"), "DREAMER.Data[2].ScoreArousal is missing"),
        (assign(3.0, *SECOND), "DREAMER.Data[2].EEG is missing"),
        (assign("EEG", *SECOND, "EEG"), "DREAMER.Data[2].EEG.stimuli is missing"),
        (assign("x", *SECOND, "EEG", "stimuli"), "DREAMER.Data[2].EEG.stimuli is not"),
        (assign("x", *SECOND, "EEG", "stimuli", (2, 0)), "DREAMER.Data[2].EEG.stimuli[3] is not"),
        (
            assign(np.zeros((4, 4, 4)), *SECOND, "EEG", "baseline", (0, 0)),
            "DREAMER.Data[2].EEG.baseline[1] is not",
        ),
        (
            assign(1j * np.ones((SAMPLES, 14)), *SECOND, "EEG", "stimuli", (0, 0)),
            "DREAMER.Data[2].EEG.stimuli[1] is not",
        ),
        (assign(np.ones((2, 1)), *SECOND, "ScoreValence"), "Data[2].ScoreValence has 2 entries"),
        (assign(np.ones((4, 1)), *SECOND, "ScoreArousal"), "Data[2].ScoreArousal has 4 entries"),
        (assign("high", *SECOND, "ScoreArousal"), "Data[2].ScoreArousal is not"),
        (assign(0, "EEG_SamplingRate"), "EEG_SamplingRate is 0"),
        (assign([128, 256], "EEG_SamplingRate"), "EEG_SamplingRate is not one number"),
        (assign("fast", "EEG_SamplingRate"), "EEG_SamplingRate is not"),
        (assign(cell(["Fp1"] * 14, (1, 14)), "EEG_Electrodes"), "EEG_Electrodes is Fp1"),
        (assign(cell(list(SITES[:13]), (1, 13)), "EEG_Electrodes"), "EEG_Electrodes is AF3"),
        (assign(np.zeros((0, 0)), "Data"), "DREAMER.Data is not"),
    ],
)
def test_another_structure_is_refused_and_names_the_field(mat, change, field):
    changed(mat, change)
    with pytest.raises(DataError) as caught:
        read(mat)
    assert field in str(caught.value)
    assert str(mat) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(mat):
    with pytest.raises(DataError, match="cannot be read"):
        read(mat)


def test_a_folder(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_another_variable(mat):
    with pytest.raises(DataError, match="no variable DREAMER"):
        read(save(mat, content(), name="DEAP"))


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 4000, b"MATLAB 5.0 MAT-file" + b" " * 300])
def test_other_bytes(mat, data):
    mat.write_bytes(data)
    with pytest.raises(DataError):
        read(mat)


@pytest.mark.parametrize(
    "head", [b"MATLAB 7.3 MAT-file, Platform: GLNXA64", b"\x89HDF\r\n\x1a\n"], ids=["mat", "hdf"]
)
def test_version_7_3_says_how_to_convert(mat, head):
    mat.write_bytes(head.ljust(1000, b"\0"))
    with pytest.raises(DataError, match=r"7\.3.*-v7"):
        read(mat)


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file(mat, keep):
    save(mat, content())
    data = mat.read_bytes()
    mat.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError):
        read(mat)


@pytest.mark.parametrize("seconds", [0, -1, 9.9, float("nan"), float("inf")])
def test_seconds_must_hold_a_clip(mat, seconds):
    with pytest.raises(ConfigError, match="seconds"):
        read(save(mat, content(1, 1)), seconds=seconds)
