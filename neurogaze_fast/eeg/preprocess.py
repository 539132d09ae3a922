"""Cleaning one trial: sites, band-pass, sampling frequency, bad channels, reference.

Needs scipy, and MNE to look up where the sites are when a channel has to be interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from neurogaze_fast.eeg.bad_channels import bad_channels, finish, positions_of
from neurogaze_fast.eeg.dreamer import SITES
from neurogaze_fast.eeg.dropout import dropouts, flat_samples
from neurogaze_fast.eeg.gaps import TOO_SHORT, Gap, runs, samples_of
from neurogaze_fast.eeg.recording import LeftOut, Trial

COMMON_SITES = SITES
"""DREAMER's 14 sites, all of which MAHNOB-HCI has too."""
LOW, HIGH = 1.0, 49.0
"""Hz: the pass band."""
TRANSITION = 1.0
"""Hz, centred on each edge's outer side: from pass to stop."""
SHORTEST = 1.7 / TRANSITION
"""Seconds: half the filter's length, which is mirrored at each end."""


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
    max_lost: float = 0.25
    """Fraction of the time without signal above which a channel is bad."""


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A trial ready to be cut into windows."""

    signal: np.ndarray
    """float32 [C, T], microvolts; without meaning inside its gaps."""
    baseline: np.ndarray | None
    """float32 [C, Tb], likewise; None where there is none or it cannot be used."""
    sfreq: float
    """Samples per second."""
    ch_names: tuple[str, ...]
    """The C sites."""
    interpolated: np.ndarray
    """bool [C]: bad channels, replaced."""
    gaps: tuple[Gap, ...]
    """The trial's gaps, and dropouts of channels that are kept."""
    baseline_gaps: tuple[Gap, ...]
    """Likewise of the baseline."""
    reference: str
    """As in the options."""
    most_bad: int
    """Channels that may be interpolated at a time."""
    positions: np.ndarray
    """float64 [C, 2], metres on the plane."""


@dataclass(frozen=True, eq=False)
class _Filtered:
    """A signal after the band-pass, at the new sampling frequency."""

    signal: np.ndarray
    """float64 [C, T]; 0 in gaps."""
    bad: np.ndarray
    """bool [C]."""
    flat: bool
    """Whether no channel carries a signal."""
    gaps: tuple[Gap, ...]


def clean(trial: Trial, options: CleanOptions | None = None) -> Cleaned | LeftOut:
    """Clean one trial and its baseline.

    In this order: pick the sites; find dropouts; band-pass; resample; find bad channels;
    interpolate them from the others by spherical splines; re-reference. Sites come first so that
    recordings with more channels get the same average reference as those with fewer. What lies
    between two gaps is filtered by itself, so that nothing of a gap reaches a window beside it.

    A channel is bad where the trial says so, where a sample is not finite, where it is flat
    (standard deviation below 0.1 microvolt), where it drops out for more than `max_lost` of the
    time, or where the robust z of its log-variance, taken against the median channel so that the
    reference recorded with does not matter, exceeds `bad_channel` either way. A channel bad in the
    clip or in its baseline is replaced in both; a baseline that would make too many bad is dropped.
    Shorter dropouts stay gaps, for each window to be judged by itself.

    Returns:
        the cleaned trial, or why it is left out: a site is missing, the sampling frequency is too
        low, it is too short to filter, or too many channels are bad.
    """
    options = options or CleanOptions()
    try:
        ch_names, rows = _pick(trial.ch_names, options.sites)
        if trial.sfreq < 2 * (HIGH + TRANSITION):
            raise _UnusableError(f"sampled at less than {2 * (HIGH + TRANSITION):g} Hz")
        part = _filtered(trial.signal[rows], ch_names, trial.sfreq, trial.gaps, options)
        marked = np.array([name in trial.bads for name in ch_names])
        bad, allowed = part.bad | marked, int(options.max_bad * len(ch_names))
        if bad.sum() > allowed:
            raise _UnusableError(
                "every channel flat (is it in microvolts?)"
                if part.flat
                else f"more than {allowed} of {len(ch_names)} channels bad"
            )
        rest = None
        if trial.baseline is not None:
            rest = _baseline(trial, ch_names, rows, options)
            if rest is not None and (bad | rest.bad).sum() > allowed:
                rest = None
            bad = bad if rest is None else bad | rest.bad
    except _UnusableError as problem:
        what = f"{trial.subject}, clip {trial.clip}"
        return LeftOut(trial.path, what, str(problem))
    if trial.positions is None:
        places = positions_of(ch_names)
    else:
        places = np.ascontiguousarray(trial.positions[rows])
    return Cleaned(
        finish(part.signal, places, bad, options.reference),
        None if rest is None else finish(rest.signal, places, bad, options.reference),
        options.sfreq,
        ch_names,
        bad,
        _of_kept(part.gaps, ch_names, bad),
        () if rest is None else _of_kept(rest.gaps, ch_names, bad),
        options.reference,
        allowed,
        places,
    )


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


