"""Channels, rates and places of the EEG people have in Python: MNE's objects, arrays, lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurogaze_fast.eeg.gaps import Gap
from neurogaze_fast.eeg.mne_raw import gaps_of_raw, lowpass_of_raw
from neurogaze_fast.eeg.montage import named_positions
from neurogaze_fast.eeg.sphere import Sphere, find_sphere, flatten
from neurogaze_fast.errors import DataError, OperatorError

if TYPE_CHECKING:
    import mne


@dataclass(frozen=True, eq=False)
class Recorded:
    """EEG of C channels, N stretches of T samples."""

    kind: str
    """"raw", "epochs", "evoked" or "array"."""
    data: np.ndarray
    """float64 [N, C, T], microvolts from MNE's objects, and as they are from arrays."""
    sfreq: float | None
    """Hz; None where an array came without."""
    ch_names: tuple[str, ...]
    start: np.ndarray
    """float64 [N]: seconds at which each stretch begins."""
    bads: tuple[str, ...]
    info: mne.Info | None
    gaps: tuple[Gap, ...] = ()
    """Of a Raw: time that is no EEG, in seconds from its first sample."""
    lowpass: float | None = None
    """Hz: where the channels end, as MNE's object says; None: it does not say."""


def recorded(x: Any, sfreq: float | None, ch_names: Sequence[str] | None) -> Recorded:
    """What `x` holds: mne.io.Raw, Epochs or Evoked (their EEG channels), or an array.

    Args:
        x: MNE's object, or an array or nested list [C], [C, T] or [N, C, T].
        sfreq: Hz; for arrays of samples.
        ch_names: of an array's C channels.

    Raises:
        DataError: no EEG channel, names that do not fit the array, or no numbers.
    """
    if hasattr(x, "info") and hasattr(x, "ch_names"):
        return _of_mne(x)
    try:
        data = np.asarray(x, np.float64)
    except (TypeError, ValueError) as cause:
        raise DataError(
            f"{type(x).__name__} is neither MNE's Raw, Epochs or Evoked nor an array of numbers "
            "[C], [C, T] or [N, C, T]. A recording in a file is read first: "
            "mne.io.read_raw(NAME)."
        ) from cause
    if data.ndim not in (1, 2, 3) or 0 in data.shape:
        raise DataError(f"EEG is an array [C], [C, T] or [N, C, T], not {list(data.shape)}.")
    if ch_names is None or isinstance(ch_names, str):
        raise DataError("An array does not say which channels it holds: give ch_names, a list.")
    names = tuple(map(str, ch_names))
    if data.ndim == 1:
        data = data[:, None]
    data = data[None] if data.ndim == 2 else data
    if data.shape[1] != len(names):
        raise DataError(
            f"There are {len(names)} ch_names for an array of {data.shape[1]} channels "
            f"({list(np.shape(x))}: channels come before samples)."
        )
    start = np.zeros(len(data))
    return Recorded("array", data, sfreq, names, start, (), None)


def _of_mne(x: Any) -> Recorded:
    import mne

    picks = mne.pick_types(x.info, eeg=True, exclude=[])
    if not len(picks):
        kinds = ", ".join(sorted(set(x.get_channel_types()))) or "none"
        raise DataError(f"There is no channel of type EEG (the types are: {kinds}).")
    names = tuple(x.ch_names[i] for i in picks)
    gaps: tuple[Gap, ...] = ()
    lowpass = float(x.info["lowpass"] or 0) or None
    if isinstance(x, mne.Evoked):
        kind, data, start = "evoked", x.data[picks][None], np.array([float(x.times[0])])
    elif isinstance(x, mne.BaseEpochs):
        kind, data = "epochs", x.get_data(picks=picks, verbose="error")
        start = x.events[:, 0] / float(x.info["sfreq"]) + float(x.times[0])
    else:
        kind, data, start = "raw", x.get_data(picks=picks, verbose="error")[None], np.zeros(1)
        gaps = tuple(g for g in gaps_of_raw(x) if g.ch_names is None or {*g.ch_names} & {*names})
        ends = lowpass_of_raw(x)
        lowpass = min((end for name in names if (end := ends[name]) is not None), default=None)
    bads = tuple(name for name in x.info["bads"] if name in names)
    info = mne.pick_info(x.info, picks)
    sfreq = float(x.info["sfreq"])
    return Recorded(kind, data * 1e6, sfreq, names, start, bads, info, gaps, lowpass)


