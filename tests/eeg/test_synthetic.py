"""Synthetic recordings: the real formats, the forward model, and what `strength` does."""

import numpy as np
import pytest

pytest.importorskip("mne")
pytest.importorskip("scipy")
from scipy.io import loadmat
from scipy.signal import welch

from neurogaze_fast.eeg import forward_model
from neurogaze_fast.eeg.bdf import bdf_defect
from neurogaze_fast.eeg.dreamer import SITES, read_dreamer
from neurogaze_fast.eeg.mahnob import SITES as MAHNOB_SITES
from neurogaze_fast.eeg.mahnob import read_mahnob
from neurogaze_fast.eeg.synthetic import is_synthetic, write_demo_dreamer, write_demo_mahnob
from neurogaze_fast.errors import ConfigError, OutputExistsError

SMALL = {"subjects": 2, "clips": 3, "seconds": 12.0, "baseline_seconds": 4.0}
SMALL_SESSIONS = {"sessions": 2, "seconds": 11.0, "margin": 2.0}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("dreamer") / "DREAMER.mat"
    write_demo_dreamer(path, **SMALL)
    return path


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mahnob") / "MAHNOB"
    write_demo_mahnob(folder, sessions=8, seconds=11.3, margin=30.0)
    return folder


def log_power(trial, site, low, high):
    x = trial.signal[trial.ch_names.index(site)].astype(np.float64)
    frequency, power = welch(x - x.mean(), trial.sfreq, nperseg=256)
    return np.log(power[(frequency >= low) & (frequency < high)].mean())


# DREAMER.mat


def test_the_nesting_is_the_published_one(small):
    root = loadmat(small)["DREAMER"][0, 0]
    assert root["Data"].shape == (1, 2)
    # As code written for the real file goes down.
    person = root["Data"][0, 1]
    assert person["EEG"][0, 0]["stimuli"][0, 0][2, 0].shape == (12 * 128, 14)
    assert person["EEG"][0, 0]["baseline"][0, 0][2, 0].shape == (4 * 128, 14)
    assert person["ScoreValence"][0, 0].shape == person["ScoreArousal"][0, 0].shape == (3, 1)
    assert root["EEG_SamplingRate"][0, 0] == 128
    assert [str(name[0]) for name in root["EEG_Electrodes"][0]] == list(SITES)
    assert "SYNTHETIC" in root["Disclaimer"][0]


def test_the_reader_takes_all_of_it(small):
    trials = list(read_dreamer(small))
    assert [(t.subject, t.clip) for t in trials] == [
        (f"dreamer-0{s}", f"clip-0{k}") for s in (1, 2) for k in (1, 2, 3)
    ]
    for trial in trials:
        assert trial.signal.shape == (14, 12 * 128)
        assert trial.baseline.shape == (14, 4 * 128)
        assert {(2 * trial.valence) % 1, (2 * trial.arousal) % 1} == {0.0}
        spread = np.median(trial.signal.std(axis=1))
        assert 3 < spread < 40  # microvolts
        assert (np.median(trial.signal, axis=1) > 3800).all()  # the headset's offset


def test_the_same_arguments_give_the_same_bytes(small, tmp_path):
    write_demo_dreamer(tmp_path / "again.mat", **SMALL)
    assert (tmp_path / "again.mat").read_bytes() == small.read_bytes()
    write_demo_dreamer(tmp_path / "other.mat", **SMALL, seed=1)
    assert (tmp_path / "other.mat").read_bytes() != small.read_bytes()


def test_a_larger_set_begins_with_the_smaller(small, tmp_path):
    write_demo_dreamer(tmp_path / "more.mat", **SMALL | {"subjects": 3, "clips": 4})
    more = {(t.subject, t.clip): t for t in read_dreamer(tmp_path / "more.mat")}
    for trial in read_dreamer(small):
        other = more[trial.subject, trial.clip]
        np.testing.assert_array_equal(trial.signal, other.signal)
        np.testing.assert_array_equal(trial.baseline, other.baseline)
        assert (trial.valence, trial.arousal) == (other.valence, other.arousal)


def test_without_a_baseline(tmp_path):
    options = SMALL | {"subjects": 1, "clips": 1, "baseline_seconds": 0}
    write_demo_dreamer(tmp_path / "a.mat", **options)
    assert [t.baseline for t in read_dreamer(tmp_path / "a.mat")] == [None]


