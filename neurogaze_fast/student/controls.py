"""What Proto-KD pulls towards: the bank, or a control that knows less than it.

A gain of Proto-KD can come from the EEG in the bank, from the geometry of its grid, from the class
targets over its cells, or from any regulariser at all. Each control takes one of these away:

* ``random``: directions drawn anew for each seed; the grid and the targets stay;
* ``shuffled``: the bank's own prototypes in another order; their geometry no longer fits the grid;
* ``same-spectrum``: random ones, drawn for each seed, whose Gram matrix has the bank's spectrum and
  common direction (plain random ones lose both);
* ``va-kernel``: a smooth map of the cells' places on the circumplex with the bank's spectrum: all
  that a bank can say without EEG. What the bank adds to it is what the EEG adds;
* ``classes``: eight one-hot directions, one for each emotion: no grid, no valence and arousal;
* ``valence-arousal``: no prototypes: soft labels in which emotions that are near each other on the
  circumplex share probability, compared with the student's own softmax.

``learnable`` prototypes start as the bank and are trained with the student (the paper's future
work), ``learnable-random`` start as ``random``: their control.

The paper reports none of them.
"""

from __future__ import annotations

import numpy as np

from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.errors import BankError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.grid import emotion_cells
from neurogaze_fast.prototypes.spectrum import same_spectrum_prototypes, va_kernel_prototypes
from neurogaze_fast.student.config import TrainConfig

_STREAM = {"random": 1, "shuffled": 2, "same-spectrum": 3, "learnable-random": 4}


def prototypes_and_cells(bank: PrototypeBank, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """(prototypes float32 [K, D] of unit length, each emotion's target float32 [8, K]).

    K is G*G, or 8 for the two controls without a grid. With ``--centre-bank`` the bank's mean
    direction is subtracted first.

    Raises:
        BankError: a prototype equals the mean direction, so that nothing is left of it.
    """
    kind = config.prototypes
    if kind in ("classes", "valence-arousal"):
        one_hot = np.eye(len(EMOTIONS), bank.width, dtype=np.float32)
        spread = kind == "valence-arousal"
        return one_hot, emotion_affinity(config.sigma) if spread else np.eye(8, dtype=np.float32)
    prototypes = bank.prototypes
    if kind in ("random", "learnable-random"):
        prototypes = _unit(_generator(config).standard_normal(prototypes.shape))
    elif kind == "shuffled":
        prototypes = prototypes[_generator(config).permutation(len(prototypes))]
    elif kind == "same-spectrum":
        prototypes = same_spectrum_prototypes(bank, _generator(config))
    elif kind == "va-kernel":
        prototypes = va_kernel_prototypes(bank)
    if config.centre_bank:
        prototypes = _unit(prototypes - prototypes.mean(0, dtype=np.float64))
    cells = emotion_cells(
        bank.grid, sigma=config.sigma, hard=config.hard_cells, distinct=config.distinct_cells
    )
    return prototypes, cells


def emotion_affinity(sigma: float) -> np.ndarray:
    """float32 [8, 8]: w_c(c') proportional to exp(-|va_c - va_c'|^2 / (2 sigma^2)), rows sum to 1.

    The same Gaussian that spreads an emotion over the bank's cells, over the emotions instead.
    """
    points = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])
    distance = ((points[:, None] - points[None]) ** 2).sum(2)
    weight = np.exp(-distance / (2 * sigma**2))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def _generator(config: TrainConfig) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([config.seed, _STREAM[config.prototypes]]))


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if length.min() < 1e-6:
        raise BankError(
            f"Prototype {int(length.argmin())} is the bank's mean direction itself, so nothing is "
            "left of it after centring. Leave out --centre-bank."
        )
    return (rows / length).astype(np.float32)
