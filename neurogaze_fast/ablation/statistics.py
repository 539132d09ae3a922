"""What a difference of two arms is worth: intervals over seeds and images, many questions, none.

The two arms of a pair were trained with the same seeds and scored on the same images, so it is
their differences that are averaged. Another experiment would have other seeds and other images; the
interval holds both by a bootstrap that draws both anew (crossed: every drawn seed meets every drawn
image; Owen 2007, The pigeonhole bootstrap). Few seeds say little about their own spread: drawn
seeds are spread by sqrt(n / (n - 1)), and Student's t takes the place of the normal distribution,
with degrees of freedom by Satterthwaite from the seeds' part and the images' part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.calibration import probabilities
from neurogaze_fast.evaluation.intervals import summary_of
from neurogaze_fast.evaluation.metrics import SUMMARY
from neurogaze_fast.evaluation.valid_logits import ValidLogits
from neurogaze_fast.faces.labels import hard_labels, renormalised

COMMON = ("neutral", "happiness", "surprise", "sadness", "anger")
"""The emotions with enough images for their recall to say something."""
SCORES = (*SUMMARY, "common_recall", "log_loss")
"""What two arms are compared by; log_loss is to the raters' votes, and less is better."""
DRAWS = 1000
SEEDS, CROSSED = "seeds", "seeds and images"
"""What an interval holds: training noise on these very images, or that of other images, too."""
_SEED = 20250911


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; fractions (log-loss: nats)."""

    mean: float
    low: float
    high: float
    sd: float
    """Over seeds."""
    n: int
    se: float = math.nan
    df: float = math.nan
    holds: str = SEEDS

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of one value or more, Student's t; with one there is no interval, and it is infinite."""
        array = np.asarray(values, dtype=np.float64)
        mean = float(array.mean())
        if len(array) < 2:
            return cls(mean, -math.inf, math.inf, math.nan, len(array))
        sd = float(array.std(ddof=1))
        return _with_interval(mean, sd, len(array), sd / math.sqrt(len(array)), len(array) - 1)

    @property
    def direction(self) -> int:
        """1 or -1 where the interval leaves 0 out, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    @property
    def p(self) -> float:
        """Two-sided, of no difference; NaN with one seed."""
        from scipy.stats import t

        if self.se == 0:
            return float(self.mean == 0)
        return float(2 * t.sf(abs(self.mean) / self.se, self.df))

    def p_equivalent(self, margin: float) -> float:
        """Of a difference of `margin` or more to either side (two one-sided tests, Schuirmann)."""
        from scipy.stats import t

        if self.se == 0:
            return float(abs(self.mean) >= margin)
        return float(t.sf((margin - abs(self.mean)) / self.se, self.df))


def _with_interval(
    mean: float, sd: float, n: int, se: float, df: float, holds: str = SEEDS
) -> Estimate:
    from scipy.stats import t

    half = float(t.ppf(0.975, df)) * se
    return Estimate(mean, mean - half, mean + half, sd, n, se, df, holds)


def crossed(values: Sequence[float], draws: np.ndarray | None, *, seed: int = _SEED) -> Estimate:
    """A mean over seeds whose interval holds other seeds and other images.

    Args:
        values: [S], one a seed, on the images there are.
        draws: float [D, S], the same on D draws of images; None where they are not known.
        seed: of the bootstrap's seeds.
    """
    plain = Estimate.of(values)
    n = plain.n
    if draws is None or n < 2:
        return plain
    rng = np.random.default_rng(seed)
    drawn = np.take_along_axis(draws, rng.integers(0, n, draws.shape), axis=1).mean(1)
    middle = draws.mean(1)
    of_images = float(middle.var(ddof=1))
    whole = float((middle + math.sqrt(n / (n - 1)) * (drawn - middle)).var(ddof=1))
    of_seeds = max(whole - of_images, plain.se**2)
    total = of_seeds + of_images
    if total == 0:
        return replace(plain, holds=CROSSED)
    df = total**2 / (of_seeds**2 / (n - 1) + of_images**2 / max(len(draws) - 1, 1))
    return _with_interval(plain.mean, plain.sd, n, math.sqrt(total), df, CROSSED)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number (Holm 1979), in the order given; NaN stays and is not counted."""
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for place, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(known) - place) * p_values[i]))
        corrected[i] = highest
    return corrected


def draw_images(count: int, *, draws: int = DRAWS, seed: int = _SEED) -> np.ndarray:
    """float32 [draws, count]: how often each of `count` images is in a draw of as many."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float32)


def scores_of_draws(found: ValidLogits, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Score -> float64 [D] of one run on D draws of the images.

    Args:
        weights: [D, N] of :func:`draw_images`.
    """
    size = len(EMOTIONS)
    labels, answers = hard_labels(found.votes), found.logits.argmax(1)
    cells = np.zeros((len(labels), size * size), np.float32)
    cells[np.arange(len(labels)), labels * size + answers] = 1
    counts = (weights @ cells).astype(np.float64).reshape(-1, size, size)
    scores = dict(zip(SUMMARY, summary_of(counts, present_only=False).T, strict=True))
    common = [EMOTIONS.index(name) for name in COMMON]
    hits, actual = counts[:, common, common], counts[:, common].sum(2)
    scores["common_recall"] = (hits / np.maximum(actual, 1)).mean(1)
    shares = renormalised(found.votes).astype(np.float64)
    surprise = -(shares * np.log(np.maximum(probabilities(found.logits), 1e-300))).sum(1)
    scores["log_loss"] = weights.astype(np.float64) @ surprise / weights.sum(1)
    return scores


def seeds_for(estimate: Estimate, effect: float) -> int | None:
    """How many seeds would show a difference of `effect` in four of five experiments.

    From the spread over seeds alone, on the same images (normal approximation); None with one seed.
    """
    if math.isnan(estimate.sd):
        return None
    return max(2, math.ceil(((1.95996 + 0.84162) * estimate.sd / effect) ** 2))


def over_groups(values: Sequence[float], groups: Sequence[str]) -> Estimate | None:
    """The mean over groups of their means, with Student's t over the groups; None with one group.

    The interval for other teachers than these: seeds of one teacher are no new teachers.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        return None
    pairs = list(zip(values, groups, strict=True))
    means = [float(np.mean([v for v, g in pairs if g == name])) for name in names]
    return replace(Estimate.of(means), holds="teachers")
