"""``python -m neurogaze_fast.train``: train a student on faces and write a run folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.config import RECIPES, TrainConfig, train_config_from_json
from neurogaze_fast.errors import ConfigError, run_command

if TYPE_CHECKING:
    import torch

    from neurogaze_fast.distributed import World

ON_RESUME = {
    *("resume", "data", "faces", "kd_teacher"),
    *("device", "threads", "log_every", "checkpoint_minutes"),
    *("loader", "workers", "cuda_graph"),
}
"""Options that may differ when a run is continued: where things are, not what is computed."""


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
        base = train_config_from_json(Path(resumed) / "config.json")
    config = tyro.cli(
        TrainConfig, args=argv, default=base, description="Train a student on faces.",
        prog="python -m neurogaze_fast.train",
    )  # fmt: skip
    if resumed is not None:
        changed = [
            f.name
            for f in fields(config)
            if f.name not in ON_RESUME and getattr(config, f.name) != getattr(base, f.name)
        ]
        if changed:
            flags = ", ".join("--" + name.replace("_", "-") for name in changed)
            raise ConfigError(
                f"{flags} cannot change while {resumed} is continued: the result would belong to "
                "neither setting. Leave them out, or start a new run."
            )
    return config


def train(config: TrainConfig) -> Path:
    """Run a whole training, alone or as one of torchrun's processes; return its folder."""
    from neurogaze_fast.distributed import World
    from neurogaze_fast.student.inference import pick_device

    world = World.from_environment()
    config = after_restart(config, os.environ)
    device = world.device(pick_device(config.device))
    try:
        world.join(device)
        return _train(config, device, world)
    except RuntimeError as error:
        readable = world.blame(error)
        if readable is None:
            raise
        raise readable from error
    finally:
        world.leave()


def after_restart(config: TrainConfig, environment: Mapping[str, str]) -> TrainConfig:
    """The options to go on with where torchrun has started the processes again after a failure.

    Raises:
        ConfigError: torchrun may restart the run, but could not find its folder again.
    """
    restarts = int(environment.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if config.resume is not None or not restarts:
        return config
    if config.out is None:
        raise ConfigError(
            f"torchrun was given --max-restarts {restarts}, but without --out RUN a restarted "
            "process could not find the run it should continue. Add --out RUN."
        )
    begun = config.out / "config.json"
    if int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)) == 0 or not begun.exists():
        return config
    recorded = train_config_from_json(begun)
    free = ON_RESUME | {"out"}
    same = all(
        getattr(recorded, f.name) == getattr(config, f.name)
        for f in fields(config)
        if f.name not in free
    )
    # Another run's folder is refused now as it was at first.
    return replace(config, resume=config.out) if same else config


def _train(config: TrainConfig, device: torch.device, world: World) -> Path:
    from rich.console import Console

    from neurogaze_fast.evaluation.report import score_table
    from neurogaze_fast.evaluation.scoring import validator
    from neurogaze_fast.evaluation.write_run import write_results
    from neurogaze_fast.faces.load import load_faces
    from neurogaze_fast.student.inference import amp_dtype
    from neurogaze_fast.student.run import TrainingRun, run_folder

    console = Console(quiet=not world.first)
    if config.data is not None:  # found again from whatever folder the run is continued in
        config = replace(config, data=config.data.resolve())
    with console.status("Reading faces"):
        faces = world.ahead(lambda: load_faces(config.faces, config.data, side=config.size))
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
    _introduce(run, console)
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


def _introduce(run: Any, console: Any) -> None:
    from rich.markup import escape

    from neurogaze_fast.student.model_file import MODEL_FILE

    config, facts = run.config, run.facts
    rows = ", ".join(f"{name} {count}" for name, count in facts["data"]["rows"].items())
    for split, reasons in facts["data"]["left_out"].items():
        for reason, count in reasons.items():
            rows += f"; {split} without {count} ({reason})"
    bank = "no bank"
    if facts["bank"] is not None:
        kind = "[yellow]synthetic, knows no EEG[/]" if facts["bank"]["synthetic"] else "from EEG"
        bank = f"bank {facts['bank']['sha256'][:12]} ({kind})"
        if config.prototypes != "bank":
            bank = f"[yellow]control: {config.prototypes} prototypes[/] in place of {bank}"
        bank += ", centred" if config.centre_bank else ""
    console.print(
        f"faces: {escape(facts['data']['source'])} ({facts['data']['layout']}): {rows}; "
        f"{len(run.faces.duplicates)} images of valid and test also occur in train\n"
        f"variant {config.variant}, {bank}; {config.model}, {config.stem} stem, {config.size} px, "
        f"{config.epochs} epochs of {facts['training_rows']} rows on {run.device}"
        f"{' in ' + config.amp_dtype if config.amp else ''}, "
        f"{facts['environment']['threads']} threads; {_operators(run.device.type)}\n"
        f"loader: {escape(run.trainer.loader.reason)}; {_how(run)}\n"
        f"writing {escape(str(run.folder / MODEL_FILE))}",
        highlight=False,
        soft_wrap=True,
    )
    if facts["synthetic"]:
        console.print(
            "[yellow]These are synthetic demo faces: the scores say nothing about people.[/]"
        )


def _how(run: Any) -> str:
    step = run.trainer.run_step
    words = [f"step: {'one CUDA graph' if step.graphed else 'eager'} ({step.graph_reason})"]
    if run.config.compile:
        words.append("network compiled")
    if run.world.size > 1:
        words.append(f"{run.world.size} processes share each batch of {run.config.batch_size}")
    return "; ".join(words)


def _operators(device: str) -> str:
    from neurogaze_fast.ops import _library

    loaded, detail = _library.status(device)
    return f"native operators ({detail})" if loaded else f"operators in plain torch ({detail})"


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
