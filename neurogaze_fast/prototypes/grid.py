"""The G x G grid on the valence/arousal square, and where each emotion's target lies on it."""

from __future__ import annotations

import numpy as np

from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.errors import ConfigError


def cell_centres(grid: int) -> np.ndarray:
    """float64 [G*G, 2]: (valence, arousal) of each cell's centre.

    Cells are row-major with arousal as rows and valence as columns, both ascending, on [-1, 1]^2.
    """
    axis = (np.arange(grid) + 0.5) * 2 / grid - 1
    arousal, valence = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([valence.ravel(), arousal.ravel()], axis=1)


def cell_of(valence_arousal: np.ndarray, grid: int) -> np.ndarray:
    """int64 [N]: the cell each (valence, arousal) of [N, 2] falls into.

    A value on an edge belongs to the upper cell, 1.0 to the last; values outside are clamped.
    """
    # Rounded first, so that 0.2 or -0.6, which have no exact binary form, count as on their edge.
    scaled = np.round((np.asarray(valence_arousal, dtype=np.float64) + 1) * grid / 2, 9)
    index = np.clip(np.floor(scaled).astype(np.int64), 0, grid - 1)
    return index[:, 1] * grid + index[:, 0]


def emotion_cells(
    grid: int, *, sigma: float = 0.3, hard: bool = False, distinct: bool = False
) -> np.ndarray:
    """float32 [8, G*G]: each emotion's distribution over the cells.

    q_c(k) is proportional to exp(-|va_c - centre_k|^2 / (2 sigma^2)). With `hard`, the one cell
    the emotion falls into: there surprise meets fear and anger meets contempt, so it is only an
    option. The paper does not say how its target is made; the Gaussian is our choice.

    The Gaussians of anger and contempt are nearly the same, too (cosine 0.98), so that Proto-KD
    pulls together what D-Geo's margin pushes apart. With `distinct` an emotion lies at the centre
    of a cell of its own (:func:`distinct_centres`), and theirs have a cosine of 0.67.
    """
    points = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])
    if distinct:
        points = distinct_centres(grid)
    if hard:
        cells = np.zeros((len(points), grid * grid))
        cells[np.arange(len(points)), cell_of(points, grid)] = 1
        return cells.astype(np.float32)
    distance = ((points[:, None] - cell_centres(grid)[None]) ** 2).sum(2)
    weight = np.exp(-distance / (2 * sigma**2))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def distinct_centres(grid: int) -> np.ndarray:
    """float64 [8, 2]: centres of eight different cells, one for each emotion.

    Those whose squared distances from the emotions have the least sum.

    Raises:
        ConfigError: the grid has fewer cells than there are emotions.
    """
    from scipy.optimize import linear_sum_assignment

    if grid * grid < len(EMOTIONS):
        raise ConfigError(
            f"--distinct-cells needs a cell for each of {len(EMOTIONS)} emotions, and a "
            f"{grid} x {grid} grid has {grid * grid}. Use a finer one."
        )
    points = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])
    centres = cell_centres(grid)
    distance = ((points[:, None] - centres[None]) ** 2).sum(2)
    return centres[linear_sum_assignment(distance)[1]]


def target_cells(probabilities: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """float32 [N, K]: q(x) = sum_c p_c(x) q_c, of [N, 8] and `cells` [8, K]."""
    return (probabilities.astype(np.float64) @ cells.astype(np.float64)).astype(np.float32)
