"""One training run from its configuration to the files in its folder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from neurogaze_fast.artifacts import (
    check_fields,
    manifest_path,
    sha256_file,
    verified_open,
)
from neurogaze_fast.device import prepare_torch
from neurogaze_fast.distributed import World
from neurogaze_fast.environment import environment
from neurogaze_fast.errors import CheckpointError, ConfigError
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.load import recognised
from neurogaze_fast.prototypes.bank import PrototypeBank, demo_bank
from neurogaze_fast.prototypes.npz import open_bank
from neurogaze_fast.student.best import newest_state
from neurogaze_fast.student.config import VOTES, TrainConfig
from neurogaze_fast.student.controls import prototypes_and_cells
from neurogaze_fast.student.inference import save_model
from neurogaze_fast.student.kd_teacher import teacher_provenance
from neurogaze_fast.student.loop import ALONE, Trainer, Validate
from neurogaze_fast.student.model_file import MODEL_FILE
from neurogaze_fast.student.networks import Student, build_student, load_weights
from neurogaze_fast.student.objective import Objective, ObjectiveWeights
from neurogaze_fast.student.targets import training_rows
from neurogaze_fast.training.checkpoint import has_begun
from neurogaze_fast.training.conv3x3 import allow_winograd
from neurogaze_fast.training.run_folder import (
    BANK_FILE,
    CHECKPOINTS,
    CONFIG_FILE,
    new_folder,
    read_config,
    write_config,
)


class TrainingRun:
    """A run folder being written: config.json, bank, checkpoints, TensorBoard, model."""

    def __init__(
        self,
        config: TrainConfig,
        faces: FaceSet,
        folder: Path,
        *,
        device: torch.device,
        validate: Validate,
        console: Console,
        world: World = ALONE,
    ) -> None:
        """Prepare everything; an existing run is only touched when it is being resumed."""
        self.config, self.faces, self.folder, self.console = config, faces, folder, console
        self.device, self.world = device, world
        prepare_torch(config)
        resuming = config.resume is not None
        self.bank = self._bank(resuming)
        prototypes = cells = None
        if self.bank is not None:
            prototypes, cells = prototypes_and_cells(self.bank, config)
        rows = training_rows(faces["train"], config, cells, self.device)
        model = build_student(config.model, stem=config.stem)
        allow_winograd(model, config.winograd)
        if config.init is not None and not (resuming and self._begun()):
            _initialise(model, config.init)
        weights = ObjectiveWeights.from_config(config)
        objective = Objective(
            config.variant,
            weights,
            rows.class_weights,
            None if prototypes is None else torch.from_numpy(prototypes),
            model.width,
            reduce=world.sums if world.size > 1 else None,
        )
        self.trainer = Trainer(
            config,
            model,
            objective,
            rows,
            self.device,
            folder=folder / CHECKPOINTS,
            validate=validate,
            console=console,
            on_epoch=self._to_tensorboard,
            world=world,
        )
        if resuming:
            self.metadata = self._metadata()
            self._restore()
        else:  # everything that can be refused has been by now
            self.metadata, self.trainer.run = world.once(self._claim)

    def _claim(self) -> tuple[dict[str, Any], str]:
        with new_folder(self.folder) as draft:
            if self.bank is not None:
                self.bank.save(draft / BANK_FILE)
                self.bank = PrototypeBank.load(draft / BANK_FILE)
            metadata = self._metadata()
            return metadata, write_config(draft, replace(self.config, out=self.folder), metadata)

    def _begun(self) -> bool:
        """Whether the run saved anything before it is resumed now."""
        return self.world.once(lambda: has_begun(self.folder / CHECKPOINTS))

    def train(self) -> list[dict[str, Any]]:
        """Fit, then write the selected epoch as model.safetensors; return the history."""
        if not self.world.first:
            return self.trainer.fit()
        from torch.utils.tensorboard import SummaryWriter

        done = len(self.trainer.history)
        with SummaryWriter(str(self.folder / "tensorboard"), purge_step=done + 1) as self._writer:
            history = self.trainer.fit()
        state = self.trainer.best_state()
        assert state is not None  # the last epoch is at full size
        selected = {**state["best"], "on": "valid"}
        lost = self.trainer.lost
        if lost is not None and lost["value"] > selected["value"]:
            selected["lost"] = lost  # its weights were damaged: these are the next best
        metadata = {
            **self.metadata,
            "size": self.config.size,
            "flip": self.config.flip,
            "selected": selected,
            "config_sha256": self.trainer.run,
        }
        save_model(self.folder / MODEL_FILE, self.trainer.model, state["model"], metadata)
        return history

    def _bank(self, resuming: bool) -> PrototypeBank | None:
        if self.config.variant in ("b0", "b1"):
            return None
        source = self.folder / BANK_FILE if resuming else self.config.bank
        return demo_bank() if source is None else open_bank(source)

    def _metadata(self) -> dict[str, Any]:
        config, bank, teacher = self.config, None, None
        if self.bank is not None:
            bank = {"sha256": self.bank.sha256, "synthetic": self.bank.synthetic}
        if config.variant != "b0" and config.kd_teacher != (VOTES,):
            teacher = teacher_provenance(config.kd_teacher)
        return {
            "data": {"source": self.faces.source, **self.faces.provenance()},
            "training_rows": len(self.trainer.rows.images),
            "bank": bank,
            "kd_teacher": teacher,
            "init": None if config.init is None else {"sha256": sha256_file(config.init)},
            "synthetic": self.faces.synthetic or bool(teacher and teacher["synthetic"]),
            "environment": environment(),
        }

    def _restore(self) -> None:
        recorded = read_config(self.folder / CONFIG_FILE)
        hashed = {f"{key}?": {"sha256": str} for key in ("bank", "kd_teacher", "init")}
        check_fields(
            recorded, {"data": {"sha256": str}, **hashed}, self.folder / CONFIG_FILE, ConfigError
        )
        what = {
            "data": f"the set {self.faces.source}",
            "bank": f"the bank {self.folder / BANK_FILE}",
            "kd_teacher": f"the KD teacher {' '.join(self.config.kd_teacher)}",
        }
        if not self._begun():  # then its initial weights are read once more
            what["init"] = f"--init {self.config.init}"
        for key, name in what.items():
            old, new = recorded.get(key), self.metadata[key]
            if (old and old["sha256"]) != (new and new["sha256"]):
                raise CheckpointError(
                    f"{name[0].upper()}{name[1:]} is not the one {self.folder} was started with "
                    "(its hash differs). Point to the original, or start a new run."
                )
        self.trainer.run = recorded["sha256"]
        folder = self.folder / CHECKPOINTS
        if not self._begun():
            self._start_again()
            return
        state, path, skipped = self.world.once(lambda: newest_state(folder))
        for reason in skipped:
            self.console.print(f"[yellow]Passed over:[/] {escape(reason)}")
        self.trainer.load_state_dict(state, str(path))
        if path.name.startswith("best"):
            epoch, within = self.trainer.epoch, self.trainer.batch
            place = f"epoch {epoch + 1}, batch {within}" if within else f"the end of epoch {epoch}"
            self.console.print(
                f"[yellow]No last checkpoint is intact:[/] going back to {place}, where "
                f"{path.name} was saved.", soft_wrap=True,
            )  # fmt: skip
        self.trainer.best, self.trainer.lost = self.world.once(self._check_best)
        self.console.print(f"Continuing {self.folder} from step {self.trainer.step}.", markup=False)

    def _check_best(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Find damage to the kept epoch now, and not after all the others were trained."""
        self.trainer.best_state()
        return self.trainer.best, self.trainer.lost

    def _start_again(self) -> None:
        """Go on with a run that was ended before its first checkpoint: from step 0."""
        if (self.folder / MODEL_FILE).exists():
            raise CheckpointError(
                f"{self.folder} holds a finished model but no checkpoints any more: there is "
                "nothing to continue. Start a new run."
            )
        self.console.print(
            f"{self.folder} was ended before its first checkpoint: starting at step 0.",
            markup=False, soft_wrap=True,
        )  # fmt: skip

    def _to_tensorboard(self, entry: dict[str, Any]) -> None:
        if not self.world.first:
            return
        for group in ("train", "valid", "geo"):
            for name, value in entry.get(group, {}).items():
                self._writer.add_scalar(f"{group}/{name}", value, entry["epoch"])
        for name in ("learning_rate", "images_per_second"):
            self._writer.add_scalar(f"run/{name}", entry[name], entry["epoch"])
        self._writer.flush()


def run_folder(config: TrainConfig, faces: FaceSet) -> Path:
    """--out, the resumed folder, or a name made of time, set and variant."""
    if config.resume is not None:
        return config.resume
    if config.out is not None:
        return config.out
    if faces.synthetic or config.data is None:
        kind = "demo"
    else:
        kind = config.faces or recognised(config.data)
    return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}-{config.variant}"


def _initialise(model: Student, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # A run's own model file has a manifest: then it is verified like everything else.
        checked = manifest_path(path).exists()
        state = load(verified_open(path, CheckpointError)[0] if checked else path.read_bytes())
    except (OSError, SafetensorError) as cause:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({cause}). --init takes a model.safetensors of "
            "a run, or a torchvision state_dict saved with safetensors."
        ) from cause
    load_weights(model, state, str(path), strict=False)
