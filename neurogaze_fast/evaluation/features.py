"""A model's features: in two dimensions, and the geometry of class means beside the bank's.

Proto-KD asks that the features of an emotion lie as its target over the bank's cells says. What
geometry this asks of the class means is the Gram matrix of the emotions' targets in the bank's
space; how near the model's own is, is measured by linear CKA (Kornblith et al. 2019), 1 where they
agree up to rotation and scale. With eight points it is a coarse measure: a chance value is given
beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.faces.resident import plain_batches
from neurogaze_fast.prototypes.grid import emotion_cells, target_cells
from neurogaze_fast.student.networks import Student

MOST_FOR_TSNE = 5000
EXCHANGES = 2000
_SEED = 20250911


def features_of(
    model: Student, images: np.ndarray, *, size: int, device: torch.device, batch_size: int = 512
) -> np.ndarray:
    """float32 [N, D] for uint8 [N, H, W]: what the classifier sees of each image, not mirrored."""
    was_training = model.training
    model.eval()
    batches = plain_batches(images, size=size, batch_size=batch_size, device=device)
    with torch.inference_mode():
        parts = [model(batch)[0].float().cpu() for batch in batches]
    model.train(was_training)
    return torch.cat(parts).numpy()


def principal_plane(features: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """(float64 [N, 2], shares of the variance) of unit-length features by their two main axes."""
    z = _unit(features.astype(np.float64))
    z = z - z.mean(0)
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    # The sign of an axis is the library's whim: the largest entry shall be positive.
    two = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(1)])[:, None]
    shares = singular[:2] ** 2 / max((singular**2).sum(), 1e-300)
    return z @ two.T, shares.tolist()


def neighbour_map(features: np.ndarray) -> np.ndarray | None:
    """float64 [N, 2]: t-SNE of unit-length features; None of fewer than 10 or too many images."""
    if not 10 <= len(features) <= MOST_FOR_TSNE:
        return None
    from sklearn.manifold import TSNE

    z = _unit(features.astype(np.float64))
    perplexity = min(30.0, (len(z) - 1) / 3)
    found = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(z)
    return np.asarray(found, np.float64)


def class_means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [8, D]: mean of the unit-length features of each class; NaN for an absent one."""
    z = _unit(features.astype(np.float64))
    means = np.full((len(EMOTIONS), z.shape[1]), np.nan)
    for label in np.unique(labels):
        means[label] = z[labels == label].mean(0)
    return means


def bank_geometry(prototypes: np.ndarray, grid: int, *, sigma: float = 0.3) -> np.ndarray:
    """float64 [8, D]: where the bank puts each emotion, its target's mean of prototypes [K, D]."""
    return emotion_cells(grid, sigma=sigma).astype(np.float64) @ prototypes.astype(np.float64)


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear CKA of points [C, D] and [C, E], 0 to 1."""
    a, b = a - a.mean(0), b - b.mean(0)
    cross = np.linalg.norm(a.T @ b) ** 2
    own = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(cross / own) if own > 0 else 0.0


def agreement(means: np.ndarray, bank: np.ndarray) -> dict[str, Any]:
    """CKA of the class means with the bank's emotions, and what other orders of these would give.

    Args:
        means: [8, D] of :func:`class_means`; bank: [8, E] of :func:`bank_geometry`.

    Returns:
        ``{"cka", "chance", "p"}``: chance is the mean over exchanged emotions, p the share of them
        that agree as well or better.
    """
    there = np.isfinite(means).all(1)
    means, bank = means[there], bank[there]
    found = cka(means, bank)
    rng = np.random.default_rng(_SEED)
    others = [cka(means, bank[rng.permutation(len(bank))]) for _ in range(EXCHANGES)]
    better = sum(value >= found - 1e-12 for value in others)
    return {"cka": found, "chance": float(np.mean(others)), "p": (1 + better) / (EXCHANGES + 1)}


def cells_of_votes(shares: np.ndarray, grid: int) -> np.ndarray:
    """int64 [N]: the cell that shares of votes [N, 8] point to most."""
    return target_cells(shares, emotion_cells(grid)).argmax(1)


def bank_of(folder: Path) -> tuple[np.ndarray, int] | None:
    """(prototypes, grid) of the bank a run was trained with; None where it had none."""
    from neurogaze_fast.prototypes.bank import PrototypeBank
    from neurogaze_fast.training.run_folder import BANK_FILE

    path = Path(folder) / BANK_FILE
    if not path.exists():
        return None
    bank = PrototypeBank.load(path)
    return bank.prototypes, bank.grid


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
