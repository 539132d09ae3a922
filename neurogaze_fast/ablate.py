"""``neurogaze-fast ablate``: what each part of the method is worth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neurogaze_fast.ablation.config import AblateConfig
from neurogaze_fast.errors import ConfigError, NeurogazeError, run_command
from neurogaze_fast.student.config import TrainConfig

OWN = ("out", "resume", "seed", "variant", "prototypes", "centre-bank")
"""Options of train that the ablation sets itself."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, run what is missing, and print and write the tables."""
    run_command(lambda: ablate(*parse(argv)))


def parse(argv: Sequence[str] | None = None) -> tuple[AblateConfig, TrainConfig]:
    """The ablation's own options, and those of train that all runs share."""
    import tyro

    from neurogaze_fast import train
    from neurogaze_fast.ablation.planfile import planned

    config, rest = tyro.cli(
        AblateConfig,
        args=list(sys.argv[1:] if argv is None else argv),
        description="Train with one part of the method changed at a time, with several seeds, and "
        "compare. Further options are train's (see neurogaze-fast train --help).",
        prog="neurogaze-fast ablate",
        return_unknown_args=True,
    )
    names = {word.split("=")[0].removeprefix("--").removeprefix("no-") for word in rest}
    if config.plan is not None:
        config, rest = planned(config, rest)
        names = {word.split("=")[0].removeprefix("--").removeprefix("no-") for word in rest}
    taken = sorted(name for name in OWN if name in names)
    if taken:
        raise ConfigError(
            f"--{' --'.join(taken)} of train cannot be given here: the ablation sets it for every "
            "run. Choose what to run with --arms and --seeds, and where with --out."
        )
    for name in ("data", "faces"):
        value = getattr(config, name)
        rest += [] if value is None else [f"--{name}", str(value)]
    base = train.parse(rest)
    if "select" not in names:
        base = replace(base, select="last")  # choosing an epoch on valid would flatter every arm
    return config, base


def ablate(config: AblateConfig, base: TrainConfig) -> dict[str, Any]:
    """Run the ablation; return what is in ablation.json."""
    from rich.console import Console

    from neurogaze_fast.ablation.banks import make_banks
    from neurogaze_fast.ablation.identity import check_code
    from neurogaze_fast.ablation.plan import PlannedRun, check_runs, plan_runs, side_by_side
    from neurogaze_fast.ablation.planfile import keep_plan, read_plan
    from neurogaze_fast.ablation.report import write_ablation
    from neurogaze_fast.ablation.results import collect
    from neurogaze_fast.ablation.runner import Runner
    from neurogaze_fast.ablation.tables import ablation_table
    from neurogaze_fast.device import pick_device

    console = Console()
    config.out.mkdir(parents=True, exist_ok=True)
    plan = None if config.plan is None else keep_plan(read_plan(config.plan), config.out)
    banks = make_banks(config, config.out / "banks", console)
    runs, left_out = plan_runs(config, base, banks)
    check_runs(runs)
    if not all(run.done for run in runs):
        check_code(collect(config.out), mixed=config.mixed)
    jobs, threads = side_by_side(config.jobs, pick_device(base.device).type, len(runs))
    console.print(
        f"{len(runs)} runs, {jobs} at a time with {threads} CPU thread(s) each; a log each in "
        f"{config.out / 'logs'}",
        highlight=False,
        soft_wrap=True,
    )
    runner = Runner(
        config.out / "logs",
        jobs=jobs,
        threads=base.threads or threads,
        keep_checkpoints=config.keep_checkpoints,
        console=console,
    )

    def write(run: PlannedRun | None = None) -> dict[str, Any]:
        missing = {run.name: why for run in runs if (why := runner.failed.get(run.name))}
        return write_ablation(
            config.out, left_out={**left_out, **missing}, planned=runs, plan=plan,
            mixed=config.mixed,
        )  # fmt: skip

    runner.run(runs, on_done=write)
    summary = write()
    if not summary:
        raise NeurogazeError(
            f"No run has finished: {next(iter(runner.failed.values()), 'nothing was planned')}. "
            f"See {config.out / 'logs'}."
        )
    console.print(ablation_table(summary))
    for verdict in summary["claims"]:
        console.print(f"{verdict['claim']} {verdict['verdict']}", highlight=False, soft_wrap=True)
        for line in verdict["because"]:
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    where = f"Report: {Path(config.out) / 'ablation.html'}"
    console.print(where, soft_wrap=True, markup=False)
    if runner.failed:
        raise NeurogazeError(
            f"{len(runner.failed)} run(s) failed: {', '.join(runner.failed)}. The tables hold the "
            "others; the same command tries them again."
        )
    return summary


if __name__ == "__main__":
    main()
