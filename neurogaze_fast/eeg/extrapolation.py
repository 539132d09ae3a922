"""Points around the electrodes that carry a map to the edge of the grid, as MNE places them.

Everything here follows mne.viz.topomap in behaviour (points, their order, and the way the
triangulation is built), so that the same triangles arise. That matters: real montages are nearly
symmetric, two mirrored pairs of sites lie on one circle, and which diagonal is drawn between them
hangs on the last digits and on the way Qhull meets the points.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial import Delaunay

EXTRAPOLATE = ("head", "local", "box")


def triangulate(
    positions: np.ndarray, extrapolate: str, radius: float, origin: np.ndarray | None = None
) -> Delaunay:
    """Delaunay triangulation of the electrodes [C, 2] followed by the extra points.

    * `box`: the corners of the electrodes' bounding box grown by its own size on each side.
    * `head`: a circle outside the grid's inscribed circle of `radius` (metres), about as densely
      set as the electrodes, about `origin` [2] (None: 0, 0).
    * `local`: the electrodes' convex hull pushed outwards by the typical distance of electrodes.
    """
    if extrapolate == "box":
        low, high = positions.min(axis=0), positions.max(axis=0)
        size = high - low
        (x0, y0), (x1, y1) = low - size, high + size
        corners = np.array(list(itertools.product((x0, x1), (y0, y1))))
        return Delaunay(np.concatenate([positions, corners]))

    triangulation = Delaunay(positions, incremental=True)
    # MNE's typical distance: the median over two of each triangle's three edges.
    corners = positions[triangulation.simplices]
    spacing = float(np.median(np.linalg.norm(np.diff(corners, axis=1), axis=2)))
    if extrapolate == "head":
        extra = _circle(radius, spacing) + (0 if origin is None else origin)
    else:
        extra = _pushed_hull(positions, triangulation.convex_hull, spacing)
    triangulation.add_points(extra)
    return triangulation


def border_rule(triangulation: Delaunay, electrodes: int, border: str | float) -> np.ndarray:
    """float64 [C + X, C]: the values at all points as a linear function of the electrodes'.

    Electrodes keep theirs. With `mean` an extra point takes the mean of the electrodes it shares an
    edge with, and one that touches none the mean of the extra points that do; with 0 it is 0.
    """
    rule = np.zeros((len(triangulation.points), electrodes))
    rule[:electrodes] = np.eye(electrodes)
    if border != "mean":
        return rule
    start, neighbour = triangulation.vertex_neighbor_vertices
    alone, settled = [], []
    for point in range(electrodes, len(rule)):
        near = neighbour[start[point] : start[point + 1]]
        near = near[near < electrodes]
        if len(near):
            rule[point, near] = 1 / len(near)
            settled.append(point)
        else:
            alone.append(point)
    if alone and settled:
        rule[alone] = rule[settled].mean(axis=0)
    return rule


def _circle(radius: float, spacing: float) -> np.ndarray:
    """[X, 2]: at least 12 points, `spacing` beyond 1.1 times the radius."""
    step = np.arcsin(min(spacing / radius, 1))
    count = max(12, round(2 * np.pi / step))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * (radius * 1.1 + spacing)


def _pushed_hull(positions: np.ndarray, hull: np.ndarray, spacing: float) -> np.ndarray:
    """[X, 2]: hull corners moved `spacing` away from the centre, and points along long edges."""
    edges = positions[hull]
    outward = edges - positions.mean(axis=0)
    pushed = edges + outward / np.linalg.norm(outward, axis=2, keepdims=True) * spacing
    along = edges[:, 1] - edges[:, 0]
    pieces = np.round(0.25 * np.linalg.norm(along, axis=1) / spacing).astype(int)
    between = [
        pushed[pieces == count, 0] + along[pieces == count] * (part / count)
        for count in range(2, pieces.max() + 1)
        for part in range(1, count)
    ]
    # A corner belongs to two edges; both pushed it to the same place, bit for bit.
    return np.concatenate([np.unique(pushed.reshape(-1, 2), axis=0), *between])
