"""``neurogaze-fast train``: train a student on faces and write a run folder."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from neurogaze_fast.errors import run_command
from neurogaze_fast.student.config import RECIPES, TrainConfig, train_config_from_json
from neurogaze_fast.student.restart import ON_RESUME, after_restart
from neurogaze_fast.training.resume import refuse_changes
from neurogaze_fast.training.run_folder import CONFIG_FILE, sole_writer

if TYPE_CHECKING:
    import torch

    from neurogaze_fast.distributed import World


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, and print the scores and the run folder."""
    run_command(lambda: train(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> TrainConfig:
    """Options from the command line, over those of --recipe, or of the run being resumed."""
    import tyro

    argv = list(sys.argv[1:] if argv is None else argv)
    resumed, recipe = _value(argv, "--resume"), _value(argv, "--recipe")
    if recipe is None and _value(argv, "--data") is None:
        recipe = "fast"  # the demo set
    base = RECIPES.get(recipe or "default", RECIPES["default"])
    if resumed is not None:
        base = train_config_from_json(Path(resumed) / CONFIG_FILE)
    config = tyro.cli(
        TrainConfig, args=argv, default=base,
        description="Train a face model (the student). Without --data it draws demo faces itself.",
        prog="neurogaze-fast train",
    )  # fmt: skip
    if resumed is not None:
        refuse_changes(config, base, ON_RESUME, Path(resumed))
    return config


def train(config: TrainConfig) -> Path:
    """Run a whole training, alone or as one of torchrun's processes; return its folder."""
    from neurogaze_fast.device import pick_device
    from neurogaze_fast.distributed import World

    world = World.from_environment()
    config = after_restart(config, os.environ)
    device = world.device(pick_device(config.device))
    try:
        world.join(device)
        with contextlib.ExitStack() as held:
            return _train(config, device, world, held)
    except RuntimeError as error:
        readable = world.blame(error)
        if readable is None:
            raise
        raise readable from error
    finally:
        world.leave()


def _train(
    config: TrainConfig, device: torch.device, world: World, held: contextlib.ExitStack
) -> Path:
    from rich.console import Console

    from neurogaze_fast.evaluation.report import score_table
    from neurogaze_fast.evaluation.scoring import validator
    from neurogaze_fast.evaluation.write_run import write_results
    from neurogaze_fast.faces.load import load_faces
    from neurogaze_fast.student.inference import amp_dtype
    from neurogaze_fast.student.introduction import introduce
    from neurogaze_fast.student.run import TrainingRun, run_folder

    console = Console(quiet=not world.first)

    def hold(folder: Path) -> None:
        """Keep every other process from writing this run until this one ends."""
        world.once(lambda: held.enter_context(sole_writer(folder, console.print)))

    if config.resume is not None:
        hold(config.resume)
    if config.data is not None:  # found again from whatever folder the run is continued in
        config = replace(config, data=config.data.resolve())
    with console.status("Reading faces"):
        faces = world.ahead(
            lambda: load_faces(
                config.faces, config.data, side=config.size, on_conflict=config.on_conflict
            )
        )
    validate = validator(faces, device=device, amp_dtype=amp_dtype(config), flip=config.flip)
    folder = world.broadcast(run_folder(config, faces))
    run = TrainingRun(
        replace(config, out=folder),
        faces,
        folder,
        device=device,
        validate=validate,
        console=console,
        world=world,
    )
    if config.resume is None:
        hold(folder)
    introduce(run, console)
    run.train()
    if not world.first:
        return folder
    with console.status("Scoring and writing the report"):
        metrics = write_results(run)
    console.print(score_table(metrics))
    selected = metrics["selected"]
    console.print(
        f"Epoch {selected['epoch']} was kept (best valid {selected['by']})."
        if selected["by"] != "last"
        else "The last epoch was kept.",
        highlight=False,
    )
    where = f"Run folder: {folder}\nReport: {folder / 'report.html'}"
    console.print(where, soft_wrap=True, markup=False)
    return folder


def _value(argv: list[str], flag: str) -> str | None:
    """The value a flag is given, needed before the parser's defaults are known."""
    for position, word in enumerate(argv):
        if word == flag and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
    return None


if __name__ == "__main__":
    main()
