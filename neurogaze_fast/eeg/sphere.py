"""The head as a sphere: what positions are flattened about, in every form that MNE takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurogaze_fast.eeg import montage
from neurogaze_fast.eeg.montage import HEAD_RADIUS
from neurogaze_fast.errors import OperatorError

if TYPE_CHECKING:
    import mne

Sphere = tuple[float, float, float, float]
"""x, y, z of the centre and the radius, metres, in MNE's head frame."""
HEAD: Sphere = (0.0, 0.0, 0.0, HEAD_RADIUS)
FITTED = ("auto", "extra", "eeg", "cardinal", "hpi")


def find_sphere(sphere: Any, info: mne.Info | None = None) -> Sphere:
    """The sphere that MNE's plots use for the same argument.

    Args:
        sphere: None (0.095 m about the origin; fitted to the head's shape where the info holds
            enough extra points of it), a radius, (x, y, z, radius) in metres, "eeglab" (through the
            plane of Fpz, Oz, T7 and T8), "auto" or a kind of digitised points to fit to, or MNE's
            spherical ConductorModel.
        info: of the recording, for the forms that need its points.

    Raises:
        OperatorError: another form, or points are missing; says which.
    """
    if sphere is None:
        sphere = "auto" if info is not None and _has_shape(info) else HEAD
    if isinstance(sphere, str) and sphere == "eeglab":
        return _eeglab(info)
    words = [sphere] if isinstance(sphere, str) else sphere
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return _fitted(words, sphere, info)
    if isinstance(sphere, dict):  # a ConductorModel is one
        if not sphere.get("is_sphere") or not len(sphere.get("layers", ())):
            raise OperatorError("sphere is a conductor model that is no sphere with layers.")
        sphere = (*sphere["r0"], sphere["layers"][0]["rad"])
    try:
        numbers = np.array(sphere, np.float64)
    except (TypeError, ValueError) as cause:
        raise OperatorError(_FORMS.format(sphere)) from cause
    if numbers.shape == ():
        numbers = np.array([0.0, 0.0, 0.0, float(numbers)])
    if numbers.shape != (4,) or not np.isfinite(numbers).all() or not 0 < numbers[3] < 1:
        raise OperatorError(_FORMS.format(sphere))
    x, y, z, radius = numbers.tolist()
    return x, y, z, radius


def flatten(points: np.ndarray, sphere: Sphere = HEAD) -> np.ndarray:
    """float64 [C, 2]: points [C, 3] on the plane about a sphere's centre, as MNE's maps show them;
    see :func:`neurogaze_fast.eeg.montage.flatten`."""
    return montage.flatten(points, sphere[:3])


_FORMS = (
    "sphere is {!r}; give a radius or (x, y, z, radius) in metres, 'auto', 'eeglab', a kind of "
    "digitised points ('extra', 'eeg', 'cardinal', 'hpi'), or None."
)


def _has_shape(info: mne.Info) -> bool:
    from mne.bem import get_fitting_dig

    try:
        get_fitting_dig(info, "extra", verbose="error")
    except (RuntimeError, ValueError):
        return False
    return True


def _fitted(words: Sequence[str], sphere: Any, info: mne.Info | None) -> Sphere:
    unknown = [word for word in words if word not in FITTED]
    if unknown:
        raise OperatorError(_FORMS.format(sphere))
    if info is None:
        raise OperatorError(
            f"sphere={sphere!r} is fitted to digitised points, and there are none without an Info."
        )
    from mne.bem import fit_sphere_to_headshape

    try:
        radius, centre, _ = fit_sphere_to_headshape(
            info, dig_kinds=sphere, units="m", verbose="error"
        )
    except (RuntimeError, ValueError) as cause:
        raise OperatorError(
            f"sphere={sphere!r} cannot be fitted: {' '.join(str(cause).split())}. Give a radius."
        ) from cause
    x, y, z = map(float, centre)
    return x, y, z, float(radius)


def _eeglab(info: mne.Info | None) -> Sphere:
    points = info.get_montage() if info is not None else None
    places = dict(points.get_positions()["ch_pos"]) if points is not None else {}
    if "FPz" in places:
        places["Fpz"] = places["FPz"]
    elif "Fpz" not in places and "Oz" in places:
        places["Fpz"] = places["Oz"] * [-1, -1, 1]
    missing = [name for name in ("Fpz", "Oz", "T7", "T8") if name not in places]
    if missing:
        raise OperatorError(
            f"sphere='eeglab' goes through Fpz, Oz, T7 and T8, and {', '.join(missing)} has no "
            "position. Set a montage, or give a radius."
        )
    reach = [places["T7"][0], places["T8"][0], places["Fpz"][1], places["Oz"][1]]
    x, y, z = np.mean([places[name] for name in ("T7", "T8", "Fpz", "Oz")], axis=0).tolist()
    return x, y, z, float(np.abs(reach).mean())
