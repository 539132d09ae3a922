"""Where the electrodes of a recording lie, and which of them stand at the sites that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurogaze_fast.eeg.labels import tidy_label
from neurogaze_fast.eeg.montage import head_positions, named_positions
from neurogaze_fast.eeg.sphere import HEAD, Sphere, flatten

FURTHEST = 20.0
"""Degrees, seen from the head's middle, that an electrode may be away from the site it stands for:
about half the distance of neighbours in the 10-20 system, our choice."""
_SAME = 1e-6
"""Metres within which positions are the template's own."""


def montage_points(labels: Sequence[str], montage: Any) -> tuple[dict[str, np.ndarray], Sphere]:
    """Label -> [3] metres in the head frame, by a montage of MNE's, a file or a DigMontage.

    Labels are looked up as they are, and without what recorders put around them.

    Raises:
        DataError: the montage is not known or not readable.
    """
    import mne

    from neurogaze_fast.eeg.channels import read_montage

    known = read_montage(montage)
    spelling = {name.casefold(): name for name in known.ch_names}
    found = {}
    for label in labels:
        for text in (label, tidy_label(label)):
            if text.casefold() in spelling:
                found[label] = spelling[text.casefold()]
                break
    if not found:
        return {}, HEAD
    names = list(dict.fromkeys(found.values()))
    info = mne.create_info(names, 1.0, "eeg", verbose="error")
    info.set_montage(known, verbose="error")
    points, sphere = info_points(info)
    return {label: points[name] for label, name in found.items() if name in points}, sphere


def info_points(info: Any) -> tuple[dict[str, np.ndarray], Sphere]:
    """Name -> [3] metres of the channels of an Info that have a place, and its default sphere."""
    from neurogaze_fast.eeg.sphere import find_sphere

    points = {}
    for channel in info["chs"]:
        place = np.array(channel["loc"][:3], np.float64)
        if np.isfinite(place).all() and np.abs(place).max() > 0:
            points[channel["ch_name"]] = place
    return points, find_sphere(None, info) if points else HEAD


def nearest(
    sites: Sequence[str], points: dict[str, np.ndarray], sphere: Sphere
) -> dict[str, tuple[str, float]]:
    """Site -> (label of the electrode nearest to it, degrees away); each label at most once.

    Directions are compared: those of the sites in MNE's template about its middle, those of the
    electrodes about the sphere's centre (of a cap without a fitted sphere, about its electrodes').
    Sites whose nearest electrode is further than FURTHEST degrees are missing.
    """
    labels = list(points)
    template, wanted = head_positions(sites)
    centre = np.array(sphere[:3]) if sphere != HEAD else _middle(np.stack(list(points.values())))
    middle = _middle(template)
    directions = _unit(np.stack([points[label] for label in labels]) - centre)
    angle = np.degrees(np.arccos(np.clip(_unit(wanted - middle) @ directions.T, -1, 1)))
    found: dict[str, tuple[str, float]] = {}
    free = np.ones(len(labels), bool)
    for site in np.argsort(angle.min(axis=1), kind="stable"):
        row = np.where(free, angle[site], np.inf)
        best = int(row.argmin())
        if row[best] <= FURTHEST:
            found[sites[site]] = labels[best], float(row[best])
            free[best] = False
    return {site: found[site] for site in sites if site in found}


def planar(names: Sequence[str], points: np.ndarray, sphere: Sphere) -> np.ndarray | None:
    """float64 [C, 2] of points [C, 3]; None where they are where the template has these names."""
    positions = flatten(points, sphere)
    if sphere == HEAD:
        try:
            if np.abs(named_positions(names) - positions).max() < _SAME:
                return None
        except ValueError:  # names of another system
            pass
    return positions


def _middle(points: np.ndarray) -> np.ndarray:
    """[3]: of the sphere that fits points [N, 3] best, by least squares."""
    if len(points) < 4:
        return np.zeros(3)
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(system, np.square(points).sum(axis=1), rcond=None)
    return solution[:3]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
