"""Where a channel carries no signal: a headset's radio that drops leaves zeros or a held value."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from neurogaze_fast.eeg.gaps import DROPOUT, OTHER_SCALE, Gap, runs

FLAT_PEAK_TO_PEAK = 0.5
"""Microvolts: what moves by less over FLAT_SECONDS is no EEG. An amplifier's own noise moves more
(our choice, as is the next one)."""
FLAT_SECONDS = 0.5
QUIET_RMS = 1.5
"""Microvolts: a converter whose input is gone still makes noise, of a few tenths mostly. Less than
this over FLAT_SECONDS is no EEG either, where the channel is otherwise much larger."""
QUIET_SHARE = 1 / 8
"""How much less: this share of what the channel has in its livelier quarter (our choice; the
calmest half second of the real recordings we have keeps a third of it), or of half of what the
typical channel has there: an electrode may be off for the whole clip."""
MAINS = (50.0, 60.0)
"""Hz: what a lead without its electrode picks up; with its multiples it is no EEG, whatever its
size."""
ODD_SCALE = 200.0
"""Times the typical channel's size, or fraction of it, from which a channel's unit is doubted."""


def flat_samples(signal: np.ndarray, lost: np.ndarray, sfreq: float) -> np.ndarray:
    """bool [C, T]: samples of [C, T] inside any 0.5 s over which a channel hardly moves.

    That is by less than FLAT_PEAK_TO_PEAK, or, but for mains, by no more than a converter's own
    noise while the channel, or the others, are much larger. Only stretches without a lost sample
    (bool [C, T]) are looked at.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    channels, count = signal.shape
    flat = np.zeros(signal.shape, bool)
    length = max(2, round(FLAT_SECONDS * sfreq))
    if count < length:
        return flat
    # Any flat stretch of `length` holds a whole block of half of it: most channels have none.
    half = max(1, length // 2)
    blocks = signal[:, : count // half * half].reshape(channels, -1, half)
    suspects = (np.ptp(blocks, axis=2) <= FLAT_PEAK_TO_PEAK).any(axis=1)
    for row in np.flatnonzero(suspects):
        options = {"size": length, "origin": -(length // 2)}  # the window begins at its sample
        high = maximum_filter1d(np.where(lost[row], np.inf, signal[row]), **options)
        low = minimum_filter1d(np.where(lost[row], -np.inf, signal[row]), **options)
        flat[row] = _covered((high - low)[: count - length + 1] <= FLAT_PEAK_TO_PEAK, length)
    for number, limit in _quiet_channels(blocks, lost, sfreq):
        # Its edges are known to a few samples only: beside zeros that is signal, and no noise.
        quiet = _rms(signal[number], lost[number], length, sfreq) < limit
        for begin, end in runs(_covered(quiet, length)):
            if (~flat[number, begin:end]).sum() >= half:
                flat[number, begin:end] = True
    return flat


def _quiet_channels(blocks: np.ndarray, lost: np.ndarray, sfreq: float) -> list[tuple[int, float]]:
    """(channel, rms below which it is a converter's noise) of those of [C, B, L] that have any."""
    _, count, half = blocks.shape
    centred = blocks - blocks.mean(axis=2, keepdims=True, dtype=np.float64)
    hum = centred @ _mains(half, sfreq)
    left = np.square(centred).sum(axis=2) - np.square(hum).sum(axis=2)
    spread = np.sqrt(np.maximum(left, 0) / half)
    gone = lost[:, : count * half].reshape(blocks.shape).any(axis=2)
    lively = 3 * count // 4  # a quarter of the blocks is livelier
    own = np.partition(np.where(gone, 0.0, spread), min(lively, count - 1), axis=1)
    own = own[:, min(lively, count - 1)]
    limit = np.minimum(QUIET_RMS, QUIET_SHARE * np.maximum(own, np.median(own) / 2))
    # Half of a stretch can hold all there is in it.
    calmest = np.where(gone, np.inf, spread).min(axis=1)
    return [(int(row), float(limit[row])) for row in np.flatnonzero(calmest < 2**0.5 * limit)]


def _rms(channel: np.ndarray, lost: np.ndarray, length: int, sfreq: float) -> np.ndarray:
    """float64 [T - length + 1]: of `length` samples of [T], about their mean and without mains;
    inf with a lost one."""
    from scipy.signal import oaconvolve

    x = np.where(lost, 0.0, channel.astype(np.float64) - np.median(channel))
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (x, x * x, lost * 1.0)]
    mean, square, gone = ((total[length:] - total[:-length]) / length for total in sums)
    for wave in _mains(length, sfreq).T:
        square -= oaconvolve(x, wave[::-1], mode="valid") ** 2 / length
    rms = np.sqrt(np.maximum(square - mean * mean, 0))
    return np.where(gone < 0.5 / length, rms, np.inf)


@lru_cache(maxsize=16)
def _mains(length: int, sfreq: float) -> np.ndarray:
    """float64 [length, K]: orthonormal, without means; all that mains and its multiples can be."""
    waves = [
        np.exp(2j * np.pi * multiple * np.arange(length) / sfreq)
        for mains in MAINS
        for multiple in np.arange(mains, sfreq / 2, mains)
    ]
    parts = np.array([part for wave in waves for part in (wave.real, wave.imag)])
    if not len(parts):  # sampled too slowly to hold any
        return np.zeros((length, 0))
    left, size, _ = np.linalg.svd((parts - parts.mean(axis=1, keepdims=True)).T, False)
    return left[:, size > 1e-6 * size[0]]


def _covered(begins: np.ndarray, length: int) -> np.ndarray:
    """bool [N + length - 1]: what stretches of `length` cover that begin where bool [N] is True."""
    cover = np.zeros(len(begins) + length, np.int64)
    cover[:-length] += begins
    cover[length:] -= begins
    return np.cumsum(cover[:-1]) > 0


def dropouts(flat: np.ndarray, ch_names: tuple[str, ...], sfreq: float) -> list[Gap]:
    """One gap for each run of True in bool [C, T]."""
    return [
        Gap(first / sfreq, last / sfreq, DROPOUT, (name,))
        for name, row in zip(ch_names, flat, strict=True)
        for first, last in runs(row)
    ]


def odd_scales(signal: np.ndarray, ch_names: tuple[str, ...], sfreq: float) -> list[Gap]:
    """A gap as long as [C, T] for each channel whose values are of another order than the rest's.

    A channel in millivolts among others in microvolts is a thousand times too small.
    """
    # A quantile of the steps: neither an offset nor the jump of a dropout reaches it.
    size = np.percentile(np.abs(np.diff(signal.astype(np.float64), axis=1)), 75, axis=1)
    moving = size > 0
    if moving.sum() < 3:
        return []
    ratio = np.where(moving, size, 1) / np.median(size[moving])
    odd = moving & ((ratio > ODD_SCALE) | (ratio < 1 / ODD_SCALE))
    seconds = signal.shape[1] / sfreq
    return [Gap(0.0, seconds, OTHER_SCALE, (ch_names[row],)) for row in np.flatnonzero(odd)]