def places(
    ch_names: Sequence[str],
    info: mne.Info | None = None,
    montage: str | Path | Any = None,
    sphere: Any = None,
) -> tuple[np.ndarray, Sphere, list[str]]:
    """Where channels lie: positions [K, 2] of those that have any, the sphere, and their names.

    A montage that is given comes first, then positions in `info`, then those that MNE's template
    has for 10-20 names. Every channel of `standard_1020` is found: names of the older and the newer
    system for one place (T3 and T7, and the like) both, wherever only one of them is recorded.

    Args:
        ch_names: of the channels.
        info: MNE's, with the positions of a digitised cap where there are any.
        montage: one of MNE's names (such as GSN-HydroCel-128, biosemi128), a file MNE reads
            (.sfp, .elc, .bvef, .csd, .loc, ...), or a DigMontage.
        sphere: as for :func:`~neurogaze_fast.eeg.sphere.find_sphere`.

    Raises:
        DataError: the montage is not known or not readable, or fewer than four channels have a
            place.
        OperatorError: the sphere cannot be found; a name is no site and nothing else says where.
    """
    info = _with_montage(list(ch_names), info, montage)
    if info is None:
        return named_positions(ch_names), find_sphere(sphere), list(ch_names)
    found = find_sphere(sphere, info)
    points = np.array([channel["loc"][:3] for channel in info["chs"]], np.float64)
    known = np.isfinite(points).all(axis=1) & (np.abs(points).max(axis=1) > 0)
    if not known.any():
        if montage is not None:
            raise DataError(f"The montage {montage} has none of {', '.join(ch_names[:8])}.")
        return named_positions(ch_names), find_sphere(sphere), list(ch_names)
    names = [name for name, has in zip(ch_names, known, strict=True) if has]
    if len(names) < 4:
        raise DataError(
            f"Only {', '.join(names) or 'no channel'} has a position, and a map needs four. Give "
            "a montage that names the channels."
        )
    return flatten(points[known], found), found, names


def read_montage(montage: Any) -> mne.channels.DigMontage:
    """A montage by name, of a file, or as it is.

    Raises:
        DataError: MNE has no such name, or does not read the file.
    """
    import mne

    if isinstance(montage, mne.channels.DigMontage):
        return montage
    text = str(montage)
    known = {name.casefold(): name for name in mne.channels.get_builtin_montages()}
    older = {"gsn128": "GSN-HydroCel-128", "gsn-128": "GSN-HydroCel-128"}
    key = older.get(text.casefold(), text).casefold()
    if key in known:
        return mne.channels.make_standard_montage(known[key])
    if not Path(text).exists():
        raise DataError(
            f"The montage {text!r} is no file, and none of MNE's: {', '.join(sorted(known))}."
        )
    try:
        reader = mne.channels.read_custom_montage
        if Path(text).suffix.lower() in (".fif", ".gz"):
            reader = mne.channels.read_dig_fif
        return reader(text)
    except Exception as cause:  # each of MNE's readers has its own errors
        raise DataError(f"{text} is no montage that MNE reads: {cause}") from cause


def _with_montage(names: list[str], info: mne.Info | None, montage: Any) -> mne.Info | None:
    if montage is None:
        return info
    import mne

    if info is None:
        info = mne.create_info(names, 1.0, "eeg", verbose="error")
    info = info.copy()
    try:
        info.set_montage(
            read_montage(montage), match_case=False, match_alias=True, on_missing="ignore",
            verbose="error",
        )  # fmt: skip
    except ValueError as cause:
        raise OperatorError(f"The montage does not fit the channels: {cause}") from cause
    return info
