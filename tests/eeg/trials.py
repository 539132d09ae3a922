"""Made-up trials: noise with a spectrum like EEG's, without any file."""

from pathlib import Path

import numpy as np

from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.preprocess import COMMON_SITES
from neurogaze_fast.eeg.recording import Trial

CONFIG = PrepareEegConfig(out=Path("unused"), demo=True, size=8)


def noise(seed, channels=14, seconds=20.0, sfreq=128.0, microvolts=10.0):
    """float32 [C, T]: power falls with frequency; part of it is shared by the channels."""
    generator = np.random.default_rng(seed)
    samples = round(seconds * sfreq)
    frequency = np.fft.rfftfreq(samples, 1 / sfreq)
    shape = 1 / np.sqrt(np.maximum(frequency, 1))
    own, shared = (
        np.fft.irfft(np.fft.rfft(generator.standard_normal((n, samples))) * shape, samples)
        for n in (channels, 1)
    )
    mixed = own + 0.5 * shared
    return (mixed / mixed.std() * microvolts).astype(np.float32)


def trial(seed=0, **changes):
    """A labelled 14-channel trial with a baseline of 10 s; `changes` replace its fields."""
    metadata = {
        "source": "dreamer",
        "subject": "dreamer-01",
        "clip": f"clip-{seed:02d}",
        "signal": noise(seed),
        "baseline": noise(seed + 1000, seconds=10.0),
        "sfreq": 128.0,
        "ch_names": COMMON_SITES,
        "valence": 0.5,
        "arousal": -0.5,
        "path": Path(__file__),
    }
    return Trial(**(metadata | changes))


def sine(frequency, amplitude, seconds=4.0, sfreq=128.0, phase=0.3):
    """float64 [T]."""
    time = np.arange(round(seconds * sfreq)) / sfreq
    return amplitude * np.sin(2 * np.pi * frequency * time + phase)


def people():
    """Three labelled people with two clips each, and one unlabelled without baseline."""
    for person in range(3):
        for clip in range(2):
            yield trial(10 * person + clip, subject=f"dreamer-{person + 1:02d}", valence=clip - 0.5)
    yield trial(77, source="mahnob", subject="mahnob-3", valence=None, arousal=None, baseline=None)
