"""D-Geo as it goes: how often its two hinges bind, and a cap chosen from what was seen.

The paper's cap of 0.2 on the variance of happiness and surprise is above what these classes have
for most of a run, so that it does nothing; ``--variance-cap auto`` takes half of their mean
variance in the second half of the time before D-Geo starts.
"""

from __future__ import annotations

import math
from typing import Any

from neurogaze_fast.errors import ConfigError, NonFiniteError
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.step import StudentStep

SHARE = 0.5
"""Of the variance seen: what ``auto`` allows."""


class GeometryWatch:
    """Tells a step what to count of D-Geo, and chooses the cap where that is asked for."""

    def __init__(self, config: TrainConfig, step: StudentStep, total_steps: int) -> None:
        """Raises ConfigError where no batch comes before D-Geo to choose a cap from."""
        self._step, self._total = step, total_steps
        self._start = config.geo_start
        self._choose = config.variance_cap == "auto" and step.objective.prototypes is not None
        self.cap: float | None = None if self._choose else step.objective.variance_cap
        if self._choose and not any(self._measured(s) for s in range(total_steps)):
            raise ConfigError(
                f"--variance-cap auto finds no batch to look at: D-Geo starts at {self._start:g} of"
                f" a run of {total_steps} steps. Train longer, start it later, or give a number."
            )

    def _measured(self, step: int) -> bool:
        return self._start / 2 <= step / self._total < self._start

    def before(self, step: int) -> None:
        """Call before every batch; `step` counts from 0 over the run."""
        if self.cap is None and step / self._total >= self._start:
            seen, batches = self._step.variance.tolist()
            cap = SHARE * seen / batches if batches else math.nan
            if not math.isfinite(cap):
                raise NonFiniteError(
                    "Every batch before D-Geo's start was skipped, so there is no variance to "
                    "choose --variance-cap auto from. Give a number, or lower --learning-rate."
                )
            self.set(cap)
        self._step.set_watch(
            capped=self.cap is not None, measured=self.cap is None and self._measured(step)
        )

    def set(self, cap: float) -> None:
        """Use this cap from now on."""
        self.cap = cap
        self._step.set_variance_cap(cap)

    def entry(self) -> dict[str, Any]:
        """``{"geo": {"margin_binds", "cap_binds", "variance_cap"}}`` of the epoch that has ended.

        The shares are of its batches; the last two are missing while the cap is not chosen, and
        without prototypes the whole is empty.
        """
        if self._step.objective.prototypes is None:
            return {}
        cap, margin, capped = self._step.hinges.tolist()
        found = {"margin_binds": margin / max(float(self._step.counted), 1)}
        if capped and self.cap is not None:
            found |= {"cap_binds": cap / capped, "variance_cap": self.cap}
        return {"geo": found}


def binding(history: list[dict[str, Any]], config: TrainConfig) -> dict[str, float] | None:
    """The same over the epochs in which D-Geo acts (b3 only): means over them, and the cap.

    Returns:
        ``{"margin_binds", "cap_binds", "variance_cap"}``, or None where it never acts.
    """
    if config.variant != "b3":
        return None
    late = [e for e in history if e["epoch"] / config.epochs > config.geo_start]
    acts = [e["geo"] for e in late if "cap_binds" in e.get("geo", {})]
    if not acts:
        return None
    means = {k: sum(geo[k] for geo in acts) / len(acts) for k in ("margin_binds", "cap_binds")}
    return {**means, "variance_cap": acts[-1]["variance_cap"]}
