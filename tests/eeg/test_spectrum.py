"""Band power against scipy and MNE, and against what a sine and noise must give."""

import math

import mne
import numpy as np
import pytest
import torch
from scipy import signal as ss

from neurogaze_fast.eeg.preprocess import band_pass
from neurogaze_fast.eeg.spectrum import (
    BANDS,
    differential_entropy,
    features,
    welch,
    welch_power,
)
from neurogaze_fast.errors import OperatorError
from tests.eeg.trials import noise, sine

WHOLE = {"all": (0, 64.5)}


@pytest.mark.parametrize(("samples", "sfreq"), [(256, 128), (301, 128), (777, 127), (500, 250.5)])
@pytest.mark.parametrize("overlap", [0.5, 0.0, 0.75])
def test_density_equals_scipy(samples, sfreq, overlap):
    x = np.random.default_rng(samples).standard_normal((3, 4, samples)) + 1e3
    length = round(sfreq)
    frequency, expected = ss.welch(
        x, sfreq, window="hann", nperseg=length, noverlap=int(length * overlap),
        detrend="constant", scaling="density",
    )  # fmt: skip
    got_frequency, got = welch(torch.from_numpy(x), sfreq, segment=length / sfreq, overlap=overlap)
    np.testing.assert_allclose(got_frequency, frequency, rtol=1e-12)
    np.testing.assert_allclose(got[..., 1:], expected[..., 1:], rtol=1e-6)
    np.testing.assert_allclose(got[..., 0], expected[..., 0], atol=1e-6 * expected.max())


@pytest.mark.parametrize("samples", [256, 389])
def test_density_equals_mne(samples):
    x = noise(1, seconds=samples / 128).astype(np.float64)
    expected, frequency = mne.time_frequency.psd_array_welch(
        x, 128.0, fmin=1, n_fft=128, n_per_seg=128, n_overlap=64, window="hann", verbose="error"
    )
    got_frequency, got = welch(torch.from_numpy(x), 128.0)
    np.testing.assert_allclose(got_frequency[1:], frequency)
    np.testing.assert_allclose(got[:, 1:], expected, rtol=1e-6)


def test_float32_is_close_to_float64_despite_an_offset_of_a_thousand_times():
    x = noise(2) + 4000
    exact = welch_power(torch.from_numpy(x.astype(np.float64)), 128.0)
    single = welch_power(torch.from_numpy(x), 128.0)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=2e-4, atol=0)
    plain = torch.from_numpy(noise(2))
    torch.testing.assert_close(
        welch_power(plain, 128.0).double(), welch_power(plain.double(), 128.0), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(("frequency", "band"), [(6, 0), (10.5, 1), (20, 2), (40.25, 3)])
def test_sine_lands_in_its_band_with_half_its_amplitude_squared(frequency, band):
    x = torch.from_numpy(sine(frequency, amplitude=3.0, seconds=30))[None]
    power = welch_power(x, 128.0)[:, 0]
    assert power[band] == pytest.approx(4.5, rel=2e-3)
    assert power[torch.arange(4) != band].sum() < 1e-2


def test_edges_belong_to_the_upper_band_and_bands_share_nothing():
    edges = {"low": (0, 8), "high": (8, 64.5)}
    x = torch.from_numpy(noise(3).astype(np.float64))
    parts, whole = welch_power(x, 129.0, edges), welch_power(x, 129.0, WHOLE)
    torch.testing.assert_close(parts.sum(0), whole[0])
    # Resolutions that are no binary fraction: 8 Hz is the 80th step of 0.1 Hz.
    frequencies, density = welch(x, 128.0, segment=10.0)
    first = int(np.flatnonzero(frequencies.numpy() > 7.95)[0])
    expected = density[:, first : first + 60].sum(-1) * 0.1
    got = welch_power(x, 128.0, {"alpha": (8, 14)}, segment=10.0)
    torch.testing.assert_close(got[0], expected)


def test_whole_spectrum_holds_the_variance_of_noise():
    x = np.random.default_rng(4).standard_normal((1, 128 * 500)) * 3
    power = welch_power(torch.from_numpy(x), 128.0, {"all": (0, 64)})
    assert float(power) == pytest.approx(9, rel=0.03)  # the Nyquist frequency and 0 are outside


def test_batch_equals_one_by_one_and_layout_does_not_matter():
    x = torch.from_numpy(np.stack([noise(i, seconds=2) for i in range(5)]))
    power = welch_power(x, 128.0)
    assert power.shape == (5, 4, 14)
    for one, single in zip(x, power, strict=True):
        torch.testing.assert_close(welch_power(one, 128.0), single)
    strided = x.transpose(0, 2).contiguous().transpose(0, 2)
    torch.testing.assert_close(welch_power(strided, 128.0), power)
    assert welch_power(x[:0], 128.0).shape == (0, 4, 14)


def test_scaling_shifts_the_logarithm():
    x = torch.from_numpy(noise(5).astype(np.float64))
    shift = features(welch_power(3 * x, 128.0)) - features(welch_power(x, 128.0))
    torch.testing.assert_close(shift, torch.full_like(shift, 2 * math.log(3)))
    torch.testing.assert_close(
        features(welch_power(x + 100, 128.0)), features(welch_power(x, 128.0)), rtol=1e-9, atol=1e-9
    )


def test_entropy_is_that_of_the_band_passed_signal():
    x = noise(6, channels=6, seconds=120).astype(np.float64)
    entropy = differential_entropy(welch_power(torch.from_numpy(x), 128.0))
    for band, (low, high) in enumerate(BANDS.values()):
        # Edges half a step down, where a frequency's share of the spectrum begins.
        taps = ss.firwin(2049, [low - 0.5, high - 0.5], pass_zero=False, fs=128.0)
        filtered = ss.oaconvolve(x, taps[None], mode="valid", axes=1)
        expected = 0.5 * np.log(2 * np.pi * np.e * filtered.var(axis=1))
        np.testing.assert_allclose(entropy[band], expected, atol=0.05)


def test_entropy_is_half_the_log_power_plus_a_constant():
    power = torch.rand(3, 4, 5, dtype=torch.float64) + 0.1
    constant = features(power, "de") - 0.5 * features(power)
    torch.testing.assert_close(
        constant, torch.full_like(power, 0.5 * math.log(2 * math.pi * math.e))
    )
    assert torch.isfinite(features(torch.zeros(1, 4, 5))).all()


def test_what_cannot_be_computed_is_refused():
    x = torch.from_numpy(noise(7, seconds=2))
    for call in (
        lambda: welch_power(x[:, :100], 128.0),
        lambda: welch_power(x.long(), 128.0),
        lambda: welch_power(x[0], 128.0),
        lambda: welch_power(x, 128.0, overlap=1.0),
        lambda: welch_power(x, 128.0, {"none": (4.2, 4.8)}),
        lambda: welch_power(x, 90.0),
        lambda: features(x, "power"),
    ):
        with pytest.raises(OperatorError):
            call()


def test_band_pass_leaves_the_bands_alone():
    x = noise(8, seconds=60).astype(np.float64)
    before, after = (welch_power(torch.from_numpy(s), 128.0) for s in (x, band_pass(x, 128.0)))
    torch.testing.assert_close(after, before, rtol=0.02, atol=0)
