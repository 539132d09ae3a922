"""Cleaning: what it keeps, what it takes away, and what it leaves out with a reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogaze_fast.eeg.mahnob import SITES as MAHNOB_SITES
from neurogaze_fast.eeg.preprocess import (
    COMMON_SITES,
    Cleaned,
    CleanOptions,
    band_pass,
    clean,
    resample,
)
from neurogaze_fast.eeg.recording import LeftOut
from neurogaze_fast.eeg.windows import blinks, cut, peak_to_peak
from tests.eeg.trials import noise, sine, trial


def gain(frequency, sfreq=128.0):
    """Amplitude left of a sine, away from the ends."""
    x = sine(frequency, 1.0, seconds=20, sfreq=sfreq)[None]
    inner = slice(round(4 * sfreq), round(-4 * sfreq))
    return float(np.sqrt(2) * band_pass(x, sfreq)[0, inner].std())


@pytest.mark.parametrize("sfreq", [128.0, 256.0])
def test_pass_band_is_flat_and_mains_are_gone(sfreq):
    for frequency in (1.5, 4, 10, 31, 48.5):
        assert gain(frequency, sfreq) == pytest.approx(1, abs=0.005)
    for frequency in (50, 60):
        assert gain(frequency, sfreq) < 10 ** (-50 / 20)
    assert gain(0.1, sfreq) < 0.05


def test_band_pass_has_no_phase():
    x = sine(10, 1.0, seconds=20)
    np.testing.assert_allclose(band_pass(x[None], 128.0)[0, 500:-500], x[500:-500], atol=0.005)


@pytest.mark.parametrize("sfreq", [256.0, 250.0, 512.0, 1000.0])
def test_a_faster_recording_becomes_the_same_signal(sfreq):
    """Offset, drift and what would fold back (80, 100, 120 Hz) are gone; 20 Hz is as it was."""
    time = np.arange(round(20 * sfreq)) / sfreq
    x = sine(20, 1.0, seconds=20, sfreq=sfreq) + 5000 + 50 * time
    x += sum(sine(f, 20.0, seconds=20, sfreq=sfreq) for f in (80, 100, 120))
    found = resample(band_pass(x[None] - x.mean(), sfreq), sfreq, 128.0)
    assert found.shape == (1, 2560)
    expected = sine(20, 1.0, seconds=20)
    np.testing.assert_allclose(found[0, 400:-400], expected[400:-400], atol=0.03)


def test_a_clean_trial_keeps_its_shape_and_loses_its_mean():
    cleaned = clean(trial(signal=noise(0) + 4200))
    assert isinstance(cleaned, Cleaned)
    assert cleaned.signal.shape == (14, 2560)
    assert cleaned.baseline.shape == (14, 1280)
    assert cleaned.signal.dtype == np.float32
    assert not cleaned.interpolated.any()
    np.testing.assert_allclose(cleaned.signal.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(clean(trial()).signal, cleaned.signal, atol=0.02)


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.3, 3.0), seed=st.integers(0, 100))
def test_scaling_the_recording_scales_the_result(scale, seed):
    x = noise(seed, seconds=10)
    one, other = (clean(trial(signal=s, baseline=None)).signal for s in (x, x * np.float32(scale)))
    np.testing.assert_allclose(other, one * scale, atol=1e-4 * scale * np.abs(one).max())


def test_the_reference_recorded_with_does_not_matter():
    common = 30 * noise(7, channels=1)
    one, other = clean(trial()), clean(trial(signal=noise(0) + common))
    np.testing.assert_allclose(other.signal, one.signal, atol=0.01)
    assert not other.interpolated.any()


def test_a_bad_channel_shows_under_any_reference():
    common = 60 * noise(7, channels=1)
    cleaned = clean(trial(signal=spoiled("loud") + common))
    assert np.flatnonzero(cleaned.interpolated).tolist() == [5]


def spoiled(kind):
    signal = noise(0)
    if kind == "nan":
        signal[5, 700] = np.nan
    elif kind == "flat":
        signal[5] = 4000
    elif kind == "loud":
        signal[5] *= 40
    elif kind == "quiet":
        signal[5] *= 1e-3
    return signal


@pytest.mark.parametrize("kind", ["nan", "flat", "loud", "quiet"])
def test_a_bad_channel_is_interpolated_from_the_others(kind):
    whole, cleaned = clean(trial()), clean(trial(signal=spoiled(kind)))
    assert np.flatnonzero(cleaned.interpolated).tolist() == [5]
    assert np.isfinite(cleaned.signal).all()
    assert cleaned.signal[5].std() < 2 * whole.signal[5].std()
    # Whatever the bad channel held, the others say the same of one another.
    np.testing.assert_allclose(
        cleaned.signal[2] - cleaned.signal[8], whole.signal[2] - whole.signal[8], atol=1e-3
    )


def test_a_smooth_field_is_interpolated_well():
    """A field linear in position is smooth over the head: one lost channel is guessed closely."""
    from neurogaze_fast.eeg.montage import named_positions

    positions = named_positions(COMMON_SITES)
    field = positions @ np.array([100.0, 250.0])
    signal = (field[:, None] * sine(10, 1.0, seconds=20)).astype(np.float32) + 0.2 * noise(1)
    lost = signal.copy()
    lost[8] = np.nan
    options = CleanOptions(bad_channel=1e9)
    expected, found = (clean(trial(signal=s, baseline=None), options) for s in (signal, lost))
    error = (found.signal[8] - expected.signal[8]).std()
    assert error < 0.5 * expected.signal[8].std()


def test_a_channel_bad_in_the_baseline_alone_is_replaced_in_both():
    baseline = noise(9, seconds=10)
    baseline[3] = np.nan
    cleaned = clean(trial(baseline=baseline))
    assert np.flatnonzero(cleaned.interpolated).tolist() == [3]


def test_a_baseline_that_cannot_be_used_is_dropped_not_the_trial():
    broken = noise(9, seconds=10)
    broken[:6] = np.nan
    for baseline in (broken, noise(9, seconds=1), np.zeros((14, 0), np.float32)):
        cleaned = clean(trial(baseline=baseline))
        assert cleaned.baseline is None
        assert not cleaned.interpolated.any()


def test_too_many_bad_channels_leave_the_trial_out():
    signal = noise(0)
    signal[:4] = np.nan
    assert clean(trial(signal=signal)).reason == "more than 3 of 14 channels bad"
    volts = noise(0) * np.float32(1e-6)
    assert clean(trial(signal=volts)).reason == "every channel flat (is it in microvolts?)"


def test_what_cannot_be_cleaned_says_why():
    left = clean(trial(signal=noise(0, seconds=1)))
    assert isinstance(left, LeftOut)
    assert left.reason == "shorter than 1.7 s"
    assert left.what == "dreamer-01, clip clip-00"
    assert "less than 100 Hz" in clean(trial(sfreq=64.0)).reason
    assert clean(trial(ch_names=("X9", *COMMON_SITES[1:]))).reason == "without the site(s) AF3"


def test_mahnob_comes_down_to_the_common_sites_and_rate():
    signal = noise(3, channels=32, sfreq=256.0) + np.linspace(-9000, 9000, 32)[:, None]
    recorded = trial(
        signal=signal.astype(np.float32), baseline=None, sfreq=256.0, ch_names=MAHNOB_SITES
    )
    cleaned = clean(recorded)
    assert cleaned.ch_names == COMMON_SITES
    assert cleaned.signal.shape == (14, 2560)
    assert cleaned.sfreq == 128.0
    # The average reference is over the kept sites: the other 18 leave no trace.
    rows = [MAHNOB_SITES.index(site) for site in COMMON_SITES]
    alone = clean(trial(signal=recorded.signal[rows], baseline=None, sfreq=256.0))
    np.testing.assert_array_equal(cleaned.signal, alone.signal)
    everything = clean(recorded, CleanOptions(sites=None))
    assert everything.ch_names == MAHNOB_SITES


def test_windows_tile_one_trial():
    signal = np.arange(2 * 1000, dtype=np.float32).reshape(2, 1000)
    windows, start = cut(signal, 128.0, 2.0, 0.5)
    assert windows.shape == (6, 2, 256)
    np.testing.assert_array_equal(start, np.arange(6))
    for number, window in enumerate(windows):
        np.testing.assert_array_equal(window, signal[:, 128 * number : 128 * number + 256])
    assert len(cut(signal[:, :255], 128.0, 2.0, 0.5)[0]) == 0
    assert len(cut(signal[:, :256], 128.0, 2.0, 0.5)[0]) == 1
    assert len(cut(signal, 128.0, 2.0, 0.0)[0]) == 3


def test_peak_to_peak_and_blinks_are_per_window():
    signal = noise(4, seconds=8, microvolts=5.0)
    bump = 120 * np.exp(-0.5 * ((np.arange(1024) - 640) / 15) ** 2)
    for site in ("AF3", "AF4", "F7", "F8"):
        signal[COMMON_SITES.index(site)] += bump.astype(np.float32)
    windows, _ = cut(signal, 128.0, 2.0, 0.0)
    assert (peak_to_peak(windows).max(axis=1) > 90).tolist() == [False, False, True, False]
    assert blinks(windows, COMMON_SITES).tolist() == [False, False, True, False]
    back = tuple(name for name in COMMON_SITES if name not in ("AF3", "AF4"))
    assert not blinks(windows[:, :12], back).any()
