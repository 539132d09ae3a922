"""From trials to maps: correction, scaling by subject, interpolation, and what is left out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.eeg.maps import FLAGS
from neurogaze_fast.eeg.preprocess import COMMON_SITES, clean
from neurogaze_fast.eeg.recording import LeftOut
from neurogaze_fast.eeg.scaling import scaled_by_subject, subject_scale
from neurogaze_fast.eeg.spectrum import BANDS, welch_power
from neurogaze_fast.eeg.windows import cut
from neurogaze_fast.errors import ConfigError, DataError
from tests.eeg.trials import CONFIG, noise, people, trial


@pytest.fixture(scope="module")
def made():
    return build_maps(people(), CONFIG, synthetic=True)


def test_shapes_labels_and_subjects(made):
    assert made.maps.shape == (7 * 19, 4, 8, 8)
    assert made.power.shape == (7 * 19, 4, 14)
    assert made.subjects == ("dreamer-01", "dreamer-02", "dreamer-03", "mahnob-3")
    assert made.names == COMMON_SITES
    assert made.bands == tuple(BANDS)
    assert made.labelled.sum() == 6 * 19
    np.testing.assert_array_equal(made.start[:19], np.arange(19))
    np.testing.assert_array_equal(made.trial, np.repeat(np.arange(7), 19))
    assert made.valence[0] == -0.5
    assert made.valence[19] == 0.5
    assert (made.flags[made.subject == 3] & FLAGS["no_baseline"]).all()
    assert not (made.flags[made.subject < 3] & FLAGS["no_baseline"]).any()


def test_a_split_by_subject_separates_every_window_and_trial(made):
    """Windows overlap, so a window on the other side of a split would be half known already."""
    for one in range(len(made.subjects)):
        here, there = made.rows(made.subject == one), made.rows(made.subject != one)
        assert len(here)
        assert len(here) + len(there) == len(made)
        assert not set(here.trial) & set(there.trial)
        assert set(here.subject) == {one}
    # Interleaved input must not change whose window is whose: sort it and compare.
    trials = list(people())
    mixed = build_maps([trials[i] for i in (0, 2, 4, 6, 1, 3, 5)], CONFIG)
    for name in made.subjects:
        mine = made.power[made.subject == made.subjects.index(name)]
        other = mixed.power[mixed.subject == mixed.subjects.index(name)]
        np.testing.assert_array_equal(mine, other)


def test_each_subject_is_scaled_by_its_own_windows_alone(made):
    for one in range(len(made.subjects)):
        mine = made.power[made.subject == one].astype(np.float64)
        np.testing.assert_allclose(mine.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(mine.std(axis=0), 1, atol=1e-6)
    # Another person's recording, however loud, leaves the rest exactly as they were.
    trials = list(people())
    trials[4] = replace(trials[4], signal=trials[4].signal * 1.5)
    other = build_maps(trials, CONFIG)
    same = made.subject != 2
    np.testing.assert_array_equal(other.power[same], made.power[same])


def test_zscore_is_exact_and_constants_become_zero():
    generator = np.random.default_rng(0)
    power = (generator.standard_normal((50, 2, 3)) * 5 + 7).astype(np.float32)
    power[:, 1, 2] = 4.25
    subject = generator.integers(0, 3, 50)
    scaled = scaled_by_subject(power, subject, *subject_scale(power, subject, subject.max() + 1))
    for one in range(3):
        mine = power[subject == one].astype(np.float64)
        with np.errstate(invalid="ignore"):
            expected = (mine - mine.mean(0)) / mine.std(0)
        expected[:, 1, 2] = 0
        np.testing.assert_allclose(scaled[subject == one], expected, atol=1e-6)


def test_baseline_correction_is_exact():
    """z-scoring hides an offset within one trial, so two trials with unlike baselines tell."""
    pair = [trial(0), replace(trial(1), baseline=2 * noise(1001, seconds=10.0))]
    corrected = []
    for one in pair:
        cleaned = clean(one)
        windows, rest = (
            torch.from_numpy(cut(part, 128.0, 2.0, 0.5)[0].copy())
            for part in (cleaned.signal, cleaned.baseline)
        )
        level = welch_power(rest, 128.0).double().log().mean(0)
        corrected.append(welch_power(windows, 128.0).double().log() - level)
    both = torch.cat(corrected).numpy()
    expected = (both - both.mean(0)) / both.std(0)
    made = build_maps(pair, CONFIG)
    np.testing.assert_allclose(made.power, expected, atol=1e-5)
    # Without a baseline each trial is centred on itself.
    alone = build_maps([replace(one, baseline=None) for one in pair], CONFIG)
    for number in range(2):
        np.testing.assert_allclose(alone.power[alone.trial == number].mean(0), 0, atol=1e-5)


def test_a_baselines_artefact_does_not_count():
    pair = [trial(0), trial(1)]
    jerk = pair[1].baseline.copy()
    jerk[:, 600:640] += (
        400 * np.sin(np.arange(40)) * np.sign(np.arange(14) - 6.5)[:, None]
    ).astype(np.float32)
    one, other = (
        build_maps(pair, CONFIG),
        build_maps([pair[0], replace(pair[1], baseline=jerk)], CONFIG),
    )
    # Three of nine baseline windows fewer: other noise, but no jump of the trial's level.
    level = [made.power[made.trial == 1].mean(axis=0) for made in (one, other)]
    assert np.abs(level[1] - level[0]).mean() < 0.25


def test_a_louder_amplifier_changes_nothing():
    pair = [trial(0), trial(1)]
    louder = [replace(t, signal=1.5 * t.signal, baseline=1.5 * t.baseline) for t in pair]
    one, other = build_maps(pair, CONFIG), build_maps(louder, CONFIG)
    np.testing.assert_allclose(other.power, one.power, atol=1e-3)


def test_both_features_give_the_same_maps(made):
    entropy = build_maps(people(), replace(CONFIG, feature="de"))
    np.testing.assert_allclose(entropy.power, made.power, atol=1e-5)


def test_maps_are_the_operators(made):
    operator = TopomapOperator.from_names(COMMON_SITES, 8)
    assert made.provenance["operator"] == operator.fingerprint
    expected = (made.power.astype(np.float64) @ operator.matrix).reshape(-1, 4, 8, 8)
    np.testing.assert_allclose(made.maps, expected, rtol=1e-3, atol=2e-3)
    assert not made.maps[:, :, ~operator.mask].any()


def test_everything_left_out_is_counted_with_its_reason():
    broken = noise(3)
    broken[:5, 100] = np.nan
    loud = noise(4)
    loud[:, 600:700] += (
        500
        * np.sin(np.arange(100))[None].astype(np.float32)
        * np.sign(np.arange(14) - 6.5)[:, None].astype(np.float32)
    )
    made = build_maps(
        [
            trial(0),
            LeftOut(Path("x"), "subject 9, clip 1", "rating missing"),
            trial(1, signal=broken),
            trial(2, signal=loud),
            trial(5, subject="dreamer-07", signal=noise(5, seconds=2.5)),
            trial(6, signal=60 * noise(6)),
            trial(8, signal=noise(8, seconds=1.9)),
        ],
        CONFIG,
        also_hash=[Path(__file__)],
    )
    metadata = made.provenance
    swings = "a channel swings by more than 150 microvolts"
    assert metadata["left_out"] == {
        "rating missing": 1,
        "more than 3 of 14 channels bad": 1,
        "the subject's only window": 1,
        f"in every window {swings}": 1,
        "shorter than a window of 2 s": 1,
    }
    assert metadata["left_out_examples"]["rating missing"] == ["subject 9, clip 1"]
    assert metadata["windows_left_out"] == {swings: 3}
    source = metadata["sources"]["dreamer"]
    assert (source["trials"], source["windows"]) == (2, 19 + 16)
    assert source["subjects"] == ["dreamer-01"]
    assert np.unique(made.trial).tolist() == [0, 1]
    assert {entry["file"] for entry in metadata["files"]} == {"eeg/trials.py", "eeg/test_build.py"}
    json.dumps(metadata, allow_nan=False)


def test_nothing_usable_says_why():
    with pytest.raises(DataError, match="rating missing"):
        build_maps([LeftOut(Path("x"), "all of it", "rating missing")], CONFIG)
    for reason, advice in (
        ("rating is no number", "Write ratings as numbers"),
        ("rating outside its scale", "by --ratings-scale"),
    ):
        with pytest.raises(DataError, match=advice):
            build_maps([LeftOut(Path("x"), "all of it", reason)], CONFIG)
    with pytest.raises(DataError, match="there were no trials"):
        build_maps([], CONFIG)


def test_all_channels_keeps_what_the_first_trial_has():
    names = ("Fz", "Cz", "Pz", "Oz", "C3", "C4")
    own = [trial(i, signal=noise(i, channels=6), baseline=None, ch_names=names) for i in range(2)]
    config = PrepareEegConfig(out=Path("x"), mahnob=Path("y"), all_channels=True, size=8)
    made = build_maps([*own, trial(5)], config)
    assert made.names == names
    assert made.provenance["left_out"] == {"other channels than the first trial": 1}
    with pytest.raises(DataError, match="--all-channels"):
        build_maps(own, CONFIG)


def test_workers_make_the_same_maps():
    one = build_maps(people(), CONFIG, synthetic=True)
    two = build_maps(people(), replace(CONFIG, workers=2), synthetic=True)
    assert one.power.tobytes() == two.power.tobytes()
    assert one.maps.tobytes() == two.maps.tobytes()
    assert one.provenance == two.provenance


def test_other_bands_and_no_baseline():
    config = replace(CONFIG, bands=("delta", "alpha", "mu=8-13"), baseline="none")
    maps = build_maps(people(), config)
    assert maps.bands == ("delta", "alpha", "mu")
    assert maps.provenance["band_edges"]["mu"] == [8.0, 13.0]
    cleaned = clean(trial(0))
    windows = torch.from_numpy(cut(cleaned.signal, 128.0, 2.0, 0.5)[0].copy())
    edges = {"delta": (1, 4), "alpha": (8, 14), "mu": (8, 13)}
    expected = welch_power(windows, 128.0, edges).double().log()
    np.testing.assert_allclose(maps.unscaled()[maps.trial == 0], expected, atol=1e-5)
    assert not (maps.flags & FLAGS["no_baseline"]).any()
    for bands, match in (
        (("nu",), "none of"),
        (("alpha", "alpha"), "twice"),
        (("a=0.1-4",), "1 to"),
    ):
        with pytest.raises(ConfigError, match=match):
            replace(CONFIG, bands=bands)


def test_one_channel_that_swings_is_interpolated_and_a_blink_keeps_its_window():
    calm = build_maps([trial(0), trial(1)], CONFIG)
    signal = noise(0)
    signal[4, 5 * 128 : 6 * 128] += 400 * np.sin(2 * np.pi * 6 * np.arange(128) / 128)
    loud = build_maps([replace(trial(0), signal=signal), trial(1)], CONFIG)
    assert len(loud) == len(calm)
    hit = (loud.trial == 0) & (np.abs(loud.start - 5) < 1.5)
    assert (loud.flags[hit] & FLAGS["interpolated"]).any()
    blink = 300 * np.exp(-0.5 * ((np.arange(2560) / 128 - 8) / 0.12) ** 2)
    signal = noise(0)
    for row, share in ((0, 1.0), (13, 1.0), (1, 0.5), (12, 0.5), (2, 0.4), (11, 0.4)):
        signal[row] += share * blink.astype(np.float32)
    blinked = build_maps([replace(trial(0), signal=signal), trial(1)], CONFIG)
    assert len(blinked) == len(calm)
    near = (blinked.trial == 0) & (blinked.start >= 6.5) & (blinked.start <= 7.5)
    assert (blinked.flags[near] & FLAGS["blink"]).all()
    assert blinked.provenance["windows_left_out"] == {}
