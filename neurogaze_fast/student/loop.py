"""The training loop: one step, one epoch, one run, and everything needed to take it up again."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from neurogaze_fast.artifacts import check_fields
from neurogaze_fast.cores import usable_cores
from neurogaze_fast.distributed import World
from neurogaze_fast.errors import CheckpointError, DataError, Interrupted, NonFiniteError
from neurogaze_fast.faces.loaders import open_loader
from neurogaze_fast.faces.lost_worker import naming_lost_workers
from neurogaze_fast.faces.order import EpochOrder
from neurogaze_fast.faces.resident import Batch
from neurogaze_fast.signals import stop_on_signal
from neurogaze_fast.student.best import GO_ON, KEEP_BEST, find_best
from neurogaze_fast.student.config import TrainConfig
from neurogaze_fast.student.geometry_watch import GeometryWatch
from neurogaze_fast.student.networks import Student
from neurogaze_fast.student.objective import TERMS, Objective
from neurogaze_fast.student.schedule import geo_ramp, image_size
from neurogaze_fast.student.step import StudentStep
from neurogaze_fast.student.targets import TrainingRows
from neurogaze_fast.training.checkpoint import check_origin, reading_state, save_checkpoint
from neurogaze_fast.training.guard import LIMIT
from neurogaze_fast.training.machine_state import machine_state, restore_machine_state
from neurogaze_fast.training.progress import RunProgress
from neurogaze_fast.training.schedule import learning_rate
from neurogaze_fast.training.shared_cores import SharedCores

ALONE = World()
SMALLEST_SCALE = 2.0**-14
_BEST = {"epoch": int, "value": float, "by": str}

Validate = Callable[[torch.nn.Module, int], dict[str, float]]


class Trainer:
    """Takes a student through its epochs; `state_dict` is all that decides how it goes on."""

    def __init__(
        self,
        config: TrainConfig,
        model: Student,
        objective: Objective,
        rows: TrainingRows,
        device: torch.device,
        *,
        folder: Path,
        validate: Validate,
        console: Console,
        on_epoch: Callable[[dict[str, Any]], None] = lambda entry: None,
        world: World = ALONE,
    ) -> None:
        """`validate` scores a model on valid at a size; `on_epoch` gets each epoch's entry."""
        self.config, self.rows, self.device, self.world = config, rows, device, world
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self._folder, self._validate, self._console = folder, validate, console
        self._on_epoch = on_epoch
        world.share_batch(config.batch_size)
        if len(rows.images) < 2 * world.size:
            raise DataError(
                f"{len(rows.images)} training images cannot be shared by {world.size} processes, "
                "which need two each (BatchNorm). Start fewer processes."
            )
        self.order = EpochOrder(
            len(rows.images), config.batch_size, config.seed, world.rank, world.size
        )
        with naming_lost_workers("start again, with fewer --workers if memory is short."):
            self.loader = open_loader(
                config.loader, rows.images, self.order, device, self._say, workers=config.workers
            )
        self.run_step = StudentStep(
            config, self.model, objective.to(device), rows.targets, device, world
        )
        self.total_steps = len(self.order) * config.epochs
        self.geometry = GeometryWatch(config, self.run_step, self.total_steps)
        self.epoch = self.batch = self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.lost: dict[str, Any] | None = None
        """The best epoch whose weights were found damaged, if a better one has not come since."""
        self.run: str | None = None
        """Identity of the run that checkpoints must belong to: the seal of its config.json."""
        self._seconds = self._wait = 0.0
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._cores = SharedCores(self._warn, threads=threads, cores=usable_cores().total)
        self._stop = threading.Event()

    @property
    def scored_model(self) -> torch.nn.Module:
        """What is validated and kept: the weights, or their average with --ema."""
        ema = self.run_step.ema
        return self.model if ema is None else ema.module

    def fit(self) -> list[dict[str, Any]]:
        """Train from the current state to the end; return one entry per epoch.

        Raises:
            Interrupted: SIGTERM or SIGINT, after saving.
            NonFiniteError: the run diverged. WorkerLostError: a decoding process died.
        """
        go_on = f"neurogaze-fast train --resume {self._folder.parent}"
        with (
            naming_lost_workers(f"nothing saved is lost, continue with: {go_on}"),
            contextlib.closing(self.loader),
            stop_on_signal() as self._stop,
            RunProgress(self._console, self.total_steps, self.step) as progress,
        ):
            if self.step == 0:
                self._save()  # a process killed early can be started again, too
            while self.epoch < self.config.epochs:
                self._run_epoch(progress)
        return self.history

    def _run_epoch(self, progress: RunProgress) -> None:
        config = self.config
        size = image_size(self.epoch, config.epochs, size=config.size, start_size=config.start_size)
        self.run_step.begin_epoch(self.epoch, size, self.loader.source, len(self.rows.images))
        started = saved = time.monotonic()
        batches = self.loader.epoch(self.epoch, self.batch)
        while self.batch < len(self.order):
            asked = time.monotonic()
            batch = next(batches)
            self._wait += time.monotonic() - asked
            began = time.monotonic()
            self._train_step(batch)
            self._cores.step(time.monotonic() - began, len(batch.rows), size)
            self.batch += 1
            self.step += 1
            due = time.monotonic() - saved > config.checkpoint_minutes * 60
            logging = self.step % config.log_every == 0
            stopping, due = self._agree(logging, self._stop.is_set(), due)
            saving = due or stopping
            # Log before saving: a checkpoint does not hold which bad batches are still to be named.
            if saving or logging:
                self._log(progress)
            if saving:
                self._seconds += time.monotonic() - started
                started = time.monotonic()
                self._save()
                saved = time.monotonic()
            if stopping:
                raise Interrupted(
                    f"Stopped by a signal at step {self.step} of {self.total_steps}; everything "
                    f"was saved. Continue with: neurogaze-fast train --resume "
                    f"{self._folder.parent}"
                )
        next(batches, None)  # lets the decoder end the epoch and free what it holds
        self._log(progress)
        self._seconds += time.monotonic() - started
        self._end_epoch(size, progress)

    def _train_step(self, batch: Batch) -> None:
        config = self.config
        ramp = geo_ramp(self.step / self.total_steps, config.geo_start, config.geo_end)
        self.geometry.before(self.step)
        self.run_step(batch, self.step, self._rate(self.step), ramp)

    def _rate(self, step: int) -> float:
        config = self.config
        return learning_rate(
            step, self.total_steps, peak=config.learning_rate, warmup=config.warmup
        )

    def _agree(self, logging: bool, *flags: bool) -> list[bool]:
        """Whether each flag is set in some process: the same answer in all of them."""
        if self.world.size > 1 and self.device.type == "cuda" and not logging:
            return [False for _ in flags]  # asking would wait for the GPU
        return self.world.any(*flags, device=self.device)

    def _log(self, progress: RunProgress) -> None:
        """The only reads from the device inside an epoch: losses, and which batches were bad."""
        steps, too_many = self.run_step.guard.read()
        for step in steps:
            progress.line(f"[yellow]non-finite batch skipped:[/] {escape(self._name_batch(step))}")
        if too_many:
            raise NonFiniteError(
                f"{LIMIT} non-finite batches in a row, the last one {self._name_batch(steps[-1])}. "
                "The weights are those from before them. Look at these images and labels, or lower "
                "--learning-rate."
            )
        scaler = self.run_step.scaler
        if scaler.is_enabled() and scaler.get_scale() < SMALLEST_SCALE:
            raise NonFiniteError(
                "The fp16 gradients overflow whatever their scale: the run diverged. Use "
                "--amp-dtype bf16, or lower --learning-rate."
            )
        mean = float(self.run_step.totals[0] / self.run_step.counted.clamp_min(1))
        progress.update(self.step, f"epoch {self.epoch + 1}/{self.config.epochs} loss {mean:.3f}")

    def _name_batch(self, step: int) -> str:
        epoch, batch = divmod(step, len(self.order))
        rows = self.order.global_rows(epoch, batch)
        targets = self.rows.targets.rows(rows.to(self.device))
        finite = torch.ones(len(rows), dtype=torch.bool, device=self.device)
        for value in (targets.targets, targets.teacher_logits, targets.cells):
            if value is not None:
                finite &= torch.isfinite(value).all(1)
        culprits = rows[~finite.cpu()]
        why = "rows with non-finite targets" if len(culprits) else "rows"
        named = (culprits if len(culprits) else rows).tolist()
        shown = ", ".join(f"{self.rows.source_rows[i]} ({self.rows.names[i]})" for i in named[:8])
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        return f"batch {batch} of epoch {epoch + 1}, {why} {shown}{more}"

    def _end_epoch(self, size: int, progress: RunProgress) -> None:
        config = self.config
        step = self.run_step
        step.guard.require_some(float(step.counted), self.epoch + 1)
        valid = self.world.once(lambda: self._validate(self.scored_model, size))
        means = (step.totals / step.counted.clamp_min(1)).tolist()
        images = len(self.order) * self.order.global_batch
        entry = {
            "epoch": self.epoch + 1,
            "size": size,
            "seconds": round(self._seconds, 3),
            "finished": round(time.time(), 3),
            "images_per_second": round(images / max(self._seconds, 1e-9), 1),
            "data_wait": round(self._wait / max(self._seconds, 1e-9), 4),
            "learning_rate": self._rate(self.step - 1),
            "skipped_batches": int(len(self.order) - step.counted),
            "train": dict(zip(TERMS, means, strict=True)),
            **self.geometry.entry(),
            "valid": valid,
        }
        self.history.append(entry)
        progress.line(
            f"epoch {entry['epoch']}/{config.epochs}  loss {means[0]:.3f}  "
            f"valid accuracy {100 * valid['accuracy']:.2f}  macro-F1 {100 * valid['macro_f1']:.2f}"
            f"  {entry['seconds']:.0f} s  {entry['images_per_second']:.0f} img/s at {size} px"
        )
        self._on_epoch(entry)
        self.epoch, self.batch = self.epoch + 1, 0
        step.totals.zero_()
        step.counted.zero_()
        step.hinges.zero_()
        self._seconds = self._wait = 0.0
        value = valid.get(config.select, self.epoch)
        # Only epochs at the full size compete: the model is used at that size.
        if size == config.size and (self.best is None or value > self.best["value"]):
            self.best = {"epoch": self.epoch, "value": value, "by": config.select}
            self._save_best()
        self._save()
        if self._agree(True, self._stop.is_set())[0] and self.epoch < config.epochs:
            raise Interrupted(
                f"Stopped by a signal after epoch {self.epoch}; everything was saved. Continue "
                f"with: neurogaze-fast train --resume {self._folder.parent}"
            )

    def best_state(self) -> dict[str, Any] | None:
        """The weights kept so far, ``{"model", "best"}``; None before the first epoch that counts.

        Where those of the best epoch are lost, another state takes its place, and that is said.

        Raises:
            CheckpointError: the kept weights are another run's.
        """
        if self.best is None:
            return None
        state, lost = find_best(
            self._folder, self.best, self.history, self._present(), run=self.run
        )
        if not lost:
            return state
        if self.lost is None or self.lost["value"] < self.best["value"]:
            self.lost = self.best
        self.best = None if state is None else state["best"]
        instead = f"epoch {self.best['epoch']}" if self.best else "the best epoch still to come"
        for reason in lost:
            self._warn(reason)
        self._warn(f"Lost: the weights of epoch {self.lost['epoch']}, the best. Kept is {instead}.")
        if state is not None:
            self._save_best(state)
        return state

    def _present(self) -> dict[str, Any]:
        """The weights as they are, as a best state if an epoch at full size has just ended."""
        best = None
        if self.batch == 0 and self.history and self.history[-1]["size"] == self.config.size:
            value = self.history[-1]["valid"].get(self.config.select, self.epoch)
            best = {"epoch": self.epoch, "value": value, "by": self.config.select}
        return {"model": self.scored_model.state_dict(), "best": best}

    def _save_best(self, state: dict[str, Any] | None = None) -> None:
        if self.world.first:
            # All that decides how the run goes on is kept with it: the last state may be lost.
            state = {**(state or self._present()), "run": self.run, GO_ON: self.state_dict()}
            save_checkpoint(self._folder, "best", self.step, state, keep=KEEP_BEST)

    def _say(self, line: str) -> None:
        if not self.world.first:  # its console is quiet; this only it can tell
            print(f"process {self.world.rank}: {line}", file=sys.stderr)
        self._warn(line)

    def _warn(self, line: str) -> None:
        self._console.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)

    def _save(self) -> None:
        if self.world.first:
            save_checkpoint(self._folder, "last", self.step, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on."""
        return {
            "architecture": [self.model.architecture, self.model.stem, self.model.channels],
            "step": self.run_step.state_dict(),
            "loader": self.loader.state_dict(),
            "position": [self.epoch, self.batch, self.step],
            "history": self.history,
            "best": self.best,
            "lost": self.lost,
            "run": self.run,
            "clock": [self._seconds, self._wait],
            "variance_cap": self.geometry.cap,
            **machine_state(self.device),
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Take up the run where `state` left it.

        Raises:
            CheckpointError: the state is of another run or architecture, or malformed.
        """
        with reading_state(source):
            self._take_up(state, source)

    def _take_up(self, state: dict[str, Any], source: str) -> None:
        if not check_origin(state, self.run, source):
            self._warn(
                f"{source} does not say which run it belongs to, for an older version wrote it: "
                "only its architecture, place and learning rate were compared."
            )
        own = [self.model.architecture, self.model.stem, self.model.channels]
        if state["architecture"] != own:
            raise CheckpointError(
                f"{source} is of {state['architecture']} (architecture, stem, channels), this run "
                f"trains {own}. Continue with the options it was started with."
            )
        epoch, batch, step = state["position"]
        due = [self._rate(len(self.order) * (n + 1) - 1) for n in range(epoch)]
        past = [entry["learning_rate"] for entry in state["history"]]
        if step != epoch * len(self.order) + batch or not np.allclose(past, due, rtol=1e-9, atol=0):
            raise CheckpointError(
                f"{source} stands at step {step}, {epoch} epochs and {batch} batches, with other "
                "batches to an epoch or other learning rates than this run has. It was saved by "
                "another run: take it away."
            )
        self.run_step.load_state_dict(state["step"])
        self.loader.load_state_dict(state["loader"])
        if state.get("variance_cap") is not None:
            self.geometry.set(state["variance_cap"])
        self.epoch, self.batch, self.step = epoch, batch, step
        self.history, self.best = state["history"], state["best"]
        self.lost = state.get("lost")
        for kept in (self.best, self.lost):
            if kept is not None:
                check_fields(kept, _BEST, source, CheckpointError)
        self._seconds, self._wait = state["clock"]
        restore_machine_state(state, self.device, self._console)
