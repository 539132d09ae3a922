"""A plan file: what an ablation will ask, written down before its runs.

TOML. Every key must be there but ``secondary``; others are refused, so that nothing is misspelt:

    title = "What the EEG adds"
    arms = ["b0", "b1", "b2", "b3", "va-kernel"]
    seeds = 12
    banks = 3                                   # how many --bank or --teacher must be given
    train = ["--model", "compact"]              # options of train, for every run
    equivalence = 0.5                           # points below which a difference is called small
    stop = "after the last seed, or when the time is over; then whole seeds count"
    [primary]
    arm = "b3"
    against = "va-kernel"
    score = "balanced_accuracy"
    [[secondary]]                               # any number
    arm = "b1"
    against = "b0"
    score = "log_loss"

The file's SHA-256 stands in the report. Only seeds that every arm has finished are analysed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neurogaze_fast.ablation.arms import ARMS
from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.ablation.statistics import SCORES
from neurogaze_fast.artifacts import atomic_write, check_fields, sha256_bytes
from neurogaze_fast.errors import ConfigError

FILE = "plan.toml"
_CONTRAST = {"arm": str, "against": str, "score": str}
_FIELDS = {
    "title": str, "arms": list, "seeds": int, "banks": int, "train": list, "equivalence": float,
    "stop": str, "primary": _CONTRAST, "secondary?": list,
}  # fmt: skip


@dataclass(frozen=True)
class PlannedContrast:
    """One question: does `arm` score better than `against`?"""

    arm: str
    against: str
    score: str


@dataclass(frozen=True)
class Plan:
    """What a plan file says."""

    title: str
    arms: tuple[str, ...]
    seeds: int
    banks: int
    train: tuple[str, ...]
    equivalence: float
    """Points."""
    stop: str
    primary: PlannedContrast
    secondary: tuple[PlannedContrast, ...]
    sha256: str
    text: str


def read_plan(path: Path) -> Plan:
    """Read and check a plan file.

    Raises:
        ConfigError: unreadable, no TOML, a key that is missing, unknown or of another type, an arm
            or a score that there is not, a contrast of an arm that is not run.
    """
    try:
        data = Path(path).read_bytes()
        found = tomllib.loads(data.decode("utf-8"))
    except OSError as cause:
        raise ConfigError(f"{path} cannot be read ({cause.strerror}).") from cause
    except ValueError as cause:
        raise ConfigError(f"{path} is no plan file: it is not valid TOML ({cause}).") from cause
    check_fields(found, _FIELDS, path, ConfigError)
    unknown = sorted(found.keys() - {name.removesuffix("?") for name in _FIELDS})
    if unknown:
        raise ConfigError(f"{path} has {', '.join(unknown)}, which a plan file does not know.")
    for name in ("arms", "train"):
        if not all(isinstance(word, str) for word in found[name]):
            raise ConfigError(f"{path}: {name} must be a list of strings.")
    arms = tuple(found["arms"])
    wrong = [arm for arm in arms if arm not in ARMS] or [a for a in arms if arms.count(a) > 1]
    if wrong or not arms:
        raise ConfigError(
            f"{path}: arms must be different ones of {' '.join(ARMS)}, found {' '.join(arms)!r}."
        )
    if found["seeds"] < 2 or found["banks"] < 1 or not found["equivalence"] > 0:
        raise ConfigError(
            f"{path}: seeds must be 2 or more, banks 1 or more, equivalence above 0; found "
            f"{found['seeds']}, {found['banks']}, {found['equivalence']}."
        )
    contrasts = [_contrast(c, arms, path) for c in (found["primary"], *found.get("secondary", []))]
    if len(set(contrasts)) < len(contrasts):
        raise ConfigError(f"{path} asks the same question twice.")
    return Plan(
        title=found["title"],
        arms=arms,
        seeds=found["seeds"],
        banks=found["banks"],
        train=tuple(found["train"]),
        equivalence=float(found["equivalence"]),
        stop=found["stop"],
        primary=contrasts[0],
        secondary=tuple(contrasts[1:]),
        sha256=sha256_bytes(data),
        text=data.decode("utf-8"),
    )


FREE = ("data", "faces", "on-conflict", "device", "loader", "workers", "compile",
        "cuda-graph", "checkpoint-minutes", "log-every")  # fmt: skip
"""Options of train that may be given beside a plan: where things are, not what is computed."""


def planned(config: AblateConfig, rest: list[str]) -> tuple[AblateConfig, list[str]]:
    """The ablation's options with the plan's arms and seeds, and train's with the plan's.

    Args:
        rest: what was given of train's options.

    Raises:
        ConfigError: something was given that the plan decides, or another number of banks.
    """
    assert config.plan is not None
    plan = read_plan(config.plan)
    flags = [word.split("=")[0].removeprefix("--") for word in rest if word.startswith("--")]
    decided = [flag for flag in flags if flag.removeprefix("no-") not in FREE]
    decided += ["arms"] * bool(config.arms) + ["seeds"] * (config.seeds != AblateConfig.seeds)
    if decided:
        raise ConfigError(
            f"{config.plan} decides what is run, so --{', --'.join(decided)} cannot be given beside"
            " it. Write another plan, and give it before its runs."
        )
    banks = len(config.bank or config.teacher) or 1
    if banks != plan.banks:
        raise ConfigError(
            f"{config.plan} is about {plan.banks} bank(s), and {banks} would be used. Give as many "
            "to --bank or --teacher."
        )
    return replace(config, arms=plan.arms, seeds=plan.seeds), [*plan.train, *rest]


def keep_plan(plan: Plan, out: Path) -> Plan:
    """Put the plan beside its runs, or see that it is the one that lies there.

    Raises:
        ConfigError: the runs there were begun under another plan, or before there was one.
    """
    path = out / FILE
    if path.exists():
        if sha256_bytes(path.read_bytes()) != plan.sha256:
            raise ConfigError(
                f"{path} is another plan: the runs in {out} were begun under it, and a plan is "
                "made before its runs. Choose another --out."
            )
    elif any(out.glob("runs/*/*/config.json")):
        raise ConfigError(
            f"{out} holds runs that were begun without a plan: one that is made now is none. Choose"
            " another --out, or leave --plan out."
        )
    else:
        atomic_write(path, plan.text.encode("utf-8"))
    return plan


def _contrast(value: Any, arms: tuple[str, ...], path: Path) -> PlannedContrast:
    check_fields(value, _CONTRAST, path, ConfigError)
    contrast = PlannedContrast(value["arm"], value["against"], value["score"])
    if not {contrast.arm, contrast.against} <= set(arms) or contrast.arm == contrast.against:
        raise ConfigError(
            f"{path} compares {contrast.arm} with {contrast.against}: both must be among its arms."
        )
    if contrast.score not in SCORES:
        raise ConfigError(f"{path}: the score {contrast.score!r} is none of {', '.join(SCORES)}.")
    return contrast
