"""What the finished runs scored, and what their differences are worth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.ablation.arms import ARMS, KD_TEACHER
from neurogaze_fast.ablation.plan import RUNS
from neurogaze_fast.artifacts import check_fields
from neurogaze_fast.errors import ArtifactError, DataError
from neurogaze_fast.evaluation.metrics import SUMMARY

_SUMMARY = dict.fromkeys(SUMMARY, float)
_METRICS = {"valid": {"8way": _SUMMARY}, "selected": {"by": str}}
_EPOCH = {"seconds": float, "valid": _SUMMARY}


@dataclass(frozen=True)
class RunResult:
    """One finished run."""

    arm: str
    seed: int
    metrics: dict[str, Any]
    """Its metrics.json."""
    history: list[dict[str, Any]]
    """Its history.json."""

    def score(self, name: str) -> float:
        """8-way, on valid, of the model that was kept; a fraction."""
        return self.metrics["valid"]["8way"][name]

    def curve(self, name: str) -> np.ndarray:
        """float64 [epochs]: on valid after every epoch."""
        return np.array([entry["valid"][name] for entry in self.history])

    def early(self, name: str) -> float:
        """Mean over the first third of the epochs."""
        curve = self.curve(name)
        return float(curve[: math.ceil(len(curve) / 3)].mean())

    def late(self, name: str) -> float:
        """Mean over the last third of the epochs."""
        curve = self.curve(name)
        return float(curve[-math.ceil(len(curve) / 3) :].mean())

    def jitter(self, name: str) -> float:
        """Mean absolute change from one epoch to the next, over the second half."""
        curve = self.curve(name)
        tail = curve[len(curve) // 2 :] if len(curve) > 3 else curve
        return float(np.abs(np.diff(tail)).mean()) if len(tail) > 1 else math.nan

    @property
    def seconds(self) -> float:
        """Training and validation, without reading and the report."""
        return float(sum(entry["seconds"] for entry in self.history))


def collect(out: Path) -> list[RunResult]:
    """Every finished run below `out`, by arm and seed.

    Raises:
        DataError: a result that cannot be read.
    """
    results = []
    for arm in ARMS:
        for path in (Path(out) / RUNS / arm).glob("seed*/metrics.json"):
            try:
                seed = int(path.parent.name.removeprefix("seed"))
                metrics = json.loads(path.read_text())
                history = json.loads((path.parent / "history.json").read_text())
                check_fields(metrics, _METRICS, path)
                if not isinstance(history, list) or not history:
                    raise ValueError("its history.json holds no epochs")
                for entry in history:
                    check_fields(entry, _EPOCH, path.parent / "history.json")
                result = RunResult(arm, seed, metrics, history)
            except (OSError, ValueError, RecursionError, ArtifactError) as cause:
                raise DataError(
                    f"{path.parent} does not hold the results of a finished run ({cause}). "
                    "Remove the folder; the ablation will train it again."
                ) from cause
            results.append(result)
    assert KD_TEACHER not in ARMS
    return sorted(results, key=lambda r: (list(ARMS).index(r.arm), r.seed))


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of one value or more; with one there is no interval, and it is infinite."""
        from scipy.stats import t

        array = np.asarray(values, dtype=np.float64)
        mean = float(array.mean())
        if len(array) < 2:
            return cls(mean, -math.inf, math.inf, math.nan, len(array))
        sd = float(array.std(ddof=1))
        half = float(t.ppf(0.975, len(array) - 1)) * sd / math.sqrt(len(array))
        return cls(mean, mean - half, mean + half, sd, len(array))

    @property
    def direction(self) -> int:
        """1 or -1 where the interval leaves 0 out, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


Value = Callable[[RunResult], float]


def over_seeds(results: list[RunResult], arm: str, value: Value) -> Estimate | None:
    """`value` of an arm's runs; None where there is none."""
    values = [value(r) for r in results if r.arm == arm]
    return Estimate.of(values) if values else None


def paired(results: list[RunResult], arm: str, against: str, value: Value) -> Estimate | None:
    """`value` of `arm` minus that of `against`, over the seeds that both have."""
    have = {(r.arm, r.seed): r for r in results}
    seeds = sorted({r.seed for r in results})
    differences = [
        value(have[arm, seed]) - value(have[against, seed])
        for seed in seeds
        if (arm, seed) in have and (against, seed) in have
    ]
    return Estimate.of(differences) if differences else None
