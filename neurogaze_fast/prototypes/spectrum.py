"""Prototypes that have a bank's spectrum but not its map from cells to directions.

Proto-KD sees the prototypes only through their cosines with a feature, and where the student or its
projector may turn freely, only through the prototypes' Gram matrix. These are made of the bank's
own directions in feature space with the bank's own weights (its right singular vectors and singular
values), so that what is left of its Gram matrix is the spectrum; only which cell gets which mixture
of them is new.
"""

from __future__ import annotations

import numpy as np

from neurogaze_fast.errors import BankError
from neurogaze_fast.prototypes.bank import PrototypeBank

LENGTH = 0.8
"""Of the kernel on the valence/arousal square."""
TOLERANCE = 1e-4
"""How far a singular value may be from the bank's, relative to the largest."""
ROUNDS = 5000


def va_kernel_prototypes(bank: PrototypeBank) -> np.ndarray:
    """float32 [K, D] of unit length: a smooth map of the cells' places, without any EEG.

    The eigenvectors of a Gaussian kernel between cell centres, ordered by their eigenvalues, take
    the places of the bank's: the smoothest gets the bank's largest singular value. Valence counts a
    hundredth more than arousal, because on a square grid the two would tie.
    """
    place = bank.centres * [1.01, 1.0]
    squared = ((place[:, None] - place[None]) ** 2).sum(2)
    values, vectors = np.linalg.eigh(np.exp(-squared / (2 * LENGTH**2)))
    vectors = vectors[:, np.argsort(values)[::-1]]
    # The sign of an eigenvector is the library's whim: the largest entry shall be positive.
    largest = np.abs(vectors).argmax(0)
    return _with_spectrum(bank, vectors * np.sign(vectors[largest, np.arange(len(vectors))]))


def same_spectrum_prototypes(bank: PrototypeBank, generator: np.random.Generator) -> np.ndarray:
    """float32 [K, D] of unit length: random, with the bank's spectrum and its common direction.

    Plain random directions lose the direction that all prototypes of a bank share, and so differ
    from it in more than their order. Here the share of it in every cell stays; the rest is drawn
    evenly from all rotations.
    """
    first = np.linalg.svd(bank.prototypes.astype(np.float64))[0][:, :1]
    draw = generator.standard_normal((len(first), len(first) - 1))
    draw -= first @ (first.T @ draw)
    rest, upper = np.linalg.qr(draw)
    return _with_spectrum(bank, np.hstack((first, rest * np.sign(np.diag(upper)))))


def _with_spectrum(bank: PrototypeBank, vectors: np.ndarray) -> np.ndarray:
    """Unit rows near vectors @ diag(singular values) @ directions, with just these singular values.

    Rows of unit length and a given spectrum are met in turn until both hold (Tropp et al. 2005,
    Designing structured tight frames via an alternating projection method).

    Raises:
        BankError: they do not come together.
    """
    rows = bank.prototypes.astype(np.float64)
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    current = vectors[:, : len(singular)] * singular
    for _ in range(ROUNDS):
        length = np.linalg.norm(current, axis=1, keepdims=True)
        current = current / np.maximum(length, 1e-12)
        left, found, right = np.linalg.svd(current, full_matrices=False)
        if np.abs(found - singular).max() < TOLERANCE * singular[0]:
            return (current @ directions).astype(np.float32)
        current = left * singular @ right
    raise BankError(
        "No prototypes of unit length with this bank's spectrum were found: its prototypes lie too "
        "close to a few directions. Use --prototypes random or shuffled as the control."
    )
