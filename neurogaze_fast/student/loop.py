"""The training loop: one step, one epoch, one run, and everything needed to take it up again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from neurogaze_fast.config import TrainConfig
from neurogaze_fast.errors import CheckpointError, Interrupted, NonFiniteError
from neurogaze_fast.faces.resident import ResidentLoader
from neurogaze_fast.reference.augment import Augmentation
from neurogaze_fast.student.checkpoint import save_checkpoint
from neurogaze_fast.student.guard import LIMIT, NonFiniteGuard
from neurogaze_fast.student.inference import amp_dtype
from neurogaze_fast.student.objective import TERMS, Objective
from neurogaze_fast.student.progress import RunProgress
from neurogaze_fast.student.resnet import ResNet
from neurogaze_fast.student.schedule import geo_ramp, image_size, learning_rate
from neurogaze_fast.student.targets import TrainingRows

SMALLEST_SCALE = 2.0**-14

Validate = Callable[[torch.nn.Module, int], dict[str, float]]


class Trainer:
    """Owns every piece of state of a run; `state_dict` is all of it."""

    def __init__(
        self,
        config: TrainConfig,
        model: ResNet,
        objective: Objective,
        rows: TrainingRows,
        device: torch.device,
        *,
        folder: Path,
        validate: Validate,
        console: Console,
        on_epoch: Callable[[dict[str, Any]], None] = lambda entry: None,
    ) -> None:
        """`validate` scores a model on valid at a size; `on_epoch` gets each epoch's entry."""
        self.config, self.rows, self.device = config, rows, device
        self.model = model.to(device, memory_format=torch.channels_last)
        self.objective = objective.to(device)
        self._folder, self._validate, self._console = folder, validate, console
        self._on_epoch = on_epoch
        self.amp_dtype = amp_dtype(config)
        self.loader = ResidentLoader(
            rows.images,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
            dtype=self.amp_dtype or torch.float32,
            channels=model.channels,
            augmentation=Augmentation() if config.augment else None,
        )
        self.total_steps = len(self.loader) * config.epochs
        self._parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self._parameters if p.ndim > 1]},
                {"params": [p for p in self._parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        # bf16 has float32's range; only fp16 needs its gradients scaled.
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=config.amp and config.amp_dtype == "fp16"
        )
        self.average = None
        if config.ema > 0:
            average = get_ema_multi_avg_fn(config.ema)
            self.average = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.guard = NonFiniteGuard(self.model, device)
        self.epoch = self.batch = self.step = 0
        self.totals = torch.zeros(len(TERMS), dtype=torch.float64, device=device)
        self.counted = torch.zeros((), dtype=torch.float64, device=device)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self._seconds = self._wait = 0.0
        self._stop = threading.Event()

    @property
    def scored_model(self) -> torch.nn.Module:
        """What is validated and kept: the weights, or their average with --ema."""
        return self.model if self.average is None else self.average.module

    def fit(self) -> list[dict[str, Any]]:
        """Train from the current state to the end; return one entry per epoch.

        Raises:
            Interrupted: SIGTERM or SIGINT, after saving.
            NonFiniteError: eight bad batches in a row.
        """
        restore = self._listen()
        try:
            with RunProgress(self._console, self.total_steps, self.step) as progress:
                while self.epoch < self.config.epochs:
                    self._run_epoch(progress)
        finally:
            restore()
        return self.history

    def _run_epoch(self, progress: RunProgress) -> None:
        config = self.config
        size = image_size(self.epoch, config.epochs, size=config.size, start_size=config.start_size)
        self.model.train()
        started = saved = time.monotonic()
        batches = self.loader.epoch(self.epoch, size, start=self.batch)
        while self.batch < len(self.loader):
            asked = time.monotonic()
            images, rows = next(batches)
            self._wait += time.monotonic() - asked
            self._train_step(images, rows)
            self.batch += 1
            self.step += 1
            due = time.monotonic() - saved > config.checkpoint_minutes * 60
            saving = due or self._stop.is_set()
            # Look before saving: bad batches not yet named are not part of a checkpoint.
            if saving or self.step % config.log_every == 0:
                self._look(progress)
            if saving:
                self._seconds += time.monotonic() - started
                started = time.monotonic()
                self._save()
                saved = time.monotonic()
            if self._stop.is_set():
                raise Interrupted(
                    f"Stopped by a signal at step {self.step} of {self.total_steps}; everything "
                    f"was saved. Continue with: python -m neurogaze_fast.train --resume "
                    f"{self._folder.parent}"
                )
        self._look(progress)
        self._seconds += time.monotonic() - started
        self._end_epoch(size, progress)

    def _train_step(self, images: Tensor, rows: Tensor) -> None:
        config = self.config
        rate = learning_rate(
            self.step, self.total_steps, peak=config.learning_rate, warmup=config.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        ramp = geo_ramp(self.step / self.total_steps, config.geo_start, config.geo_end)
        self.guard.before_forward()
        with torch.autocast(self.device.type, self.amp_dtype, enabled=config.amp):
            features, logits = self.model(images)
            with torch.autocast(self.device.type, enabled=False):
                terms = self.objective(
                    features.float(), logits.float(), self.rows.targets.rows(rows), ramp
                )
        loss = terms["total"]
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, config.clip)
        # An fp16 overflow is the scaler's to handle: there only a non-finite loss is a bad batch.
        judged = loss if self.scaler.is_enabled() else norm
        bad = self.guard.after_backward(loss, judged, self.step)
        if not self.scaler.is_enabled():
            self.optimizer.found_inf, self.optimizer.grad_scale = bad, None
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        values = torch.stack([terms[name].detach() for name in TERMS]).double()
        self.totals += torch.where(bad > 0, 0.0, values)
        self.counted += 1 - bad

    def _look(self, progress: RunProgress) -> None:
        """The only reads from the device inside an epoch: losses, and which batches were bad."""
        steps, too_many = self.guard.read()
        for step in steps:
            progress.line(f"[yellow]non-finite batch skipped:[/] {escape(self._name_batch(step))}")
        if too_many:
            raise NonFiniteError(
                f"{LIMIT} non-finite batches in a row, the last one {self._name_batch(steps[-1])}. "
                "The weights are those from before them. Look at these images and labels, or lower "
                "--learning-rate."
            )
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            raise NonFiniteError(
                "The fp16 gradients overflow whatever their scale: the run diverged. Use "
                "--amp-dtype bf16, or lower --learning-rate."
            )
        mean = float(self.totals[0] / self.counted.clamp_min(1))
        progress.update(self.step, f"epoch {self.epoch + 1}/{self.config.epochs} loss {mean:.3f}")

    def _name_batch(self, step: int) -> str:
        epoch, batch = divmod(step, len(self.loader))
        rows = self.loader.batch_rows(epoch, batch)
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
        valid = self._validate(self.scored_model, size)
        means = (self.totals / self.counted.clamp_min(1)).tolist()
        images = len(self.loader) * self.loader.batch_size
        entry = {
            "epoch": self.epoch + 1,
            "size": size,
            "seconds": round(self._seconds, 3),
            "images_per_second": round(images / max(self._seconds, 1e-9), 1),
            "data_wait": round(self._wait / max(self._seconds, 1e-9), 4),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "skipped_batches": int(len(self.loader) - self.counted),
            "train": dict(zip(TERMS, means, strict=True)),
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
        self.totals.zero_()
        self.counted.zero_()
        self._seconds = self._wait = 0.0
        value = valid.get(config.select, self.epoch)
        # Only epochs at the full size compete: the model is used at that size.
        if size == config.size and (self.best is None or value > self.best["value"]):
            self.best = {"epoch": self.epoch, "value": value, "by": config.select}
            state = {"model": self.scored_model.state_dict(), "best": self.best}
            save_checkpoint(self._folder, "best", self.step, state, keep=1)
        self._save()
        if self._stop.is_set() and self.epoch < config.epochs:
            raise Interrupted(
                f"Stopped by a signal after epoch {self.epoch}; everything was saved. Continue "
                f"with: python -m neurogaze_fast.train --resume {self._folder.parent}"
            )

    def _save(self) -> None:
        save_checkpoint(self._folder, "last", self.step, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on."""
        return {
            "architecture": [self.model.architecture, self.model.stem, self.model.channels],
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "guard": self.guard.state_dict(),
            "position": [self.epoch, self.batch, self.step],
            "totals": self.totals.cpu(),
            "counted": self.counted.cpu(),
            "history": self.history,
            "best": self.best,
            "clock": [self._seconds, self._wait],
            "threads": torch.get_num_threads(),
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Take up the run where `state` left it.

        Raises:
            CheckpointError: the state is of another architecture.
        """
        own = [self.model.architecture, self.model.stem, self.model.channels]
        if state["architecture"] != own:
            raise CheckpointError(
                f"{source} is of {state['architecture']} (architecture, stem, channels), this run "
                f"trains {own}. Continue with the options it was started with."
            )
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.guard.load_state_dict(state["guard"])
        self.epoch, self.batch, self.step = state["position"]
        self.totals.copy_(state["totals"])
        self.counted.copy_(state["counted"])
        self.history, self.best = state["history"], state["best"]
        self._seconds, self._wait = state["clock"]
        torch.set_rng_state(state["rng"])
        if state["rng_cuda"] and self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["rng_cuda"])
        if state["threads"] != torch.get_num_threads():
            self._console.print(
                f"[yellow]The run used {state['threads']} CPU threads, now it has "
                f"{torch.get_num_threads()}: the result will differ in the last digits.[/]"
            )

    def _listen(self) -> Callable[[], None]:
        """Turn SIGTERM and SIGINT into a save at the next step; a second one acts at once."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        previous = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._stop.set()
            signal.signal(number, previous[number])

        for number in previous:
            signal.signal(number, on_signal)

        def restore() -> None:
            for number, handler in previous.items():
                signal.signal(number, handler)

        return restore
