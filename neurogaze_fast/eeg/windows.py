"""Cutting one trial into windows, and finding the windows that artefacts spoil."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FRONT = ("fp1", "fp2", "fpz", "af3", "af4", "af7", "af8")
BLINK_PEAK_TO_PEAK = 75.0
"""Microvolts peak to peak of the mean of the frontopolar sites, our choice."""


def cut(
    signal: np.ndarray, sfreq: float, seconds: float, overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut one trial into windows of equal length; what is left at the end is dropped.

    Args:
        signal: [C, T] of one trial, so that no window reaches into another one.
        sfreq: sampling frequency, Hz.
        seconds: length of a window.
        overlap: fraction of a window shared with the next, in [0, 1).

    Returns:
        windows [N, C, L], a read-only view, and their starts in seconds, float32 [N]. N is 0 where
        the trial is shorter than a window.
    """
    length = round(seconds * sfreq)
    step = max(1, round(length * (1 - overlap)))
    channels, samples = signal.shape
    if samples < length:
        return np.empty((0, channels, length), signal.dtype), np.empty(0, np.float32)
    every = np.lib.stride_tricks.sliding_window_view(signal, length, axis=1)
    windows = every[:, ::step].transpose(1, 0, 2)
    return windows, (np.arange(len(windows)) * step / sfreq).astype(np.float32)


def peak_to_peak(windows: np.ndarray) -> np.ndarray:
    """[N, C]: each channel's peak-to-peak amplitude in each window [N, C, L]."""
    return windows.max(axis=-1) - windows.min(axis=-1)


def swing(windows: np.ndarray, ch_names: Sequence[str]) -> np.ndarray:
    """[N, C]: how far each channel of each window [N, C, L] swings, but for a blink.

    Blinks are slower than every band but delta, so a window is not judged by them: where somebody
    blinks, what each channel shares with the forehead (by least squares) is taken out first.
    """
    found = peak_to_peak(windows)
    blinking = blinks(windows, ch_names)
    if blinking.any():
        x = windows[blinking].astype(np.float64)
        forehead = x[:, _front(ch_names)].mean(axis=1, keepdims=True)
        centred = forehead - forehead.mean(axis=-1, keepdims=True)
        share = (x * centred).sum(-1, keepdims=True) / np.square(centred).sum(-1, keepdims=True)
        found[blinking] = peak_to_peak(x - share * centred)
    return found


def _front(ch_names: Sequence[str]) -> list[int]:
    return [i for i, name in enumerate(ch_names) if name.casefold() in FRONT]


def blinks(windows: np.ndarray, ch_names: Sequence[str]) -> np.ndarray:
    """bool [N]: windows [N, C, L] in microvolts that look as if the person blinked.

    Our choice: the mean of the frontopolar sites moves by more than 75 microvolts peak to peak, and
    by more than twice the median channel. Such windows are kept and flagged: a blink lives below
    4 Hz, under the lowest band. Nothing is flagged where no frontopolar site was recorded.
    """
    front = _front(ch_names)
    if not front or not len(windows):
        return np.zeros(len(windows), bool)
    forehead = np.ptp(windows[:, front].mean(axis=1), axis=-1)
    return (forehead > BLINK_PEAK_TO_PEAK) & (
        forehead > 2 * np.median(peak_to_peak(windows), axis=1)
    )
