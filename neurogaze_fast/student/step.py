"""One training step of a student without a host sync: eager, compiled, or one CUDA graph."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neurogaze_fast.distributed import World
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.faces.resident import Batch
from neurogaze_fast.ops import augment
from neurogaze_fast.reference import augment_params
from neurogaze_fast.reference.augment import Augmentation
from neurogaze_fast.student.config import VOTES, TrainConfig
from neurogaze_fast.student.ema import ExponentialMovingAverage
from neurogaze_fast.student.inference import amp_dtype
from neurogaze_fast.student.kd_teacher import KdTeacher
from neurogaze_fast.student.networks import Student
from neurogaze_fast.student.objective import TERMS, Objective, Targets
from neurogaze_fast.training.guard import NonFiniteGuard
from neurogaze_fast.training.optimizer import adamw

CAP, MARGIN = TERMS.index("geo_cap"), TERMS.index("geo_margin")
EAGER_STEPS = 3
"""Steps of each image size before it is captured: libraries choose their kernels in them."""


class StudentStep:
    """Augment, forward, objective, backward, clip, update; nothing is read on the host.

    What changes from step to step (rows, learning rate, ramp, step) lies in tensors of fixed
    address, so that the same code is run eagerly or replayed as one CUDA graph for each image size.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: Student,
        objective: Objective,
        targets: Targets,
        device: torch.device,
        world: World,
    ) -> None:
        self.config, self.model, self.objective, self.device = config, model, objective, device
        self._targets, self._world = targets, world
        self._dtype = amp_dtype(config)
        network = _Network(model, objective, device.type, self._dtype, compiled=config.compile)
        self._network = world.wrap(network, device)
        self.rate = torch.zeros((), device=device)
        self.optimizer = adamw(
            [*model.parameters(), *objective.parameters()],
            learning_rate=self.rate,
            weight_decay=config.weight_decay,
            capturable=device.type == "cuda",
        )
        # bf16 has float32's range; only fp16 needs its gradients scaled.
        scaled = config.amp and config.amp_dtype == "fp16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        self.ema = ExponentialMovingAverage(model, config.ema) if config.ema > 0 else None
        self.guard = NonFiniteGuard(model, device)
        self.totals = torch.zeros(len(TERMS), dtype=torch.float64, device=device)
        self.counted = torch.zeros((), dtype=torch.float64, device=device)
        self.hinges = torch.zeros(3, dtype=torch.float64, device=device)
        """Batches in which D-Geo's cap and margin were above 0, and batches that had a cap."""
        self.variance = torch.zeros(2, dtype=torch.float64, device=device)
        """Sum over batches of the high-valence classes' variance, and their number."""
        self.watched = torch.zeros(2, dtype=torch.float64, device=device)
        """Whether a batch has a cap, and whether its variance is added up (set_watch)."""
        self.ramp = torch.zeros((), device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self._params: Tensor | None = None
        self._teacher: KdTeacher | None = None
        if config.variant != "b0" and config.kd_teacher != (VOTES,) and config.kd_view == "same":
            self._teacher = KdTeacher.load(config.kd_teacher, device)
        self._teacher_params: dict[int, Tensor] = {}
        self._size = config.size
        self.graphed, self.graph_reason = self._graphable()
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._eager_done: dict[int, int] = {}
        self._inputs: Batch | None = None
        self._stream: torch.cuda.Stream | None = None

    def _graphable(self) -> tuple[bool, str]:
        for obstacle, reason in (
            (self.device.type != "cuda", "there is no GPU"),
            (not self.config.cuda_graph, "--no-cuda-graph"),
            (self._world.size > 1, "several processes train together"),
            (self.scaler.is_enabled(), "not tried with the scaler of fp16"),
        ):
            if obstacle:
                return False, reason
        return True, "for each image size"

    def begin_epoch(self, epoch: int, size: int, source: tuple[int, int], count: int) -> None:
        """Draw every row's augmentation of `epoch`, for stored images of `source` (H, W).

        Raises:
            ConfigError: a larger size was captured before: its graph uses the memory of this one's.
        """
        largest = max(self._graphs, default=size)
        if size < largest:
            raise ConfigError(
                f"Epoch {epoch + 1} has images of {size} px after others of {largest} px, but CUDA "
                "graphs share memory in the order in which sizes rise. Let sizes only rise, or "
                "train with --no-cuda-graph."
            )
        rows = torch.arange(count, device=self.device)
        how = Augmentation(crop=self.config.crop_scale) if self.config.augment else None
        draw = partial(
            augment_params,
            rows,
            seed=self.config.seed,
            epoch=epoch,
            source=source,
            augmentation=how,
        )
        params = draw(size=size)
        if self._params is None:
            self._params = params
        else:
            self._params.copy_(params)  # graphs hold its address
        for side in set(self._teacher.sizes) if self._teacher else ():
            # The same draws: the same view, at the size the teacher was trained with.
            params = draw(size=side)
            self._teacher_params.setdefault(side, params).copy_(params)
        self._size = size
        self.model.train()

    def __call__(self, batch: Batch, step: int, rate: float, ramp: float) -> None:
        """Train on one batch; `step` is its number, for naming a bad batch later."""
        self.rate.fill_(rate)
        self.ramp.fill_(ramp)
        self.step.fill_(step)
        if not self.graphed:
            self._compute(batch)
            return
        batch = self._static(batch)
        if self._size in self._graphs:
            self._graphs[self._size].replay()
        elif self._eager_done.get(self._size, 0) < EAGER_STEPS:
            self._eager_done[self._size] = self._eager_done.get(self._size, 0) + 1
            self._on_side_stream(batch)
        else:
            graph = torch.cuda.CUDAGraph()
            # A later graph takes the memory of the earlier ones, which hold nothing any more once
            # a larger size is trained; begin_epoch refuses to go back to one of them.
            pool = next(iter(self._graphs.values())).pool() if self._graphs else None
            # The warm-up's stream, and only this thread's calls: DALI and torch's pinning thread
            # may use CUDA at the same time.
            with torch.cuda.graph(
                graph, pool=pool, stream=self._side_stream(), capture_error_mode="thread_local"
            ):
                self._compute(batch)
            self._graphs[self._size] = graph
            graph.replay()  # capturing only records

    def set_watch(self, *, capped: bool, measured: bool) -> None:
        """What of D-Geo is counted in the next batch: see `hinges` and `variance`."""
        self.watched[0].fill_(float(capped))
        self.watched[1].fill_(float(measured))

    def set_variance_cap(self, cap: float) -> None:
        """Use another cap from the next batch on."""
        self.objective.variance_cap = cap
        self._graphs.clear()  # they hold the old one

    def _on_side_stream(self, batch: Batch) -> None:
        # On a stream of its own, as capture asks of the steps before it.
        current, side = torch.cuda.current_stream(), self._side_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            self._compute(batch)
        current.wait_stream(side)

    def _side_stream(self) -> torch.cuda.Stream:
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        return self._stream

    def _static(self, batch: Batch) -> Batch:
        """The batch in tensors of fixed address; a resident store stays where it is."""
        if self._inputs is None:
            resident = batch.places is batch.rows
            rows = batch.rows.clone()
            self._inputs = Batch(
                batch.store if resident else batch.store.clone(),
                rows if resident else batch.places.clone(),
                rows,
            )
        else:
            self._inputs.rows.copy_(batch.rows)
            if self._inputs.store.data_ptr() != batch.store.data_ptr():
                self._inputs.store.copy_(batch.store)
        return self._inputs

    def images(self, batch: Batch) -> Tensor:
        """[B, channels, S, S] channels_last: what the network sees of `batch` in this epoch."""
        assert self._params is not None  # begin_epoch comes first
        return self._view(batch, self._params, self._size)

    def _view(self, batch: Batch, params: Tensor, size: int) -> Tensor:
        return augment(
            batch.store,
            batch.places,
            params[batch.rows],
            size=size,
            channels=self.model.channels,
            dtype=self._dtype or torch.float32,
        )

    def targets(self, batch: Batch) -> Targets:
        """What the batch is compared with; a run as KD teacher looks at the student's view."""
        targets = self._targets.rows(batch.rows)
        if self._teacher is None:
            return targets
        views = {side: self._view(batch, p, side) for side, p in self._teacher_params.items()}
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
            return replace(targets, teacher_logits=self._teacher.logits(views))

    def _compute(self, batch: Batch) -> None:
        self.guard.before_forward()
        images = self.images(batch)
        terms = self._network(images, self.targets(batch), self.ramp)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(terms[0]).backward()
        self.scaler.unscale_(self.optimizer)
        norm = self.optimizer.gradient_norm(self.config.clip)
        values = self._world.mean(terms.detach().double())
        # An fp16 overflow is the scaler's to handle: there only a non-finite loss is a bad batch.
        judged = values[0] if self.scaler.is_enabled() else norm
        bad = self.guard.after_backward(values[0], judged, self.step)
        if not self.scaler.is_enabled():
            self.optimizer.skip_if(bad)
        if self.ema is not None:
            self.optimizer.lead(self.ema.weights, self.ema.share())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_buffers()
        self.totals += torch.where(bad > 0, 0.0, values)
        self.counted += 1 - bad
        capped, measured = self.watched
        cap, margin = values[CAP], values[MARGIN]
        # While it is measured the cap is 0: the term is 0 only where no class has two members.
        there = (cap > 0).double()
        seen = torch.stack((there * capped, (margin > 0).double(), capped))
        self.hinges += torch.where(bad > 0, 0.0, seen)
        self.variance += torch.where(bad > 0, 0.0, torch.stack((cap, there)) * measured)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, scaler, average, guard and the epoch's sums."""
        return {
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.ema is None else self.ema.state_dict(),
            "guard": self.guard.state_dict(),
            "totals": self.totals.cpu(),
            "counted": self.counted.cpu(),
            "hinges": self.hinges.cpu(),
            "variance": self.variance.cpu(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate  # loading replaced it by a copy
            group["capturable"] = self.device.type == "cuda"  # the run may come from a CPU
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["average"])
        self.guard.load_state_dict(state["guard"])
        self.totals.copy_(state["totals"])
        self.counted.copy_(state["counted"])
        for name, own in (("hinges", self.hinges), ("variance", self.variance)):
            own.copy_(state.get(name, torch.zeros_like(own)))  # older versions did not count


class _Network(nn.Module):
    """Student and objective as one module: images and targets in, the terms of the loss out."""

    def __init__(
        self,
        model: Student,
        objective: Objective,
        device: str,
        dtype: torch.dtype | None,
        *,
        compiled: bool,
    ) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self._device, self._dtype = device, dtype
        # In a tuple: as an attribute it would be registered as a second copy of the model.
        self._run = (torch.compile(model, dynamic=False) if compiled else model,)

    def forward(self, images: Tensor, targets: Targets, ramp: Tensor) -> Tensor:
        """float32 [6]: the terms of :data:`TERMS`."""
        amp = self._dtype is not None
        with torch.autocast(self._device, self._dtype, enabled=amp):
            features, logits = self._run[0](images)
        terms = self.objective(features.float(), logits.float(), targets, ramp)
        return torch.stack([terms[name] for name in TERMS])
