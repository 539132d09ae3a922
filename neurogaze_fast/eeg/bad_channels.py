"""Channels that carry no EEG, and what stands in for them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from neurogaze_fast.eeg.montage import named_positions
from neurogaze_fast.eeg.spherical_spline import spline_weights

FLAT = 0.1
"""Microvolts: a channel of a smaller standard deviation is dead."""
SPREAD_FLOOR = 0.5
"""Least spread of log-variance over channels that z is measured in, so that among channels that are
very much alike none is called bad for a small difference."""


def bad_channels(
    signal: np.ndarray,
    lost: np.ndarray,
    recorded: np.ndarray,
    usable: np.ndarray,
    max_lost: float,
    limit: float,
) -> np.ndarray:
    """bool [C]: flat, lost for too long, or unlike the others.

    Args:
        signal: [C, T].
        lost: bool [C, T], samples in a gap or dropout.
        recorded: bool [T], samples outside the gaps of all channels.
        usable: bool [C], channels whose values are finite.
        max_lost: fraction of the time that a channel may be lost.
        limit: robust z of the log-variance from which a channel is bad.
    """
    time = max(1, int(recorded.sum()))
    bad = (lost & recorded).sum(axis=1) > max_lost * time
    kept = recorded & ~lost[~bad].any(axis=0)
    if kept.sum() < 0.25 * time:  # so many dropouts that hardly a sample is without any
        kept = recorded
    inside = signal[:, kept]
    if not inside.size:
        return bad
    bad |= inside.std(axis=1) < FLAT
    alive = usable & ~bad
    if alive.sum() >= 4:
        against_median = inside[alive] - np.median(inside[alive], axis=0)
        level = np.log(against_median.var(axis=1) + FLAT**2)
        distance = level - np.median(level)
        spread = max(SPREAD_FLOOR, 1.4826 * float(np.median(np.abs(distance))))
        bad[alive] = np.abs(distance) / spread > limit
    return bad


def finish(
    signal: np.ndarray, positions: np.ndarray, bad: np.ndarray, reference: str
) -> np.ndarray:
    """float32 [..., C, T]: bad channels interpolated from the others, then the average reference.

    Args:
        signal: [..., C, T].
        positions: [C, 2] of its channels, metres.
        bad: bool [C].
        reference: "average", or "none".
    """
    if bad.any():
        signal = signal.copy()
        weights = _weights(positions.tobytes(), tuple(bad.tolist()))
        signal[..., bad, :] = weights.T @ signal[..., ~bad, :]
    if reference == "average":
        signal = signal - signal.mean(axis=-2, keepdims=True)
    return signal.astype(np.float32)


@lru_cache(maxsize=4096)
def _weights(places: bytes, bad: tuple[bool, ...]) -> np.ndarray:
    """[good, bad]: spherical-spline weights."""
    positions, lost = np.frombuffer(places).reshape(-1, 2), np.array(bad)
    return spline_weights(positions[~lost], positions[lost])


@lru_cache(maxsize=16)
def positions_of(ch_names: tuple[str, ...]) -> np.ndarray:
    """float64 [C, 2]: where the named sites are, kept for the next trial."""
    return named_positions(ch_names)