def test_nothing_is_left_behind_or_overwritten(small, tmp_path):
    before = small.read_bytes()
    with pytest.raises(OutputExistsError, match="already exists"):
        write_demo_dreamer(small, **SMALL)
    assert small.read_bytes() == before
    assert [p.name for p in small.parent.iterdir()] == ["DREAMER.mat"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("scipy.io.savemat", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_demo_dreamer(tmp_path / "a.mat", **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"subjects": 0},
        {"clips": -1},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"baseline_seconds": -1},
        {"strength": -0.1},
        {"strength": float("inf")},
    ],
)
def test_sizes_that_make_no_recording(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        write_demo_dreamer(tmp_path / "a.mat", **SMALL | options)


# MAHNOB


def test_sessions_are_read_with_exact_cuts(sessions):
    trials = list(read_mahnob(sessions, labelled=True))
    assert [t.subject for t in trials] == ["mahnob-01"] * 4 + ["mahnob-02"] * 4
    assert len({t.clip for t in trials}) == 8
    for trial in trials:
        assert trial.ch_names == MAHNOB_SITES
        assert trial.signal.shape == (32, round(11.3 * 256))
        assert trial.baseline.shape == (32, 30 * 256)
    rated = [t for t in trials if t.valence is not None]
    assert len(rated) == 7
    for trial in rated:
        assert (4 * trial.valence) % 1 == (4 * trial.arousal) % 1 == 0


def test_bdf_has_the_real_files_channels(sessions):
    import mne

    for path in sessions.glob("Sessions/*/*.bdf"):
        assert bdf_defect(path) is None
    raw = mne.io.read_raw_bdf(path, verbose="error")
    assert raw.info["sfreq"] == 256
    assert len(raw.ch_names) == 47
    assert tuple(raw.ch_names[:32]) == MAHNOB_SITES
    assert raw.ch_names[-1] == "Status"
    status = raw.get_data(picks=[46])[0].astype(int)
    assert set(np.unique(status & 0xFFFF)) == {0, 268}
    assert np.flatnonzero(status & 0x10000).tolist() == [0]


def test_ratings_are_about_the_film(sessions):
    films = {name: (valence, arousal) for name, valence, arousal in forward_model.FILMS}
    aimed, rated = [], []
    for trial in read_mahnob(sessions, labelled=True):
        if trial.valence is not None:
            text = (trial.path.parent / "session.xml").read_text()
            aimed.append(films[text.split('mediaFile="')[1].split(".avi")[0]])
            rated.append((trial.valence, trial.arousal))
    aimed, rated = np.array(aimed), np.array(rated)
    assert np.abs(rated - aimed).mean() < 0.4
    assert np.abs(rated[:, ::-1] - aimed).mean() > 0.5


def test_sessions_are_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        write_demo_mahnob(tmp_path / name, **SMALL_SESSIONS)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 5
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_folder_with_something_in_it_stays(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(OutputExistsError):
        write_demo_mahnob(tmp_path, **SMALL_SESSIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "options", [{"sessions": 0}, {"seconds": -1}, {"margin": 0.5}, {"strength": -1}]
)
def test_sizes_that_make_no_session(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        write_demo_mahnob(tmp_path / "m", **SMALL_SESSIONS | options)
    assert not list(tmp_path.iterdir())


def test_what_is_synthetic_says_so(small, sessions, tmp_path):
    assert is_synthetic(small)
    assert is_synthetic(sessions)
    assert is_synthetic(sessions / "Sessions")
    assert all(is_synthetic(path) for path in sessions.glob("Sessions/*/*.bdf"))
    (tmp_path / "real.bdf").write_bytes(b"\xffBIOSEMI" + b" " * 300)
    assert not is_synthetic(tmp_path / "real.bdf")
    assert not is_synthetic(tmp_path)
    assert not is_synthetic(tmp_path / "nothing")


# The forward model


def test_leadfield_is_the_series_of_a_radial_dipole():
    cosine = np.linspace(-1, 1, 9)
    sites = np.stack([np.sqrt(1 - cosine**2), 0 * cosine, cosine], axis=1)
    found = forward_model.leadfield(sites, np.array([[0.0, 0.0, 1.0]]), 0.6)[:, 0]
    n = np.arange(1, 200)
    terms = np.concatenate([[0], (2 * n + 1) * 0.6 ** (n - 1)])
    expected = np.polynomial.legendre.legval(cosine, terms)
    np.testing.assert_allclose(found, expected / expected[-1], rtol=1e-10)


def test_a_dipole_is_strongest_above_itself_and_returns_elsewhere():
    rng = forward_model.generator(0)
    person = forward_model.draw_person(rng, MAHNOB_SITES)
    for source in ("F3", "O2", "Cz"):
        column = person.leadfield[:, forward_model.SOURCES.index(source)]
        assert MAHNOB_SITES[int(column.argmax())] == source
        assert column.min() < 0 < column.max()


def test_every_key_has_numbers_of_its_own():
    keys = [(0,), (0, 0), (0, 1), (1, 0), (0, 1, 0), (0, 1, 0, 0), (1,), (1, 1)]
    assert len({forward_model.generator(*key).random() for key in keys}) == len(keys)


def test_blinks_are_frontal():
    person = forward_model.draw_person(forward_model.generator(0), MAHNOB_SITES)
    assert MAHNOB_SITES[int(person.blink.argmax())] in ("Fp1", "Fp2")
    assert person.blink[MAHNOB_SITES.index("Oz")] < 0.01 * person.blink.max()


def test_alpha_peaks_at_the_persons_frequency_and_at_the_back():
    rng = forward_model.generator(3)
    person = forward_model.draw_person(rng, MAHNOB_SITES)
    signal = forward_model.simulate(rng, person, np.zeros(2), 256 * 60, 256)
    frequency, power = welch(signal.astype(np.float64), 256, nperseg=1024)
    near = (frequency > 7) & (frequency < 14)
    back = power[MAHNOB_SITES.index("Oz")]
    assert abs(frequency[near][back[near].argmax()] - person.alpha) < 1.0
    frontal = power[MAHNOB_SITES.index("Fp1")]
    assert back[near].mean() > 2 * frontal[near].mean()


@pytest.mark.parametrize("samples", [2560, 2561, 3001])
def test_any_length(samples):
    rng = forward_model.generator(1)
    person = forward_model.draw_person(rng, SITES)
    signal = forward_model.simulate(rng, person, np.zeros(2), samples, 128.0)
    assert signal.shape == (14, samples)
    assert signal.dtype == np.float32
    assert np.isfinite(signal).all()


def test_ratings_are_whole_numbers_in_range():
    rng = forward_model.generator(5)
    person = forward_model.draw_person(rng, SITES)
    rows = [
        forward_model.rate_felt(rng, forward_model.draw_felt(rng, person, i), 1, 9)
        for i in range(300)
    ]
    values = np.array(rows)
    assert values.min() >= 1
    assert values.max() <= 9
    assert len(np.unique(values)) == 9


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_at_most_one_channel_is_bad(probability):
    signal = np.ones((14, 500), np.float32)
    forward_model.spoil_channel(forward_model.generator(2), signal, probability)
    assert (np.ptp(signal, axis=1) > 0).sum() + (signal[:, 0] == 0).sum() == probability


# What `strength` does, measured from the written file


@pytest.fixture(scope="module")
def by_strength(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strength")
    out = {}
    for strength in (0.0, 1.0):
        path = folder / f"{strength}.mat"
        write_demo_dreamer(
            path, subjects=6, clips=18, seconds=24.0, baseline_seconds=0, strength=strength
        )
        # Without the few clips whose bad channel is one of those measured.
        used = [SITES.index(site) for site in ("F3", "F4", "O1", "O2", "T7", "T8")]
        out[strength] = []
        for trial in read_dreamer(path):
            spread = trial.signal[used].std(axis=1)
            if spread.min() > 1 and spread.max() < 60:
                out[strength].append(trial)
    return out


def asymmetry(trial):
    return log_power(trial, "F4", 8, 13) - log_power(trial, "F3", 8, 13)


def beta(trial):
    return sum(log_power(trial, site, 14, 30) for site in ("T7", "T8", "F3", "F4"))


def gamma(trial):
    return sum(log_power(trial, site, 32, 48) for site in ("T7", "T8", "F3", "F4"))


def back_alpha(trial):
    return log_power(trial, "O1", 8, 13) + log_power(trial, "O2", 8, 13)


@pytest.mark.parametrize(
    ("measure", "rating", "least"),
    [
        (asymmetry, "valence", 0.5),
        (beta, "arousal", 0.35),
        (gamma, "arousal", 0.35),
        (back_alpha, "arousal", -0.35),
    ],
)
def test_ratings_show_in_band_power_only_with_strength(by_strength, measure, rating, least):
    correlation, values = {}, {}
    for strength, trials in by_strength.items():
        values[strength] = np.array([measure(t) for t in trials])
        ratings = np.array([getattr(t, rating) for t in trials])
        subjects = np.array([t.subject for t in trials])
        within = values[strength].copy()
        for subject in np.unique(subjects):
            within[subjects == subject] -= within[subjects == subject].mean()
        correlation[strength] = np.corrcoef(within, ratings)[0, 1]
    assert abs(correlation[0.0]) < 0.3  # some 100 trials: three standard errors
    assert correlation[1.0] * np.sign(least) > abs(least)
    # Both were drawn from the same numbers, so the difference is the effect alone.
    effect = np.corrcoef(values[1.0] - values[0.0], ratings)[0, 1]
    assert effect * np.sign(least) > 0.8


def test_strength_changes_the_signal_but_not_the_ratings(by_strength):
    assert len(by_strength[0.0]) > 80
    for zero, one in zip(by_strength[0.0], by_strength[1.0], strict=True):
        assert (zero.subject, zero.clip) == (one.subject, one.clip)
        assert (zero.valence, zero.arousal) == (one.valence, one.arousal)
        assert not np.array_equal(zero.signal, one.signal)
