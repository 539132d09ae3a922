"""Topographic maps and band power of anything in memory: the functions that people call."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from neurogaze_fast import ops
from neurogaze_fast.eeg.channels import Recorded, places, recorded
from neurogaze_fast.eeg.gaps import none_yet, touched
from neurogaze_fast.eeg.interpolation import Size, TopomapOperator
from neurogaze_fast.eeg.spectrum import BANDS, features, passes, welch_power
from neurogaze_fast.eeg.windows import cut
from neurogaze_fast.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Feature = Literal["power", "log_power", "de"]


@dataclass(frozen=True, eq=False)
class BandPower:
    """Band power of N windows or epochs, F bands, C channels."""

    values: np.ndarray
    """float32 [N, F, C]."""
    bands: tuple[str, ...]
    times: np.ndarray
    """float64 [N]: seconds at which each window begins."""
    names: tuple[str, ...]
    """The C channels."""
    unit: str
    windows_left_out: dict[str, int]
    """How many windows of a Raw are left out, by the reason that its annotations give."""


@dataclass(frozen=True, eq=False)
class TopoMaps:
    """N x F maps, with what each is of."""

    maps: np.ndarray
    """float32 [N, F, H, W]; row 0 is the back of the head; NaN where a map is not defined."""
    bands: tuple[str, ...]
    """F names; of values that are no band power, one: ""."""
    times: np.ndarray
    """float64 [N], seconds."""
    names: tuple[str, ...]
    """The C channels that were interpolated between."""
    values: np.ndarray
    """float32 [N, F, C]: at the channels."""
    operator: TopomapOperator
    """Has their positions, the sphere and the mask."""
    unit: str
    left_out: tuple[str, ...]
    """Channels without a place, bad, or not finite."""
    windows_left_out: dict[str, int]
    """As of :class:`BandPower`."""


def band_power(
    x: Any,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    *,
    bands: Mapping[str, tuple[float, float]] = BANDS,
    window: float | None = None,
    overlap: float = 0.5,
    feature: Feature = "power",
) -> BandPower:
    """Power of each band by Welch's method (1 s segments, Hann, half overlapping).

    Windows of a Raw that touch time its annotations call bad, or a place where parts were joined
    (BAD_..., boundary, New Segment), are left out and counted. So is a band that reaches beyond the
    low-pass the recording names, with a warning: there is nothing of it in the signal.

    Args:
        x: mne.io.Raw (its windows), mne.Epochs (each epoch), mne.Evoked, or an array or list
            [C, T] or [N, C, T] in microvolts.
        sfreq: Hz, of an array.
        ch_names: the C names, of an array.
        bands: name to (low, high) in Hz.
        window: seconds; None: 2 s of a Raw, and the whole of everything else.
        overlap: fraction of a window shared with the next.
        feature: "power" in microvolts^2, its logarithm, or differential entropy.

    Raises:
        DataError: nothing to measure, or an array without its rate or names.
        OperatorError: a band beyond half the rate, or windows below a second.
    """
    source = recorded(x, sfreq, ch_names)
    if source.sfreq is None:
        raise DataError("An array does not say how fast it was sampled: give sfreq, in Hz.")
    bands = _passed(bands, source)
    data, times, spoiled = _windows(source, source.sfreq, window, overlap)
    batch = torch.from_numpy(np.ascontiguousarray(data, np.float32))
    power = welch_power(batch, source.sfreq, bands)
    values = power if feature == "power" else features(power.double(), feature).float()
    unit = {"power": "µV²", "log_power": "log µV²", "de": "nats"}[feature]
    return BandPower(values.numpy(), tuple(bands), times, source.ch_names, unit, spoiled)


def topomaps(
    x: Any,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    *,
    what: Literal["auto", "values", "band_power"] = "auto",
    times: Sequence[float] | None = None,
    bands: Mapping[str, tuple[float, float]] = BANDS,
    window: float | None = None,
    overlap: float = 0.5,
    feature: Feature = "power",
    montage: Any = None,
    sphere: Any = None,
    size: Size = 64,
    method: str = "cubic",
    extrapolate: str = "head",
    border: str | float = "mean",
) -> TopoMaps:
    """Topographic maps; inside the head they are those of MNE's plots with the same options.

    Channels marked bad, without a place, or with a value that is not finite take no part, and are
    named in `left_out`.

    Args:
        x: mne.io.Raw, Epochs or Evoked, or an array or list: [C] and, with sfreq, [C, T] or
            [N, C, T] in microvolts. Without sfreq [N, C] is N lists of values.
        sfreq: Hz, of an array of samples.
        ch_names: the C names, of an array.
        what: "band_power"; or "values" at `times`. "auto": values of an Evoked and of an array
            without sfreq, band power of the rest.
        times: seconds, for values; None: the peak of an Evoked's global field power.
        bands: see :func:`band_power`, as are window, overlap and feature.
        window: likewise.
        overlap: likewise.
        feature: likewise.
        montage: where the channels are, if not where the recording says; see
            :func:`~neurogaze_fast.eeg.channels.places`.
        sphere: the head, in MNE's forms; see :func:`~neurogaze_fast.eeg.sphere.find_sphere`.
        size: pixels per side, or (rows, columns).
        method: "cubic", "linear", "nearest" or "spherical_spline".
        extrapolate: "head", "local" or "box".
        border: "mean" or 0.

    Raises:
        DataError: nothing to map; says what is missing.
        OperatorError: positions or options cannot be used.
    """
    if sfreq is None and not hasattr(x, "info") and np.ndim(x) == 2:
        x = np.asarray(x, np.float64)[:, :, None]  # values of N moments, one sample each
    source = recorded(x, sfreq, ch_names)
    if what == "auto":
        plain = source.kind == "evoked" or source.sfreq is None
        what = "values" if plain else "band_power"
    if what == "band_power":
        power = band_power(
            x, sfreq, ch_names, bands=bands, window=window, overlap=overlap, feature=feature
        )
        values, when, labels, unit = power.values, power.times, power.bands, power.unit
        spoiled = power.windows_left_out
    else:
        values, when = _values(source, times)
        spoiled = {}
        labels, unit = ("",), "µV" if source.info is not None else ""
    known, values, positions, found, left_out = _mapped(source, values, montage, sphere)
    operator = TopomapOperator.from_positions(
        positions, size, method, extrapolate, border, sphere=found
    )
    maps = ops.topomap(torch.from_numpy(np.ascontiguousarray(values)), operator).numpy()
    maps[:, :, ~operator.mask] = np.nan
    return TopoMaps(maps, labels, when, known, values, operator, unit, left_out, spoiled)


def plot_topomaps(maps: TopoMaps, path: Any = None, **options: Any) -> Figure:
    """Draw maps as people know them, and write them to `path` (a PNG) where one is given.

    A column a band, a row a window (at most 8, evenly spaced). `options` are axes, vlim, cmap,
    contours, sensors, names and colorbar: :func:`neurogaze_fast.eeg.topomap_plot.plot_topomaps`.
    """
    from neurogaze_fast.eeg.topomap_plot import plot_topomaps as plot

    return plot(maps, path, **options)


def _mapped(
    source: Recorded, values: np.ndarray, montage: Any, sphere: Any
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, Any, tuple[str, ...]]:
    """(names, values [N, F, K], positions [K, 2], sphere, names left out) of what is mapped."""
    finite = np.isfinite(values).all(axis=(0, 1))
    usable = [
        name
        for name, fine in zip(source.ch_names, finite, strict=True)
        if fine and name not in source.bads
    ]
    info = source.info
    if info is not None and len(usable) < len(source.ch_names):
        import mne

        info = mne.pick_info(info, [source.ch_names.index(name) for name in usable])
    positions, found, known = places(usable, info, montage, sphere)
    rows = [source.ch_names.index(name) for name in known]
    left_out = tuple(name for name in source.ch_names if name not in known)
    return tuple(known), values[:, :, rows].astype(np.float32), positions, found, left_out


def _passed(
    bands: Mapping[str, tuple[float, float]], source: Recorded
) -> Mapping[str, tuple[float, float]]:
    """The bands that the recording's low-pass lets through, as prepare's are chosen."""
    limit = source.lowpass
    gone = [name for name, edges in bands.items() if not passes(limit, edges)]
    if not gone or limit is None:
        return bands
    said = f"The recording is low-passed at {limit:g} Hz, so it holds nothing of {', '.join(gone)}"
    if len(gone) == len(bands):
        raise DataError(f"{said}, and no band is left. Give bands = that end there or below.")
    warnings.warn(f"{said}: left out.", UserWarning, stacklevel=3)
    return {name: edges for name, edges in bands.items() if name not in gone}


def _windows(
    source: Recorded, sfreq: float, window: float | None, overlap: float
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Windows [N, C, L], where they begin, and how many were left out for which reason."""
    if window is None and source.kind == "raw":
        window = 2.0
    if window is None:
        return source.data, source.start, {}
    if not 0 <= overlap < 1:
        raise DataError(f"overlap is {overlap!r}; give a fraction from 0 up to, not including, 1.")
    parts = [cut(stretch, sfreq, window, overlap) for stretch in source.data]
    data = np.concatenate([part[0] for part in parts])
    if not len(data):
        seconds = source.data.shape[2] / sfreq
        raise DataError(f"{seconds:g} s are shorter than a window of {window:g} s.")
    starts = [first + part[1] for first, part in zip(source.start, parts, strict=True)]
    times = np.concatenate(starts)
    reasons = touched(times, window, source.gaps, sfreq)
    spoiled = dict(Counter(reason for reason in reasons if reason))
    kept = none_yet(reasons)
    if not kept.any():
        found = "; ".join(f"{reason} ({count})" for reason, count in spoiled.items())
        raise DataError(f"None of the {len(times)} windows can be used: {found}.")
    return data[kept], times[kept], spoiled


def _values(source: Recorded, times: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, 1, C] at `times`, and the times."""
    if source.sfreq is None:
        return source.data[:, None, :, 0].astype(np.float32), np.arange(len(source.data)) * 1.0
    if times is None:
        if len(source.data) != 1:
            raise DataError("Name the times (in seconds) at which these epochs are to be mapped.")
        at = np.array([int(source.data[0].std(axis=0).argmax())])
    else:
        at = np.rint((np.asarray(times, float) - source.start[0]) * source.sfreq).astype(int)
        if at.size == 0 or at.min() < 0 or at.max() >= source.data.shape[2]:
            end = source.start[0] + (source.data.shape[2] - 1) / source.sfreq
            raise DataError(f"times lie outside {source.start[0]:g} to {end:g} s.")
        reasons = touched(at / source.sfreq, 1 / source.sfreq, source.gaps, source.sfreq)
        for moment, reason in zip(np.ravel(times), reasons, strict=True):
            if reason:
                raise DataError(f"{moment:g} s lies in {reason}: there is no EEG to map.")
    mean = source.data.mean(axis=0)
    return mean[:, at].T[:, None].astype(np.float32), source.start[0] + at / source.sfreq
