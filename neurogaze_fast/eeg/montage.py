"""Site names to positions on the plane, and the checks that positions are usable."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.errors import OperatorError

if TYPE_CHECKING:
    import mne

HEAD_RADIUS = 0.095
"""Metres: the head MNE draws and scales with (its default sphere)."""

# The 1020 system's names and the later 1010 system's names of the same four sites.
_RENAMED = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
_RENAMED |= {new: old for old, new in _RENAMED.items()}


def named_positions(names: Sequence[str]) -> np.ndarray:
    """float64 [C, 2], metres: where MNE draws the named sites of the 10-20 system.

    x points to the right ear, y to the nose. The montage is MNE's `colin27_1020` (`standard_1020`
    where MNE does not have that name yet; the positions are the same), moved into MNE's head
    frame. A site at distance r and polar angle a from the z axis lies at radius r * a / (pi/2): the
    azimuthal equidistant plane, as in MNE's topographic maps.

    Case does not matter, and T3/T7, T4/T8, T5/P7, T6/P8 are the same sites.

    Raises:
        OperatorError: MNE is missing, or a name is unknown.
    """
    return flatten(head_positions(names)[1])


def head_positions(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """float64 [M, 3] and [C, 3], metres in MNE's head frame: all sites of the template, and these.

    Raises:
        OperatorError: MNE is missing, or a name is unknown.
    """
    montage = _montage()
    import mne

    found = _look_up(names, montage.ch_names)

    def located(sites: list[str]) -> dict[str, np.ndarray]:
        # The Info carries the montage from its own frame into the head frame.
        info = mne.create_info(sites, sfreq=1.0, ch_types="eeg", verbose="error")
        info.set_montage(montage, verbose="error")
        places = zip(sites, info["chs"], strict=True)
        return {site: channel["loc"][:3] for site, channel in places}

    every = located(list(montage.ch_names))
    chosen = np.array([every[name] for name in found]).reshape(-1, 3)
    return np.array(list(every.values())), chosen


def head_info(names: Sequence[str], sfreq: float) -> mne.Info:
    """EEG channels as MNE describes them, each at its place on the template's head.

    Without places where a name is not one of the template's.

    Raises:
        OperatorError: MNE is missing.
    """
    known = known_sites(names)
    import mne

    info = mne.create_info(list(names), sfreq, "eeg", verbose="error")
    if None not in known:
        for channel, place in zip(info["chs"], head_positions(names)[1], strict=True):
            channel["loc"][:3] = place
    return info


def known_sites(names: Sequence[str]) -> list[str | None]:
    """The site each name stands for, spelt as MNE does; None where the montage has no such site.

    T3, T4, T5 and T6 come back by their later names T7, T8, P7 and P8, so that one site has one
    name in every data set. Ears and mastoids (A1, A2, M1, M2) are references, not sites of a map:
    None.

    Raises:
        OperatorError: MNE is missing.
    """
    spelling = {name.casefold(): name for name in _montage().ch_names}
    keys = [str(name).strip().casefold() for name in names]
    keys = [_RENAMED[key] if key in ("t3", "t4", "t5", "t6") else key for key in keys]
    return [None if key in ("a1", "a2", "m1", "m2") else spelling.get(key) for key in keys]


def check_positions(positions: object, names: tuple[str, ...] | None) -> np.ndarray:
    """Positions as float64 [C, 2], once they are known to span a plane in metres.

    Raises:
        OperatorError: the shape is not [C, 2], C < 4, a value is not finite, the unit is not
            metres, two sites coincide (within a micrometre), or all lie on one line.
    """
    try:
        points = np.array(positions, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise OperatorError(f"positions must be numbers [C, 2] in metres: {error}.") from error
    if points.ndim != 2 or points.shape[1] != 2:
        raise OperatorError(
            f"positions must be [C, 2], one (x, y) in metres per site, got {points.shape}."
        )
    if len(points) < 4:
        raise OperatorError(
            f"A map needs at least 4 sites, got {len(points)}. Give more channels: fewer do not "
            "say how the potential varies over the head."
        )
    label = names or [f"site {i}" for i in range(len(points))]
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise OperatorError(
            f"positions must be finite, and {', '.join(label[i] for i in bad)} is not. Drop "
            "channels without a position."
        )
    reach = float(np.linalg.norm(points, axis=1).max())
    if reach > 0.5:
        raise OperatorError(
            f"positions are in metres, and the outermost site is {reach:.4g} from the head's "
            "centre: this looks like millimetres or centimetres. Divide by 1000 or 100."
        )
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    first, second = np.nonzero(np.triu(distance < 1e-6, k=1))
    if len(first):
        pairs = ", ".join(f"{label[a]} and {label[b]}" for a, b in zip(first, second, strict=True))
        raise OperatorError(
            f"Every site needs a place of its own, and these coincide: {pairs}. Keep one of each "
            "(positions are in metres; T3/T7, T4/T8, T5/P7, T6/P8 are the same sites)."
        )
    extent = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if extent[1] < 1e-6 * extent[0]:
        raise OperatorError(
            "All sites lie on one line, so a map over the head is not defined. Add channels beside "
            "the line."
        )
    points += 0.0  # -0.0 becomes 0.0, so that equal positions have equal bytes
    return points


def _montage() -> mne.channels.DigMontage:
    try:
        import mne
    except ModuleNotFoundError as error:
        raise OperatorError(
            "Site names need MNE for their positions, and it is not installed. Run: "
            "pip install 'neurogaze_fast[eeg]', or give positions to from_positions."
        ) from error
    known = mne.channels.get_builtin_montages()
    name = "colin27_1020" if "colin27_1020" in known else "standard_1020"
    return mne.channels.make_standard_montage(name)


def flatten(points: np.ndarray, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """float64 [C, 2]: points [C, 3] of the head frame on the plane, as MNE's maps show them.

    Azimuthal equidistant about the vertical through `centre`: a site at distance r from the centre
    and angle a from the vertical lies at r a / (pi / 2) from where the centre is.
    """
    offset = np.asarray(points, np.float64) - np.array(centre)
    radius = np.linalg.norm(offset, axis=1)
    polar = np.arccos(offset[:, 2] / radius)
    azimuth = np.arctan2(offset[:, 1], offset[:, 0])
    spoke = radius * polar / (np.pi / 2)
    return np.stack([spoke * np.cos(azimuth), spoke * np.sin(azimuth)], axis=1) + centre[:2]


def _look_up(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The montage's own spelling of each name."""
    spelling = {name.casefold(): name for name in known}
    found, unknown = [], []
    for name in names:
        key = str(name).strip().casefold()
        key = key if key in spelling else _RENAMED.get(key, key)
        if key in spelling:
            found.append(spelling[key])
            continue
        close = [spelling[match] for match in difflib.get_close_matches(key, spelling, n=2)]
        unknown.append(f"{name!r}" + (f" (nearest: {' or '.join(close)})" if close else ""))
    if unknown:
        raise OperatorError(
            f"These are not sites of the 10-20 system: {', '.join(unknown)}. Correct the names, "
            "leave out channels that are not EEG, or give positions to from_positions."
        )
    return found
