"""What the finished runs scored, and what their differences are worth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.ablation.arms import ARMS, KD_TEACHER
from neurogaze_fast.ablation.plan import RUNS
from neurogaze_fast.ablation.statistics import (
    COMMON,
    SCORES,
    Estimate,
    crossed,
    draw_images,
    over_groups,
    scores_of_draws,
)
from neurogaze_fast.artifacts import check_fields
from neurogaze_fast.errors import ArtifactError, DataError
from neurogaze_fast.evaluation.fingerprint import FILE as FINGERPRINT
from neurogaze_fast.evaluation.metrics import SUMMARY
from neurogaze_fast.evaluation.metrics_file import read_json
from neurogaze_fast.evaluation.valid_logits import ValidLogits, load_valid_logits

_SUMMARY = dict.fromkeys(SUMMARY, float)
_METRICS = {
    "valid": {
        "8way": {**_SUMMARY, "recall?": dict},
        "votes?": {"before": {"nll": float}},
    },
    "selected": {"by": str},
    "valid_logits?": {"n": int, "sha256": str},
    "geo?": {"cap_binds": float, "margin_binds": float, "variance_cap": float},
}
_MADE_OF = {
    "code": {"version": str, "commit?": str, "training_sha256?": str},
    "environment": {"threads": int, "torch": str},
    "bank?": {"sha256": str},
}
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
    folder: Path | None = None
    fingerprint: dict[str, Any] | None = None
    """Its fingerprint.json; None where there is none (older versions)."""

    def score(self, name: str) -> float:
        """One of :data:`SCORES` on valid, of the model that was kept; NaN where not recorded.

        8-way, a fraction; log-loss to the votes in nats.
        """
        valid = self.metrics["valid"]
        if name == "log_loss":
            return float((valid.get("votes") or {}).get("before", {}).get("nll", math.nan))
        if name == "common_recall":
            recall = valid["8way"].get("recall") or {}
            return float(np.mean([recall.get(emotion, math.nan) for emotion in COMMON]))
        return float(valid["8way"][name])

    def draws(self, name: str) -> np.ndarray | None:
        """float64 [D]: the same on draws of the images; None where the logits are not there."""
        recorded = self.metrics.get("valid_logits")
        if self.folder is None or recorded is None:
            return None
        return _draws(self.folder, recorded["sha256"])[name]

    @property
    def bank(self) -> str:
        """SHA-256 of the bank it was trained with; empty without one, or where not recorded."""
        return str(((self.fingerprint or {}).get("bank") or {}).get("sha256", ""))

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


@lru_cache(maxsize=1024)
def _draws(folder: Path, sha256: str) -> dict[str, np.ndarray]:
    found = load_valid_logits(folder, {"sha256": sha256})
    assert found is not None
    return scores_of_draws(found, _weights(len(found.rows)))


@lru_cache(maxsize=1)
def _weights(count: int) -> np.ndarray:
    return draw_images(count)


def images_of(result: RunResult) -> ValidLogits | None:
    """The answers of a run for every valid image; None where it did not keep them."""
    if result.folder is None:
        return None
    return load_valid_logits(result.folder, result.metrics.get("valid_logits"))


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
                fingerprint = read_json(path.parent / FINGERPRINT) or None
                if fingerprint is not None:
                    check_fields(fingerprint, _MADE_OF, path.parent / FINGERPRINT)
                result = RunResult(arm, seed, metrics, history, path.parent, fingerprint)
            except (OSError, ValueError, RecursionError, ArtifactError) as cause:
                raise DataError(
                    f"{path.parent} does not hold the results of a finished run ({cause}). "
                    "Remove the folder; the ablation will train it again."
                ) from cause
            results.append(result)
    assert KD_TEACHER not in ARMS
    return sorted(results, key=lambda r: (list(ARMS).index(r.arm), r.seed))


Value = Callable[[RunResult], float]


def over_seeds(results: list[RunResult], arm: str, value: Value) -> Estimate | None:
    """`value` of an arm's runs; None where there is none."""
    values = [value(r) for r in results if r.arm == arm]
    return Estimate.of(values) if values else None


def pairs(results: list[RunResult], arm: str, against: str) -> list[tuple[RunResult, RunResult]]:
    """Runs of `arm` and `against` with the same seed, by seed."""
    have = {(r.arm, r.seed): r for r in results}
    seeds = sorted({r.seed for r in results})
    return [
        (have[arm, seed], have[against, seed])
        for seed in seeds
        if (arm, seed) in have and (against, seed) in have
    ]


def paired(results: list[RunResult], arm: str, against: str, value: Value) -> Estimate | None:
    """`value` of `arm` minus that of `against`, over the seeds that both have."""
    differences = [value(a) - value(b) for a, b in pairs(results, arm, against)]
    return Estimate.of(differences) if differences else None


def contrast(results: list[RunResult], arm: str, against: str, score: str) -> Estimate | None:
    """A score of `arm` minus that of `against`; the interval holds seeds and, if known, images.

    Pairs in which one run did not record the score are left out; None where there is no other.
    """
    assert score in SCORES
    both = _scored(results, arm, against, score)
    if not both:
        return None
    drawn = [(a.draws(score), b.draws(score)) for a, b in both]
    known = [x - y for x, y in drawn if x is not None and y is not None]
    draws = np.stack(known, axis=1) if len(known) == len(both) else None
    return crossed([a.score(score) - b.score(score) for a, b in both], draws)


def over_teachers(results: list[RunResult], arm: str, against: str, score: str) -> Estimate | None:
    """The same over the banks the seeds took in turn; None with fewer than two of them."""
    both = _scored(results, arm, against, score)
    differences = [a.score(score) - b.score(score) for a, b in both]
    banks = [a.bank or b.bank for a, b in both]
    return over_groups(differences, banks) if both and all(banks) else None


def _scored(
    results: list[RunResult], arm: str, against: str, score: str
) -> list[tuple[RunResult, RunResult]]:
    return [
        (a, b)
        for a, b in pairs(results, arm, against)
        if not math.isnan(a.score(score) - b.score(score))
    ]
