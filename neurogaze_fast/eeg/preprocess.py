"""Cleaning one trial: sites, band-pass, sampling frequency, bad channels, reference.

Needs scipy; MNE only to look up where the sites are when a channel has to be interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from neurogaze_fast.eeg.dreamer import SITES
from neurogaze_fast.eeg.montage import named_positions
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.spherical_spline import spline_weights

COMMON_SITES = SITES
"""DREAMER's 14 sites, all of which MAHNOB-HCI has too."""
LOW, HIGH = 1.0, 49.0
"""Hz: the pass band."""
TRANSITION = 1.0
"""Hz, centred on each edge's outer side: from pass to stop."""
FLAT = 0.1
"""Microvolts: a channel of a smaller standard deviation is dead."""
SPREAD_FLOOR = 0.5
"""Least spread of log-variance over channels that z is measured in, so that among channels that are
very much alike none is called bad for a small difference."""


@dataclass(frozen=True)
class CleanOptions:
    """How to clean. The paper gives none of this: all are our choices."""

    sites: tuple[str, ...] | None = COMMON_SITES
    """Sites to keep, in this order; None keeps all as recorded."""
    sfreq: float = 128.0
    """Samples per second afterwards."""
    reference: str = "average"
    """"average" over the kept sites, or "none"."""
    bad_channel: float = 5.0
    """Robust z of a channel's log-variance from which it is bad."""
    max_bad: float = 0.25
    """Fraction of bad channels above which a trial is not used."""


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A trial ready to be cut into windows."""

    signal: np.ndarray
    """float32 [C, T], microvolts."""
    baseline: np.ndarray | None
    """float32 [C, Tb], likewise; None where there is none or it cannot be used."""
    sfreq: float
    """Samples per second."""
    ch_names: tuple[str, ...]
    """The C sites."""
    interpolated: np.ndarray
    """bool [C]: bad channels, replaced."""


def clean(trial: Trial, options: CleanOptions | None = None) -> Cleaned | LeftOut:
    """Clean one trial and its baseline.

    In this order: pick the sites; band-pass; resample; find bad channels; interpolate them from
    the others by spherical splines; re-reference. Sites come first so that recordings with more
    channels get the same average reference as those with fewer.

    A channel is bad where a sample is not finite, where it is flat (standard deviation below
    0.1 microvolt), or where the robust z of its log-variance, taken against the median channel so
    that the reference recorded with does not matter, exceeds `bad_channel` either way. A channel
    bad in the clip or in its baseline is replaced in both; a baseline that would make too many bad
    is dropped.

    Returns:
        the cleaned trial, or why it is left out: a site is missing, the sampling frequency is too
        low, it is too short to filter, or too many channels are bad.
    """
    options = options or CleanOptions()
    try:
        ch_names, rows = _pick(trial.ch_names, options.sites)
        if trial.sfreq < 2 * (HIGH + TRANSITION):
            raise _UnusableError(f"sampled at less than {2 * (HIGH + TRANSITION):g} Hz")
        signal, broken = _filtered(trial.signal[rows], trial.sfreq, options.sfreq)
        bad = broken | _bad_channels(signal, ~broken, options.bad_channel)
        allowed = int(options.max_bad * len(ch_names))
        if bad.sum() > allowed:
            flat = (signal.std(axis=1) < FLAT).all()
            raise _UnusableError(
                "every channel flat (is it in microvolts?)"
                if flat and not broken.any()
                else f"more than {allowed} of {len(ch_names)} channels bad"
            )
        baseline = None
        if trial.baseline is not None:
            baseline, bad = _with_baseline(trial, rows, bad, allowed, options)
    except _UnusableError as problem:
        what = f"{trial.subject}, clip {trial.clip}"
        return LeftOut(trial.path, what, str(problem))
    parts = [_finish(part, ch_names, bad, options.reference) for part in (signal, baseline)]
    return Cleaned(parts[0], parts[1], options.sfreq, ch_names, bad)


class _UnusableError(Exception):
    """Why a trial cannot be used; never leaves this module."""


def _pick(
    recorded: tuple[str, ...], sites: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[int]]:
    if sites is None:
        return recorded, list(range(len(recorded)))
    missing = [site for site in sites if site not in recorded]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise _UnusableError(f"without the site(s) {', '.join(missing[:3])}{more}")
    return tuple(sites), [recorded.index(site) for site in sites]


def _filtered(signal: np.ndarray, sfreq: float, target: float) -> tuple[np.ndarray, np.ndarray]:
    """Band-passed samples at the target frequency, and which channels were not finite.

    float64 [C, T'], with zeros for channels that hold a value that is not finite, and bool [C].
    """
    broken = ~np.isfinite(signal).all(axis=1)
    x = np.where(broken[:, None], 0.0, signal.astype(np.float64))
    if x.shape[1] / sfreq <= 1.7 / TRANSITION:  # half the filter's length is mirrored at each end
        raise _UnusableError(f"shorter than {1.7 / TRANSITION:g} s")
    # An offset can be a thousand times larger than the EEG. Remove it before anything is rounded.
    x -= x.mean(axis=1, keepdims=True)
    return resample(band_pass(x, sfreq), sfreq, target), broken


def resample(signal: np.ndarray, sfreq: float, target: float) -> np.ndarray:
    """[C, T] at `sfreq` to [C, ceil(T target / sfreq)], by a zero-phase polyphase filter.

    For signals already through :func:`band_pass`: nothing is then left to fold back into the bands
    at 100 Hz or more, and no offset to ripple (the filter's phases differ by 1e-4 in their gain at
    0 Hz, and an amplifier's offset may be 1e4 microvolts).
    """
    from scipy.signal import resample_poly

    ratio = Fraction(target / sfreq).limit_denominator(1000)
    if ratio == 1:
        return signal
    # Continue the signal along a line. Zeros beyond its ends would be a step, and a step rings.
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line")


def band_pass(signal: np.ndarray, sfreq: float) -> np.ndarray:
    """float64 [C, T]: 1-49 Hz, zero phase.

    A linear-phase FIR filter (Hamming, 3.3 s), applied with its delay taken off. Our choice over a
    forward-backward IIR filter: its reach is known, so an artefact or an edge spoils 1.65 s and no
    more, and no band is rippled. Its stop band (-50 dB) begins at 50 Hz, so mains of 50 and 60 Hz
    are gone and no notch is needed. Offset and linear drift are removed exactly. The ends are
    continued by point reflection.
    """
    from scipy.signal import oaconvolve

    taps = _taps(sfreq)
    half = len(taps) // 2
    padded = np.pad(signal, ((0, 0), (half, half)), mode="reflect", reflect_type="odd")
    return oaconvolve(padded, taps[None], mode="valid", axes=1)


@lru_cache(maxsize=8)
def _taps(sfreq: float) -> np.ndarray:
    from scipy.signal import firwin

    count = int(np.ceil(3.3 / TRANSITION * sfreq)) | 1
    edges = [LOW - TRANSITION / 2, HIGH + TRANSITION / 2]
    taps = firwin(count, edges, pass_zero=False, fs=sfreq, window="hamming")
    # The stop band passes 0.2 %, which is still microvolts of an amplifier's drift. A gain of
    # exactly 0 at 0 Hz removes any straight line, because the taps are symmetric.
    window = np.hamming(count)
    taps = taps - taps.sum() * window / window.sum()
    taps.setflags(write=False)
    return taps


def _bad_channels(signal: np.ndarray, usable: np.ndarray, limit: float) -> np.ndarray:
    """bool [C]: flat, or unlike the others; `usable` bool [C] are the finite ones."""
    flat = signal.std(axis=1) < FLAT
    alive = usable & ~flat
    bad = flat.copy()
    if alive.sum() >= 4:
        against_median = signal[alive] - np.median(signal[alive], axis=0)
        level = np.log(against_median.var(axis=1) + FLAT**2)
        distance = level - np.median(level)
        spread = max(SPREAD_FLOOR, 1.4826 * float(np.median(np.abs(distance))))
        bad[alive] = np.abs(distance) / spread > limit
    return bad


def _with_baseline(
    trial: Trial, rows: list[int], bad: np.ndarray, allowed: int, options: CleanOptions
) -> tuple[np.ndarray | None, np.ndarray]:
    """(the filtered baseline or None, channels bad in either)."""
    try:
        baseline, broken = _filtered(trial.baseline[rows], trial.sfreq, options.sfreq)
    except _UnusableError:
        return None, bad
    both = bad | broken | _bad_channels(baseline, ~broken, options.bad_channel)
    return (None, bad) if both.sum() > allowed else (baseline, both)


def _finish(
    signal: np.ndarray | None, ch_names: tuple[str, ...], bad: np.ndarray, reference: str
) -> np.ndarray | None:
    if signal is None:
        return None
    if bad.any():
        signal = signal.copy()
        signal[bad] = _weights(ch_names, tuple(bad.tolist())).T @ signal[~bad]
    if reference == "average":
        signal = signal - signal.mean(axis=0)
    return signal.astype(np.float32)


@lru_cache(maxsize=4096)
def _weights(ch_names: tuple[str, ...], bad: tuple[bool, ...]) -> np.ndarray:
    """[good, bad]: spherical-spline weights."""
    positions, lost = _positions(ch_names), np.array(bad)
    return spline_weights(positions[~lost], positions[lost])


@lru_cache(maxsize=16)
def _positions(ch_names: tuple[str, ...]) -> np.ndarray:
    return named_positions(ch_names)
