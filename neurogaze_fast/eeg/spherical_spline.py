"""Spherical spline weights (Perrin et al. 1989)."""

from __future__ import annotations

import numpy as np

from neurogaze_fast.eeg.montage import HEAD_RADIUS

STIFFNESS = 4
TERMS = 50
REGULARISATION = 1e-5


def spline_weights(electrodes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [C, T]: weights that carry values at electrodes [C, 2] to targets [T, 2], in metres.

    The potential is U(t) = c_0 + sum_i c_i g(cos(t, e_i)) with sum_i c_i = 0 and
    g(x) = 1 / (4 pi) sum_{n=1..50} (2n + 1) / (n (n + 1))^4 P_n(x)   (Perrin et al. 1989, eq. 3,
    with m = 4). Adding 1e-5 to the diagonal of g(e_i, e_j) smooths: the electrodes are approached,
    not met. Stiffness, terms and smoothing are the ones of MNE's interpolation of bad channels.
    """
    sites, points = lift(electrodes), lift(targets)
    count = len(sites)
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = _g(sites @ sites.T) + REGULARISATION * np.eye(count)
    system[count, count] = 0
    right = np.ones((count + 1, len(points)))
    right[:count] = _g(sites @ points.T)
    # The system is symmetric, so solving for g(t) gives the weights of the values themselves.
    return np.linalg.solve(system, right)[:count]


def lift(points: np.ndarray) -> np.ndarray:
    """Unit vectors [P, 3] for points [P, 2] of the azimuthal equidistant plane, in metres.

    The polar angle is r / 0.095 * 90 degrees: the head circle becomes the equator.
    """
    polar = np.linalg.norm(points, axis=1) / HEAD_RADIUS * (np.pi / 2)
    scale = np.sinc(polar / np.pi) * (np.pi / 2) / HEAD_RADIUS  # sin(polar) / r, also at r = 0
    return np.concatenate([points * scale[:, None], np.cos(polar)[:, None]], axis=1)


def _g(cosine: np.ndarray) -> np.ndarray:
    n = np.arange(1, TERMS + 1)
    series = (2 * n + 1) / (4 * np.pi * (n * (n + 1.0)) ** STIFFNESS)
    return np.polynomial.legendre.legval(cosine, np.concatenate([[0.0], series]))
