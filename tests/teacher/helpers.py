"""Small map sets with a known relation between maps and ratings, and a quick configuration."""

import io
import math
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console

from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.teacher.config import TrainTeacherConfig

CPU = torch.device("cpu")


SITES = ("AF3", "F7", "F3", "T7", "O1", "O2")


LEVELS = np.array([-1, -0.5, 0, 0.5, 1])


def map_set(
    subjects=6, trials=6, windows=8, *, signal=2.0, support=0, size=8, seed=0, noise=0.5, bands=2
):
    """A MapSet whose maps hold V/A linearly (planted), and noise.

    The first map's left half rises with valence, the second's upper half with arousal, `signal`
    standard deviations from one end of the scale to the other. `support` more are unlabelled.
    """
    generator = np.random.default_rng(seed)
    people = subjects + support
    trial = np.repeat(np.arange(people * trials), windows)
    subject = trial // trials
    rating = LEVELS[generator.integers(0, 5, (people * trials, 2))]
    va = rating[trial].astype(np.float32)
    count = len(trial)
    maps = noise * generator.standard_normal((count, bands, size, size))
    power = noise * generator.standard_normal((count, bands, len(SITES)))
    maps[:, 0, :, : size // 2] += signal / 2 * va[:, 0, None, None]
    maps[:, 1, size // 2 :, :] += signal / 2 * va[:, 1, None, None]
    power[:, 0, :3] += signal / 2 * va[:, 0, None]
    power[:, 1, 3:] += signal / 2 * va[:, 1, None]
    maps[:, :, 0, 0] = 0  # outside the head
    va[subject >= subjects] = np.nan
    names = [f"dreamer-{i + 1:02d}" for i in range(subjects)]
    names += [f"mahnob-{i + 1}" for i in range(support)]
    return MapSet(
        maps=maps.astype(np.float16),
        power=power.astype(np.float32),
        valence=va[:, 0].copy(),
        arousal=va[:, 1].copy(),
        subject=subject,
        trial=trial,
        start=np.tile(np.arange(windows, dtype=np.float32), people * trials),
        flags=np.zeros(count, np.uint8),
        subjects=tuple(names),
        names=SITES,
        bands=("theta", "alpha", "beta", "gamma")[:bands],
        provenance={"synthetic": True, "made_by": "tests"},
        clip=trial % trials,
        clips=tuple(f"dreamer:clip-{i + 1:02d}" for i in range(trials)),
    )


def film_set(subjects=12, films=12, windows=3, seed=0, size=8):
    """A MapSet that says which film was watched and nothing else; ratings depend on the film."""
    generator = np.random.default_rng(seed)
    made = map_set(subjects, films, windows, signal=0, seed=seed, size=size)
    rating = generator.uniform(-0.9, 0.9, (films, 2)).astype(np.float32)
    maps = made.maps + 2 * generator.standard_normal((films, *made.maps.shape[1:]))[made.clip]
    maps[:, :, 0, 0] = 0
    power = made.power + generator.standard_normal((films, *made.power.shape[1:]))[made.clip]
    return replace(
        made,
        maps=maps.astype(np.float16),
        power=power.astype(np.float32),
        valence=rating[made.clip, 0],
        arousal=rating[made.clip, 1],
    )


def quick(**options):
    """A configuration that trains in a second."""
    options = {
        "epochs": 4,
        "batch_size": 32,
        "width": 16,
        "folds": 0,
        "clip_folds": 0,
        "learning_rate": 3e-3,
    } | options
    return TrainTeacherConfig(**options)


def silent():
    """A console that keeps what is printed."""
    return Console(file=io.StringIO(), width=200)


def slow_ccc(p, t):
    """Lin 1989, one value at a time."""
    n = len(p)
    mean_p, mean_t = math.fsum(p) / n, math.fsum(t) / n
    var_p = math.fsum((x - mean_p) ** 2 for x in p) / n
    var_t = math.fsum((x - mean_t) ** 2 for x in t) / n
    cov = math.fsum((x - mean_p) * (y - mean_t) for x, y in zip(p, t, strict=True)) / n
    return 2 * cov / (var_p + var_t + (mean_p - mean_t) ** 2)
