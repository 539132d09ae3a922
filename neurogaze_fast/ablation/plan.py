"""From the options to the list of runs, each with its folder and its own train options."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from neurogaze_fast.ablation.arms import ARMS, KD_TEACHER, Arm
from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.artifacts import check_fields, sha256_file
from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.student.config import RECIPES, TrainConfig, train_config_from_json
from neurogaze_fast.training.run_folder import read_config

RUNS = "runs"
FREE = {
    *("out", "resume", "data", "faces", "bank", "device", "threads", "loader", "workers"),
    *("cuda_graph", "log_every", "checkpoint_minutes", "recipe", "kd_teacher"),
}
"""Options in which a finished run may differ from the planned one: where things are, and how, not
what is computed. Data and bank are compared by their hashes instead."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of the ablation."""

    arm: str
    seed: int
    folder: Path
    config: TrainConfig
    after: Path | None = None
    """A run that must have finished first."""

    @property
    def name(self) -> str:
        """arm/seedN."""
        return f"{self.arm}/seed{self.seed}"

    @property
    def done(self) -> bool:
        """Whether its scores are there."""
        return (self.folder / "metrics.json").exists()

    @property
    def begun(self) -> bool:
        """Whether it can be resumed."""
        return (self.folder / "checkpoints").is_dir() and (self.folder / "config.json").exists()

    def check(self) -> None:
        """Refuse the results of other options, or of another bank.

        Raises:
            ConfigError: the folder holds such a run.
        """
        if not (self.folder / "config.json").exists():
            return
        made_of = (self.made_of("bank"), self.config.bank and sha256_file(self.config.bank))
        if made_of[0] != made_of[1]:
            raise ConfigError(
                f"{self.folder} was run with another bank (SHA-256 {made_of[0]} instead of "
                f"{made_of[1]}). Choose another --out, or give the same bank."
            )
        found = train_config_from_json(self.folder / "config.json")
        differ = [
            f"--{f.name.replace('_', '-')} {getattr(found, f.name)} instead of "
            f"{getattr(self.config, f.name)}"
            for f in fields(found)
            if f.name not in FREE and getattr(found, f.name) != getattr(self.config, f.name)
        ]
        if differ:
            raise ConfigError(
                f"{self.folder} was run with {', '.join(differ)}: its scores cannot stand beside "
                "those of the other runs. Choose another --out, or give the same options."
            )

    def made_of(self, what: str) -> str | None:
        """SHA-256 of the ``bank`` or ``data`` of a run that is there; None where it has none."""
        path = self.folder / "config.json"
        recorded = read_config(path)
        check_fields(recorded, {f"{what}?": {"sha256": str}}, path, ConfigError)
        return (recorded.get(what) or {}).get("sha256")


def check_runs(runs: list[PlannedRun]) -> None:
    """Refuse runs of an earlier ablation that cannot stand beside the planned ones.

    Raises:
        ConfigError: other options, another bank, or not the same face set in all of them.
    """
    seen: dict[str | None, PlannedRun] = {}
    for run in runs:
        run.check()
        if (run.folder / "config.json").exists():
            seen.setdefault(run.made_of("data"), run)
    if len(seen) > 1:
        first, second, *_ = seen.values()
        raise ConfigError(
            f"{first.folder} and {second.folder} were trained on different face sets (their hashes "
            "differ), so their scores cannot be compared. Choose another --out."
        )


def plan_runs(
    config: AblateConfig, base: TrainConfig, banks: dict[int, list[Path]]
) -> tuple[list[PlannedRun], dict[str, str]]:
    """(the runs in the order to take them, arm -> why it is left out).

    Seed by seed, so that an ablation that is cut short holds whole sets; where no arms were chosen
    the paper's variants and the controls of the bank come before all others.

    Args:
        base: options all runs share.
        banks: side of the grid -> bank files; seeds take them in turn, so that whatever seeds are
            done, the teachers are as evenly among them as can be.
    """
    chosen = [arm for name, arm in ARMS.items() if not config.arms or name in config.arms]
    left_out = {
        arm.name: f"needs a {arm.grid}x{arm.grid} bank: give --teacher instead of --bank"
        for arm in chosen
        if arm.grid is not None and arm.grid not in banks
    }
    chosen = [arm for arm in chosen if arm.name not in left_out]
    teacher = PlannedRun(
        KD_TEACHER,
        0,
        config.out / RUNS / KD_TEACHER / "seed0",
        replace(base, variant="b0", model="resnet50", seed=0, bank=None),
    )
    runs: list[PlannedRun] = []
    groups = [chosen]
    if not config.arms:
        groups = [[arm for arm in chosen if arm.first is first] for first in (True, False)]
    for group in groups:
        if any(arm.name == "kd-resnet50" for arm in group):
            runs.append(teacher)
        for seed in range(config.seeds):
            runs += [_planned(arm, seed, config, base, banks, teacher) for arm in group]
    return runs, left_out


def _planned(
    arm: Arm,
    seed: int,
    config: AblateConfig,
    base: TrainConfig,
    banks: dict[int, list[Path]],
    teacher: PlannedRun,
) -> PlannedRun:
    bank = None if arm.grid is None else banks[arm.grid][seed % len(banks[arm.grid])]
    options = {**arm.changes, "seed": seed, "bank": bank}
    after = None
    if arm.name == "kd-resnet50":
        options["kd_teacher"], after = (str(teacher.folder),), teacher.folder
    folder = config.out / RUNS / arm.name / f"seed{seed}"
    return PlannedRun(arm.name, seed, folder, replace(base, **options), after)


def train_flags(config: TrainConfig) -> list[str]:
    """The words after ``neurogaze-fast train`` that give `config`."""
    base = RECIPES[config.recipe]
    words = ["--recipe", config.recipe]
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name == "recipe" or value == getattr(base, field.name):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    return words


def side_by_side(jobs: int, device: str, runs: int) -> tuple[int, int]:
    """(runs at a time, CPU threads of each), where `jobs` 0 asks for a choice."""
    cores = usable_cores().usable
    if jobs == 0:
        jobs = 4 if device == "cuda" else cores
    jobs = max(1, min(jobs, runs))
    return jobs, max(1, cores // jobs)
