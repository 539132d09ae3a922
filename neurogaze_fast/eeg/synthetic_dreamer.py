"""A synthetic DREAMER.mat, read by the reader of the real one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.eeg.dreamer import RATE, RATING_RANGE, SITES
from neurogaze_fast.eeg.forward_model import (
    Person,
    check_demo,
    draw_felt,
    draw_person,
    generator,
    rate_felt,
    simulate,
    spoil_channel,
)
from neurogaze_fast.errors import ConfigError, OutputExistsError

STEP = 0.51282
"""Microvolts: the headset's step, 14 bits."""
OFFSET = 4300.0
"""Microvolts: about where the headset's values lie; each electrode has its own."""
BAD_CHANNEL = 0.04
"""Probability that a clip has a bad channel."""
_STREAM = 1
_HEADER = (
    b"MATLAB 5.0 MAT-file, SYNTHETIC: drawn by neurogaze_fast in DREAMER's layout; nobody's EEG"
)
_NOTE = (
    "SYNTHETIC: drawn by neurogaze_fast from a forward model, in the layout of DREAMER.mat. It "
    "holds nobody's EEG, and results made from it say nothing about real EEG."
)


def write_demo_dreamer(
    path: Path,
    *,
    subjects: int = 23,
    clips: int = 18,
    seconds: float = 62.0,
    baseline_seconds: float = 30.0,
    strength: float = 1.0,
    seed: int = 0,
) -> None:
    """Write a synthetic DREAMER.mat; the same arguments give the same bytes.

    The nesting, rates, electrodes and ratings are the real file's; sizes, and the samples' type
    (single, half as large), are not. ECG is there but empty. Clip k of subject s does not depend on
    how many subjects and clips there are. The default is 265 MB, and is held in memory twice while
    it is written.

    Args:
        path: The file; its folder is made.
        subjects: How many.
        clips: Films per subject; emotions repeat after nine.
        seconds: Of each film.
        baseline_seconds: Before each film; 0: none. The real ones last 61 s.
        strength: How strongly valence and arousal show in the band power; 0: not at all.
        seed: Of the whole set.

    Raises:
        OutputExistsError: `path` exists; nothing was written.
        ConfigError: a size makes no recording, or scipy is not installed.
    """
    check_demo(seconds, strength, subjects=subjects, clips=clips)
    if not (np.isfinite(baseline_seconds) and baseline_seconds >= 0):
        raise ConfigError(f"baseline_seconds is {baseline_seconds!r}; 0 means no baseline.")
    path = Path(path)
    if path.exists():
        raise OutputExistsError(
            f"{path} already exists; nothing was written. Remove it, or name another file."
        )
    try:
        from scipy.io import savemat
    except ModuleNotFoundError as cause:
        raise ConfigError(
            "A .mat file needs scipy, and it is not installed. Run: pip install "
            "'neurogaze_fast[eeg]'."
        ) from cause
    data = np.empty((1, subjects), object)
    lengths = round(seconds * RATE), round(baseline_seconds * RATE)
    for subject in range(subjects):
        data[0, subject] = _subject(seed, subject, clips, lengths, strength)
    electrodes = np.empty((1, len(SITES)), object)
    electrodes[0] = SITES
    content = {
        "Data": data,
        "EEG_SamplingRate": int(RATE),
        "ECG_SamplingRate": 256,
        "EEG_Electrodes": electrodes,
        "noOfSubjects": subjects,
        "noOfVideoSequences": clips,
        "Disclaimer": _NOTE,
        "Provider": "neurogaze_fast (SYNTHETIC)",
        "Version": "1.0.2",
        "Acknowledgement": _NOTE,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    savemat(file, {"DREAMER": content})
    # In place of the time of day: so that the same arguments give the same bytes, and that the
    # file says what it is before it is read.
    file.seek(0)
    file.write(_HEADER.ljust(116))
    atomic_write(path, file.getvalue())


def _subject(
    seed: int, subject: int, clips: int, lengths: tuple[int, int], strength: float
) -> dict[str, Any]:
    person = draw_person(generator(seed, _STREAM, subject), SITES)
    films, rests, nothing = (np.empty((clips, 1), object) for _ in range(3))
    scores = np.zeros((clips, 2))
    for clip in range(clips):
        rng = generator(seed, _STREAM, subject, clip)
        felt = draw_felt(rng, person, clip)
        scores[clip] = rate_felt(rng, felt, *RATING_RANGE)
        film = simulate(rng, person, felt, lengths[0], RATE, strength=strength)
        spoil_channel(rng, film, BAD_CHANNEL)
        films[clip, 0] = _as_recorded(film, person)
        # Last, so that the film is the same whatever came before it.
        rest = np.zeros((len(SITES), 0), np.float32)
        if lengths[1]:
            rest = simulate(rng, person, np.zeros(2), lengths[1], RATE, strength=strength)
        rests[clip, 0] = _as_recorded(rest, person)
        nothing[clip, 0] = np.zeros((0, 2))
    return {
        "Age": str(22 + subject % 12),
        "Gender": ("male", "female")[subject % 2],
        "EEG": {"baseline": rests, "stimuli": films},
        "ECG": {"baseline": nothing, "stimuli": nothing},
        "ScoreValence": scores[:, :1],
        "ScoreArousal": scores[:, 1:],
        "ScoreDominance": np.full((clips, 1), 3.0),
    }


def _as_recorded(signal: np.ndarray, person: Person) -> np.ndarray:
    """[C, T] to the file's [T, C]: in the headset's steps, on top of its offset."""
    level = OFFSET + 150 * person.offset[:, None]
    return (np.rint((level + signal) / STEP) * STEP).astype(np.float32).T
