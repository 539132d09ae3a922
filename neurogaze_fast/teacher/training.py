"""The teacher's training loop: steps, checkpoints, and everything needed to take it up again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import CheckpointError, Interrupted, NonFiniteError
from neurogaze_fast.teacher.config import TrainTeacherConfig
from neurogaze_fast.teacher.losses import TERMS, consistency, consistency_ramp, supervised_terms
from neurogaze_fast.teacher.networks import TeacherModel
from neurogaze_fast.teacher.splits import SplitRows
from neurogaze_fast.teacher.views import Augmentation, Batches, ResidentMaps, step_generator, view
from neurogaze_fast.training.checkpoint import check_origin, reading_state, save_checkpoint
from neurogaze_fast.training.guard import LIMIT, NonFiniteGuard
from neurogaze_fast.training.machine_state import machine_state, restore_machine_state
from neurogaze_fast.training.optimizer import adamw
from neurogaze_fast.training.progress import RunProgress
from neurogaze_fast.training.schedule import learning_rate
from neurogaze_fast.training.shared_cores import SharedCores

Validate = Callable[[TeacherModel], dict[str, float]]


class TeacherTrainer:
    """Owns every piece of state of one teacher's training; `state_dict` is all of it."""

    def __init__(
        self,
        config: TrainTeacherConfig,
        model: TeacherModel,
        store: ResidentMaps,
        rows: SplitRows,
        *,
        folder: Path,
        console: Console,
        stop: threading.Event,
        title: str = "teacher",
        name_row: Callable[[int], str] = str,
        validate: Validate | None = None,
        run: str | None = None,
    ) -> None:
        """Prepare a run from the start.

        Args:
            folder: of the checkpoints, RUN/checkpoints/NAME.
            stop: set from outside to end the run after the present step.
            title: what the printed lines call it.
            name_row: names a window of the map set in messages.
            validate: scores the model after each epoch, for the curves; it chooses nothing.
            run: identity that checkpoints must carry, one for each teacher of each folder.
        """
        self._run = run
        self.config, self.store, self.rows = config, store, rows
        self.device = store.maps.device
        self.model = model.to(self.device)
        self._folder, self._console, self._stop = folder, console, stop
        self._title, self._name_row, self._validate = title, name_row, validate
        support = rows.support if config.consistency > 0 else rows.support[:0]
        self.batches = Batches(rows.train, support, config.batch_size, config.seed)
        self.total_steps = len(self.batches) * config.epochs
        # A signal is one row high: a shift along it would only be another window.
        shift = config.shift if store.maps.shape[2] > 1 else 0.0
        self._augmentation = Augmentation(config.band_dropout, config.noise, shift)
        self.optimizer = adamw(
            self.model.parameters(),
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.guard = NonFiniteGuard(self.model, self.device)
        self.epoch = self.batch = self.step = 0
        self.totals = torch.zeros(len(TERMS), dtype=torch.float64, device=self.device)
        self.counted = torch.zeros((), dtype=torch.float64, device=self.device)
        self.history: list[dict[str, Any]] = []
        self._seconds = 0.0
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self._cores = SharedCores(
            self._warn, threads=threads, cores=usable_cores().total, unit="windows"
        )

    def fit(self) -> list[dict[str, Any]]:
        """Train from the current state to the end; return one entry per epoch.

        The last epoch is the result: choosing one on the held-out people would flatter the scores.

        Raises:
            Interrupted: `stop` was set, after saving.
            NonFiniteError: eight bad batches in a row.
        """
        with RunProgress(self._console, self.total_steps, self.step) as progress:
            while self.epoch < self.config.epochs:
                self._run_epoch(progress)
        return self.history

    def _run_epoch(self, progress: RunProgress) -> None:
        self.model.train()
        started = saved = time.monotonic()
        for labelled, unlabelled in self.batches.epoch(self.epoch, start=self.batch):
            began = time.monotonic()
            self._train_step(labelled, unlabelled)
            self._cores.step(time.monotonic() - began, len(labelled))
            self.batch += 1
            self.step += 1
            due = time.monotonic() - saved > self.config.checkpoint_minutes * 60
            saving = due or self._stop.is_set()
            # Log before saving: a checkpoint does not hold which bad batches are still to be named.
            if saving or self.step % self.config.log_every == 0:
                self._log(progress)
            if saving:
                self._seconds += time.monotonic() - started
                self._save()
                started = saved = time.monotonic()
            if self._stop.is_set():
                self._interrupt()
        self._log(progress)
        self._seconds += time.monotonic() - started
        self._end_epoch(progress)

    def _train_step(self, labelled: np.ndarray, unlabelled: np.ndarray) -> None:
        config = self.config
        rate = learning_rate(
            self.step, self.total_steps, peak=config.learning_rate, warmup=config.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        ramp = consistency_ramp(self.step / self.total_steps)
        generator = step_generator(config.seed, self.step, self.device)
        # One pass over the labelled view and both unlabelled ones: they share BatchNorm's moments.
        first, count, other = self._gather(labelled), len(labelled), len(unlabelled)
        maps = torch.cat([first, *[self._gather(unlabelled)] * 2]) if other else first
        maps = view(maps, self.store.mask, self._augmentation, generator)
        target = self.store.va.index_select(0, self._index(labelled))
        self.guard.before_forward()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.amp):
            embedding, va = self.model(maps)
        embedding, va = embedding.float(), va.float()
        mse, discordance = supervised_terms(va[:count], target)
        agreement = mse.new_zeros(())
        if other:
            views = [(embedding[i : i + other], va[i : i + other]) for i in (count, count + other)]
            agreement = consistency(*views)
        loss = mse + discordance + config.consistency * ramp * agreement
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = self.optimizer.gradient_norm(config.clip)
        bad = self.guard.after_backward(loss, norm, self.step)
        self.optimizer.skip_if(bad)
        self.optimizer.step()
        values = torch.stack([loss, mse, discordance, agreement]).detach().double()
        self.totals += torch.where(bad > 0, 0.0, values)
        self.counted += 1 - bad

    def _warn(self, line: str) -> None:
        self._console.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)

    def _index(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self.device)

    def _gather(self, rows: np.ndarray) -> Tensor:
        return self.store.maps.index_select(0, self._index(rows)).float()

    def _log(self, progress: RunProgress) -> None:
        """The only reads from the device inside an epoch: losses, and which batches were bad."""
        steps, too_many = self.guard.read()
        for step in steps:
            progress.line(f"[yellow]non-finite batch skipped:[/] {escape(self._name_batch(step))}")
        if too_many:
            raise NonFiniteError(
                f"{LIMIT} non-finite batches in a row, the last one {self._name_batch(steps[-1])}. "
                "The weights are those from before them. Look at these windows and ratings, or "
                "lower --learning-rate."
            )
        mean = float(self.totals[0] / self.counted.clamp_min(1))
        note = f"{self._title} epoch {self.epoch + 1}/{self.config.epochs} loss {mean:.3f}"
        progress.update(self.step, note)

    def _name_batch(self, step: int) -> str:
        epoch, batch = divmod(step, len(self.batches))
        rows = np.concatenate(self.batches.batch(epoch, batch))
        finite = torch.isfinite(self._gather(rows)).flatten(1).all(1).cpu().numpy()
        named = rows if finite.all() else rows[~finite]
        shown = ", ".join(self._name_row(int(row)) for row in named[:8])
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        kind = "windows" if finite.all() else "non-finite windows"
        return f"batch {batch} of epoch {epoch + 1} of the {self._title}, {kind} {shown}{more}"

    def _end_epoch(self, progress: RunProgress) -> None:
        self.guard.require_some(float(self.counted), self.epoch + 1)
        valid = {} if self._validate is None else self._validate(self.model)
        means = (self.totals / self.counted.clamp_min(1)).tolist()
        windows = len(self.batches) * self.batches.batch_size
        entry = {
            "epoch": self.epoch + 1,
            "seconds": round(self._seconds, 3),
            "windows_per_second": round(windows / max(self._seconds, 1e-9), 1),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "skipped_batches": int(len(self.batches) - self.counted),
            "train": dict(zip(TERMS, means, strict=True)),
            "valid": valid,
        }
        self.history.append(entry)
        self.epoch, self.batch, self._seconds = self.epoch + 1, 0, 0.0
        if valid or self.epoch == self.config.epochs:
            scores = "  ".join(f"{name} {value:.3f}" for name, value in valid.items())
            progress.line(
                f"{self._title} epoch {entry['epoch']}/{self.config.epochs}  "
                f"loss {means[0]:.3f}  {scores}  {entry['seconds']:.1f} s  "
                f"{entry['windows_per_second']:.0f} windows/s"
            )
        self.totals.zero_()
        self.counted.zero_()
        self._save()
        if self._stop.is_set() and self.epoch < self.config.epochs:
            self._interrupt()

    def _interrupt(self) -> None:
        raise Interrupted(
            f"Stopped by a signal at step {self.step} of {self.total_steps} of the {self._title}; "
            "everything was saved. Continue with: neurogaze-fast train-teacher --resume "
            f"{self._folder.parent.parent}"
        )

    def _save(self) -> None:
        save_checkpoint(self._folder, "last", self.step, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on."""
        return {
            "run": self._run,
            "architecture": [self.model.bands, self.model.width],
            "rows": [len(self.rows.train), len(self.rows.support), len(self.rows.held)],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state_dict(),
            "position": [self.epoch, self.batch, self.step],
            "totals": self.totals.cpu(),
            "counted": self.counted.cpu(),
            "history": self.history,
            "seconds": self._seconds,
            **machine_state(self.device),
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Take up the run where `state` left it.

        Raises:
            CheckpointError: the state is of another run, network or data, or malformed.
        """
        with reading_state(source):
            self._take_up(state, source)

    def _take_up(self, state: dict[str, Any], source: str) -> None:
        if not check_origin(state, self._run, source):
            self._console.print(
                f"[yellow]{escape(source)} does not say which run it belongs to, for an older "
                "version wrote it: only its network and data were compared.[/]",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
        own = self.state_dict()
        for key in ("architecture", "rows"):
            if state[key] != own[key]:
                raise CheckpointError(
                    f"{source} has the {key} {state[key]}, this run has {own[key]}. Continue with "
                    "the maps and options it was started with."
                )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.load_state_dict(state["guard"])
        self.epoch, self.batch, self.step = state["position"]
        self.totals.copy_(state["totals"])
        self.counted.copy_(state["counted"])
        self.history, self._seconds = state["history"], state["seconds"]
        restore_machine_state(state, self.device, self._console)  # the dropout draws from it