def _filtered(
    signal: np.ndarray,
    ch_names: tuple[str, ...],
    sfreq: float,
    gaps: tuple[Gap, ...],
    options: CleanOptions,
) -> _Filtered:
    """Band-pass [C, T] between its gaps, resample it, and find bad channels.

    Raises:
        _UnusableError: too short to filter.
    """
    if signal.shape[1] / sfreq <= SHORTEST:
        raise _UnusableError(f"shorter than {SHORTEST:g} s")
    broken = ~np.isfinite(signal).all(axis=1)
    x = np.where(broken[:, None], 0.0, signal.astype(np.float64))
    lost = samples_of(gaps, ch_names, x.shape[1], sfreq)
    flat = flat_samples(x, lost | broken[:, None], sfreq)
    gaps = (*gaps, *dropouts(flat, ch_names, sfreq))
    x, lost = _between(x, lost | flat, gaps, sfreq)
    gaps = (*gaps, *_missed(lost, gaps, ch_names, sfreq))
    x = resample(x, sfreq, options.sfreq)
    # A recorder's own high-pass turns a dropout into a slow decay; the filter took that away.
    lost = samples_of(gaps, ch_names, x.shape[1], options.sfreq)
    flat = flat_samples(x, lost | broken[:, None], options.sfreq)
    gaps = (*gaps, *dropouts(flat, ch_names, options.sfreq))
    lost |= flat
    recorded = ~samples_of([g for g in gaps if g.ch_names is None], ("all",), x.shape[1],
                           options.sfreq)[0]  # fmt: skip
    bad = broken | bad_channels(x, lost, recorded, ~broken, options.max_lost, options.bad_channel)
    return _Filtered(x, bad, bool(lost.all()), gaps)


def _between(
    x: np.ndarray, lost: np.ndarray, gaps: tuple[Gap, ...], sfreq: float
) -> tuple[np.ndarray, np.ndarray]:
    """[C, T] band-passed stretch by stretch, straight lines across what is lost, and bool [C, T].

    A stretch too short for the filter is lost as well.
    """
    count = x.shape[1]
    breaks = {round(edge * sfreq) for gap in gaps if gap.ch_names is None
              for edge in (gap.start, gap.end)}  # fmt: skip
    out, lost = np.zeros_like(x), lost.copy()
    alike: dict[bytes, list[int]] = {}
    for row, mask in enumerate(lost):
        alike.setdefault(np.packbits(mask).tobytes(), []).append(row)
    for rows in alike.values():
        for first, last in runs(~lost[rows[0]]):
            inner = sorted(edge for edge in breaks if first < edge < last)
            for start, end in zip([first, *inner], [*inner, last], strict=True):
                if (end - start) / sfreq <= SHORTEST:
                    lost[rows, start:end] = True
                    continue
                part = x[rows, start:end]
                # An offset can be a thousand times larger than the EEG. Remove it before anything
                # is rounded.
                out[rows, start:end] = band_pass(part - part.mean(axis=1, keepdims=True), sfreq)
    samples = np.arange(count)
    for row, mask in zip(out, lost, strict=True):
        if mask.any() and not mask.all():
            row[mask] = np.interp(samples[mask], samples[~mask], row[~mask])
    return out, lost


def _missed(
    lost: np.ndarray, gaps: tuple[Gap, ...], ch_names: tuple[str, ...], sfreq: float
) -> list[Gap]:
    """Gaps for the stretches of bool [C, T] that were too short to filter."""
    known = samples_of(gaps, ch_names, lost.shape[1], sfreq)
    return [
        Gap(first / sfreq, last / sfreq, TOO_SHORT, (name,))
        for name, row in zip(ch_names, lost & ~known, strict=True)
        for first, last in runs(row)
    ]


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


def _baseline(
    trial: Trial, ch_names: tuple[str, ...], rows: list[int], options: CleanOptions
) -> _Filtered | None:
    """The filtered baseline; None where it is too short."""
    if trial.baseline is None:
        return None
    try:
        return _filtered(trial.baseline[rows], ch_names, trial.sfreq, trial.baseline_gaps, options)
    except _UnusableError:
        return None


def _of_kept(gaps: tuple[Gap, ...], ch_names: tuple[str, ...], bad: np.ndarray) -> tuple[Gap, ...]:
    """Without the gaps that only concern channels not kept, or replaced in the whole trial."""
    kept = {name for name, out in zip(ch_names, bad, strict=True) if not out}
    return tuple(gap for gap in gaps if gap.ch_names is None or kept & set(gap.ch_names))
