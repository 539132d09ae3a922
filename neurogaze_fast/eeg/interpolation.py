"""EEG topographic maps as one matrix per montage, built once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.eeg.extrapolation import EXTRAPOLATE
from neurogaze_fast.eeg.montage import HEAD_RADIUS, check_positions, named_positions
from neurogaze_fast.eeg.planar import planar_maps
from neurogaze_fast.eeg.sphere import HEAD, Sphere
from neurogaze_fast.eeg.spherical_spline import spline_weights
from neurogaze_fast.errors import OperatorError

Size = int | tuple[int, int]
"""Pixels per side, or (rows, columns)."""
METHODS = ("cubic", "linear", "nearest", "spherical_spline")


@dataclass(frozen=True)
class OperatorTensors:
    """A :class:`TopomapOperator` on one device, in one dtype. P = size * size."""

    matrix: Tensor
    """[C, P]."""
    mask: Tensor
    """bool [P]."""
    mean: Tensor
    """[C + 1]."""
    factor: Tensor
    """[C + 1, C + 1]."""


@dataclass(frozen=True, eq=False)
class TopomapOperator:
    """The map of values v [C] is v @ matrix, row-major pixels, y ascending by row.

    Every method is linear in the values, so one matrix per montage holds all of it: Delaunay
    triangulation, border rule, gradient estimate and evaluation. Node (row, col) of the grid lies
    at (linspace(-L, L, columns)[col], linspace(-L, L, rows)[row]) with
    L = 0.095 max(1, 1.01 max|positions| / 0.095) metres, as in MNE's topographic maps; another
    sphere (see :mod:`~neurogaze_fast.eeg.sphere`) has its radius in the place of 0.095, and its
    grid lies about its centre as MNE's does.

    * `cubic`: Clough-Tocher as in scipy, with its gradient estimate iterated to its fixed point.
      scipy's default stopping rule (tol = 1e-6) compares changes with max(1, |gradient|), so it
      depends on the data's unit: for EEG in volts it stops 0.04-0.8 % away from its own limit.
      This operator is exact at every scale.
    * `linear`: barycentric in each triangle. `nearest`: the nearest electrode or extra point, as
      MNE does it (extra points hold the border rule's value; no pixel is outside).
    * `spherical_spline`: Perrin et al. 1989, the plane lifted to the unit sphere (see
      :func:`~neurogaze_fast.eeg.spherical_spline.spline_weights`). It continues to the edge by
      itself, so `extrapolate` and `border` do nothing. It is defined on the disc of radius L
      (our choice): beyond it a square grid would show the underside of the head.

    Two mirrored pairs of sites lie on one circle, and Qhull then picks one of two diagonals: so
    `cubic` and `linear` maps of mirrored values are not mirror images (nor are MNE's).
    `spherical_spline` has no triangles and is symmetric.

    Use :meth:`from_positions` or :meth:`from_names`.
    """

    matrix: np.ndarray
    """float64 [C, rows * columns], 0 outside the mask; read-only."""
    mask: np.ndarray
    """bool [rows, columns]: where the map is defined (NaN elsewhere in MNE); read-only."""
    names: tuple[str, ...] | None
    """As given to from_names, else None."""
    positions: np.ndarray
    """float64 [C, 2], metres; read-only."""
    size: Size
    method: str
    extrapolate: str
    border: str | float
    sphere: Sphere = HEAD
    _on_device: dict[tuple[torch.device, torch.dtype], OperatorTensors] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def from_positions(
        cls,
        positions: np.ndarray,
        size: Size,
        method: str = "cubic",
        extrapolate: str = "head",
        border: str | float = "mean",
        sphere: Sphere = HEAD,
    ) -> TopomapOperator:
        """Build the operator.

        Args:
            positions: [C, 2] metres on the azimuthal equidistant plane, C >= 4; with another
                sphere, as :func:`~neurogaze_fast.eeg.sphere.flatten` gives them.
            size: pixels per side, >= 2, or (rows, columns).
            method: "cubic", "linear", "nearest" or "spherical_spline".
            extrapolate: "head", "local" or "box": where MNE puts the extra points. With "local",
                and at corners beyond the extra points, pixels are outside the mask.
            border: "mean" or 0: the value of the extra points.
            sphere: x, y, z and radius of the head, metres.

        Raises:
            OperatorError: positions, size or an option cannot be used; says which and what to do.
        """
        return cls._build(positions, None, size, method, extrapolate, border, sphere)

    @classmethod
    def from_names(
        cls,
        names: Sequence[str],
        size: Size,
        method: str = "cubic",
        extrapolate: str = "head",
        border: str | float = "mean",
    ) -> TopomapOperator:
        """Build the operator for sites of the 10-20 system, e.g. ["AF3", "F7", ...]; needs MNE.

        Names are looked up by :func:`~neurogaze_fast.eeg.montage.named_positions`; the rest is
        :meth:`from_positions`.

        Raises:
            OperatorError: as from_positions; a name is unknown; MNE is missing.
        """
        if isinstance(names, str):
            raise OperatorError(f"names must be a list of site names, got the string {names!r}.")
        names = tuple(str(name) for name in names)
        return cls._build(named_positions(names), names, size, method, extrapolate, border)

    @classmethod
    def _build(
        cls,
        positions: np.ndarray,
        names: tuple[str, ...] | None,
        size: Size,
        method: str,
        extrapolate: str,
        border: str | float,
        sphere: Sphere = HEAD,
    ) -> TopomapOperator:
        size, border = _check_options(size, method, extrapolate, border)
        points = check_positions(positions, names)
        origin, head = np.array(sphere[:2]), sphere[3]
        reach = float(np.linalg.norm(points, axis=1).max())
        half, (left, right, back, front) = grid_of(points, sphere)
        rows, columns = (size, size) if isinstance(size, int) else size
        x, y = np.meshgrid(np.linspace(left, right, columns), np.linspace(back, front, rows))
        if method == "spherical_spline":
            if half > 2 * head:
                raise OperatorError(
                    f"The outermost site is {reach:.4g} m from the centre; lifted to the sphere it "
                    f"passes the south pole, at {2 * head} m. Check the positions (metres), "
                    "or use method='cubic'."
                )
            # Nodes on the circle itself belong to it.
            mask = np.hypot(x - origin[0], y - origin[1]) <= half * (1 + 1e-12)
            matrix = np.zeros((len(points), x.size))
            nodes = np.stack([x[mask], y[mask]], axis=1)
            scale = HEAD_RADIUS / head  # a lifted angle depends on the distance over the radius
            sites, targets = ((p - origin) * scale for p in (points, nodes))
            matrix[:, mask.ravel()] = spline_weights(sites, targets)
        else:
            maps = planar_maps(points, x, y, method, extrapolate, border, half, origin)
            mask = ~np.isnan(maps[..., 0])
            matrix = np.where(mask[..., None], maps, 0).reshape(x.size, -1).T.copy()
        if not mask.any():
            raise OperatorError(
                f"size={size} leaves no pixel inside the map: all its nodes are corners of the "
                "square. Use a size of at least 3."
            )
        for array in (matrix, mask, points):
            array.setflags(write=False)
        return cls(matrix, mask, names, points, size, method, extrapolate, border, sphere)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a map."""
        return self.mask.shape[0], self.mask.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of positions, size, method and, where they apply, extrapolate and border.

        scipy's version is not part of it: Qhull may break a tie of co-circular sites differently.
        """
        planar = self.method != "spherical_spline"
        metadata: dict[str, Any] = {
            "operator": "topomap-1",
            "positions": [[value.hex() for value in row] for row in self.positions.tolist()],
            "size": self.size,
            "method": self.method,
            "extrapolate": self.extrapolate if planar else None,
            "border": self.border if planar else None,
        }
        if self.sphere != HEAD:
            metadata["sphere"] = [value.hex() for value in self.sphere]
        return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()

    @cached_property
    def unit_sum(self) -> bool:
        """Whether equal values give a constant map; with border=0 they seldom do."""
        return bool(np.abs(self.matrix.sum(axis=0)[self.mask.ravel()] - 1).max() < 1e-9)

    @property
    def mean(self) -> np.ndarray:
        """float64 [C + 1]: a map's mean over the mask is mean @ e, e = (v - mean(v), mean(v)).

        The values' common offset is kept apart in e because in float32 it would drown the rest.
        """
        return self._moments[0]

    @property
    def factor(self) -> np.ndarray:
        """float64 [C + 1, C + 1]: a map's population variance over the mask is |factor @ e|^2.

        A sum of squares, so never negative; e as for `mean`. With `unit_sum` the last column is
        exactly 0: the offset does not reach the variance.
        """
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self.matrix[:, self.mask.ravel()]
        rows = np.concatenate([rows, rows.sum(axis=0, keepdims=True)])
        mean = rows.mean(axis=1)
        centred = rows - mean[:, None]
        covariance = centred @ centred.T / rows.shape[1]
        if self.unit_sum:
            mean[-1] = 1
            covariance[-1] = covariance[:, -1] = 0
        size, basis = np.linalg.eigh(covariance)
        size[size < len(size) * np.finfo(np.float64).eps * size[-1]] = 0
        factor = np.sqrt(size)[:, None] * basis.T
        if self.unit_sum:
            factor[:, -1] = 0
        mean.setflags(write=False)
        factor.setflags(write=False)
        return mean, factor

    def tensors(self, device: torch.device | str, dtype: torch.dtype) -> OperatorTensors:
        """The operator and its moments on a device; kept, so a second call costs nothing."""
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        key = (device, dtype)
        if key not in self._on_device:
            matrix, mean, factor = (
                torch.tensor(array, dtype=dtype, device=device)
                for array in (self.matrix, self.mean, self.factor)
            )
            mask = torch.tensor(self.mask.ravel(), device=device)
            self._on_device[key] = OperatorTensors(matrix, mask, mean, factor)
        return self._on_device[key]


def grid_of(points: np.ndarray, sphere: Sphere) -> tuple[float, tuple[float, float, float, float]]:
    """(radius of the circle that maps are clipped to, (left, right, back, front) of the grid).

    MNE grows the head's outline about (0, 0), so its centre moves, and clips about the head's
    centre. The grid holds both circles.
    """
    grow = max(1.0, float(np.linalg.norm(points, axis=1).max()) * 1.01 / sphere[3])
    half = sphere[3] * grow
    edges = []
    for centre in sphere[:2]:
        edges += [min(centre, grow * centre) - half, max(centre, grow * centre) + half]
    return half, (edges[0], edges[1], edges[2], edges[3])


def _check_options(
    size: Any, method: str, extrapolate: str, border: str | float
) -> tuple[Size, str | float]:
    sides = size if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in sides)
    if len(sides) != 2 or not whole or min(sides) < 2:
        raise OperatorError(
            f"size must be a whole number of pixels, at least 2, or (rows, columns), got {size!r}."
        )
    rows, columns = int(sides[0]), int(sides[1])
    checked: Size = rows if rows == columns else (rows, columns)
    if method not in METHODS:
        raise OperatorError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if extrapolate not in EXTRAPOLATE:
        raise OperatorError(
            f"extrapolate must be one of {', '.join(EXTRAPOLATE)}, got {extrapolate!r}."
        )
    if isinstance(border, str):
        if border != "mean":
            raise OperatorError(f"border must be 'mean' or 0, got {border!r}.")
        return checked, border
    if not isinstance(border, int | float | np.number) or isinstance(border, bool):
        raise OperatorError(f"border must be 'mean' or 0, got {border!r}.")
    if border != 0:
        raise OperatorError(
            f"border must be 'mean' or 0, got {border!r}: another number adds a constant to the "
            "maps, which a linear operator cannot hold. Use border=0 on values - border, and add "
            "border to the maps."
        )
    return checked, 0.0
