"""Maps by interpolation on triangles, one per electrode."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.interpolate import (
    CloughTocher2DInterpolator,
    LinearNDInterpolator,
    NearestNDInterpolator,
)
from scipy.spatial import Delaunay

from neurogaze_fast.eeg.extrapolation import border_rule, triangulate
from neurogaze_fast.errors import OperatorError


def planar_maps(
    points: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    method: str,
    extrapolate: str,
    border: str | float,
    half: float,
    origin: np.ndarray,
) -> np.ndarray:
    """float64 [rows, columns, C]: the map of each electrode's unit value, NaN outside.

    Args:
        points: [C, 2] electrodes, metres.
        x: [rows, columns], of the grid's nodes, metres.
        y: [rows, columns], likewise.
        method: "cubic", "linear" or "nearest".
        extrapolate: "head", "local" or "box".
        border: "mean" or 0.
        half: L, metres: half the grid's side.
        origin: [2], metres: the middle of the head.

    Raises:
        OperatorError: the triangles are too thin for the cubic method.
    """
    triangulation = triangulate(points, extrapolate, half, origin)
    rule = border_rule(triangulation, len(points), border)
    if method == "linear":
        return LinearNDInterpolator(triangulation, rule)(x, y)
    if method == "nearest":
        return NearestNDInterpolator(triangulation, rule)(x, y)
    return _clough_tocher(triangulation, rule)(x, y)


def _clough_tocher(triangulation: Delaunay, rule: np.ndarray) -> CloughTocher2DInterpolator:
    """scipy's interpolator with its gradients at their fixed point.

    A sweep contracts by about 0.3, so some 30 reach 1e-15. Among many sites a gradient may go on
    flickering in its last digit, and scipy would sweep for ever: then a little less is asked. The
    many sweeps of the last try are for very thin triangles.
    """
    for tol, sweeps in ((1e-15, 1000), (1e-14, 10_000), (1e-12, 100_000)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            maps = CloughTocher2DInterpolator(triangulation, rule, tol=tol, maxiter=sweeps)
        if not any("did not converge" in str(item.message) for item in caught):
            return maps
    raise OperatorError(
        "The gradients of the cubic interpolation do not settle for these positions: some "
        "triangles are too thin. Drop sites that nearly coincide, or use method='linear'."
    )
