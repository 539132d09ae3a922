"""``neurogaze-fast train-teacher MAPS``: train the EEG teacher and score it honestly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.errors import run_command
from neurogaze_fast.teacher.config import (
    TrainTeacherConfig,
    maps_folder,
    teacher_config_from_json,
)
from neurogaze_fast.training.resume import refuse_changes

if TYPE_CHECKING:
    from neurogaze_fast.teacher.run import TeacherRun

ON_RESUME = {"resume", "maps", "device", "threads", "log_every", "checkpoint_minutes"}
"""Options that may differ when a run is continued: where things are, not what is computed."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, and print the scores and the folder."""
    run_command(lambda: train_teacher(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> TrainTeacherConfig:
    """Options from the command line, over those of the run being resumed.

    Raises:
        ConfigError: no maps, or an option that cannot change on resuming.
    """
    config = _cli(argv, TrainTeacherConfig())
    resumed = config.resume
    if resumed is None:
        maps_folder(config)
        return config
    base = teacher_config_from_json(resumed / "config.json")
    config = _cli(argv, base)
    refuse_changes(config, base, ON_RESUME, resumed)
    return config


def train_teacher(config: TrainTeacherConfig) -> Path:
    """Train, score and write a teacher; return its folder."""
    from rich.console import Console

    from neurogaze_fast.eeg.maps import MapSet
    from neurogaze_fast.signals import stop_on_signal
    from neurogaze_fast.teacher.run import TeacherRun, teacher_folder
    from neurogaze_fast.training.run_folder import sole_writer

    console = Console()
    # Found again from whatever folder the run is continued in.
    source = maps_folder(config)
    config = replace(config, maps=source)
    with console.status("Reading the maps"):
        maps = MapSet.load(source)
    folder = teacher_folder(config)
    run = TeacherRun(config, maps, folder, console)
    with sole_writer(folder, console.print):
        _introduce(run, console)
        with stop_on_signal() as stop:
            result = run.train(stop)
    from neurogaze_fast.teacher.report import remarks, score_tables

    for table in score_tables(result):
        console.print(table)
    for line in remarks(result, maps):
        console.print(line, soft_wrap=True, highlight=False)
    where = f"Teacher: {folder}\nNext: neurogaze-fast build-prototypes {folder}"
    console.print(where, soft_wrap=True, markup=False, highlight=False)
    return folder


def _cli(argv: Sequence[str] | None, default: TrainTeacherConfig) -> TrainTeacherConfig:
    import tyro

    return tyro.cli(
        TrainTeacherConfig,
        args=argv,
        default=default,
        description="Train the EEG teacher, which a bank is made of, on maps of prepare eeg.",
        prog="neurogaze-fast train-teacher",
    )


def _introduce(run: TeacherRun, console: Any) -> None:
    from rich.markup import escape

    split = run.metadata["split"]
    windows, size = split["windows"], "x".join(map(str, run.metadata["maps"]["size"]))
    console.print(
        f"maps: {escape(run.metadata['maps']['path'])}: {len(run.maps)} windows, "
        f"{len(run.maps.bands)} bands, {size} pixels\n"
        f"training {windows['train']} windows of {len(split['train'])} subjects, validation "
        f"{windows['valid']} of {len(split['valid'])}, unlabelled support {windows['support']} "
        f"({len(split['support'])} subjects without ratings)\n"
        f"{run.config.epochs} epochs on {run.device}{' in bf16' if run.config.amp else ''}, "
        f"{sum(map(len, run.folds.values()))} more teachers for the scores"
        f"{' and one with films held out for the bank' if run.films_out else ''}\n"
        f"writing {escape(str(run.folder))}",
        highlight=False,
        soft_wrap=True,
    )
    if run.maps.synthetic:
        console.print(
            "[yellow]These are synthetic recordings: the scores say nothing about people.[/]"
        )


if __name__ == "__main__":
    main()
