"""From a recording to maps: each stage, and MNE and torcheeg doing the same to the same windows.

The recording is one simulated DREAMER trial of 60 s (14 channels, 128 Hz: 59 windows of 2 s, 236
maps of 32x32). Everybody is given the cleaned windows and ends with band power, or entropy, as
maps; cleaning is timed apart. MNE: psd_array_welch and its topomap interpolation, map by map.
torcheeg: BandDifferentialEntropy (what its examples use; it filters every window four times) or
BandPowerSpectralDensity (Welch, as here), and ToInterpolatedGrid (9x9 pixels, its default), window
by window; it is not among the benchmark requirements (bench_topomap.py says why).

Three ratios are often mixed up, so each stage is timed alone, too: the interpolation alone is
hundreds of times as fast, band power alone a few times, and windows to maps lies between.
"""

import statistics

import numpy as np
import pytest
import torch

from benchmarks.bench_topomap import DREAMER, mne_call
from benchmarks.measure import hardware, seconds
from neurogaze_fast.eeg.dreamer import read_dreamer
from neurogaze_fast.eeg.interpolation import TopomapOperator
from neurogaze_fast.eeg.preprocess import clean
from neurogaze_fast.eeg.spectrum import BANDS, features, welch_power
from neurogaze_fast.eeg.synthetic import write_demo_dreamer
from neurogaze_fast.eeg.windows import cut
from neurogaze_fast.ops import topomap

SIZE = 32
TURNS = 7
SLOW = ("mne", "torcheeg")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    path = tmp_path_factory.mktemp("eeg") / "DREAMER.mat"
    write_demo_dreamer(path, subjects=1, clips=1)
    return next(iter(read_dreamer(path)))


def ours(windows, sfreq, operator):
    power = features(welch_power(torch.from_numpy(windows), sfreq))
    return topomap(power, operator)


def with_mne(windows, sfreq, interpolate):
    from mne.time_frequency import psd_array_welch

    density, hz = psd_array_welch(
        windows.astype(np.float64),
        sfreq,
        n_fft=int(sfreq),
        n_overlap=int(sfreq) // 2,
        window="hann",
        verbose=False,
    )
    bands = [(hz >= low) & (hz < high) for low, high in BANDS.values()]
    power = np.log(np.stack([density[..., band].sum(-1) for band in bands], axis=1))
    return np.stack([interpolate(values) for window in power for values in window])


def with_torcheeg(windows, entropy, interpolate):
    return [interpolate(eeg=entropy(eeg=window)["eeg"])["eeg"] for window in windows]


@pytest.mark.timeout(600)
@pytest.mark.benchmark(group="eeg")
def test_recording_to_maps(benchmark, trial):
    cleaned = clean(trial)
    windows, _ = cut(cleaned.signal, cleaned.sfreq, 2.0, 0.5)
    windows = np.ascontiguousarray(windows)
    operator = TopomapOperator.from_names(DREAMER, SIZE)
    interpolate = mne_call(operator, SIZE)
    power = features(welch_power(torch.from_numpy(windows), cleaned.sfreq))
    precise = torch.from_numpy(windows.astype(np.float64))
    rivals = {
        "native": lambda: ours(windows, cleaned.sfreq, operator),
        "mne": lambda: with_mne(windows, cleaned.sfreq, interpolate),
        "clean": lambda: clean(trial),
        "band power": lambda: welch_power(torch.from_numpy(windows), cleaned.sfreq),
        "band power, float64": lambda: welch_power(precise, cleaned.sfreq),
        "interpolation": lambda: topomap(power, operator),
        "mne, interpolation": lambda: [interpolate(v) for window in power.numpy() for v in window],
    }
    found = rivals["native"]().flatten(0, 1).double().numpy()
    expected = np.nan_to_num(rivals["mne"]())
    inside = operator.mask
    # MNE's density is not detrended piece by piece, so a band's power differs in the third place.
    assert np.abs(found - expected.reshape(found.shape))[:, inside].max() < 0.1
    try:
        from torcheeg.datasets.constants import DREAMER_CHANNEL_LOCATION_DICT
        from torcheeg.transforms import (
            BandDifferentialEntropy,
            BandPowerSpectralDensity,
            ToInterpolatedGrid,
        )

        bands = {name: list(edges) for name, edges in BANDS.items()}
        options = {"sampling_rate": int(cleaned.sfreq), "band_dict": bands}
        entropy, density = BandDifferentialEntropy(**options), BandPowerSpectralDensity(**options)
        grid = ToInterpolatedGrid(DREAMER_CHANNEL_LOCATION_DICT)
        rivals["torcheeg"] = lambda: with_torcheeg(windows, entropy, grid)
        rivals["torcheeg, Welch"] = lambda: with_torcheeg(windows, density, grid)
    except ImportError:
        pass
    times = {name: [] for name in rivals}
    for call in rivals.values():
        call()
    for _ in range(TURNS):
        for name, call in rivals.items():
            times[name].append(seconds(call, 1 if name.startswith(SLOW) else 20))
    benchmark.pedantic(rivals["native"], rounds=20, warmup_rounds=2)
    maps = len(windows) * len(BANDS)
    benchmark.extra_info |= {
        "hardware": hardware(),
        "maps": maps,
        "turns": TURNS,
        "ms": {name: round(1e3 * statistics.median(t), 3) for name, t in times.items()},
        "maps_per_s": {name: round(maps / statistics.median(t)) for name, t in times.items()},
        "times": {
            name: round(statistics.median(t / n for t, n in zip(v, times["native"], strict=True)))
            for name, v in times.items()
            if name in ("mne", "torcheeg", "torcheeg, Welch")
        },
    }
