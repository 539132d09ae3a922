"""Several processes training one student: gloo on CPUs, NCCL on GPUs, started by torchrun."""

from __future__ import annotations

import gc
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from neurogaze_fast.errors import ConfigError, NeurogazeError, RankLostError

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""How long processes wait for what one of them does alone: validation of a large set, or reading
one. Inside NCCL they would be given up after ten minutes. One that dies is noticed at once."""
_waiting: dist.ProcessGroup | None = None
"""All processes, by gloo, whatever they compute on; there while the default group is."""


@dataclass(frozen=True)
class World:
    """The processes of a run. With one, every method does nothing beyond what its name says."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Number among the processes of this machine; the GPU it takes."""

    @classmethod
    def from_environment(cls) -> World:
        """What torchrun says, or a world of one."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if not all(name in os.environ for name in names):
            return cls()
        return cls(*(int(os.environ[name]) for name in names))

    @property
    def first(self) -> bool:
        """Whether this process writes the artifacts and speaks."""
        return self.rank == 0

    def join(self, device: torch.device) -> None:
        """Meet the other processes; return at once where there are none."""
        if self.size > 1 and not dist.is_initialized():
            if device.type == "cuda":
                if self.local_rank >= torch.cuda.device_count():
                    raise ConfigError(
                        f"torchrun started more processes than this machine has GPUs "
                        f"({torch.cuda.device_count()}). Lower --nproc-per-node, or train with "
                        "--device cpu."
                    )
                torch.cuda.set_device(device)
            store, rank, size = next(rendezvous("env://"))
            # torchrun keeps its store when it starts the processes again: without a prefix they
            # would meet under the addresses of the dead ones.
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            store = dist.PrefixStore(f"neurogaze_fast attempt {attempt}", store)
            gpu = device.type == "cuda"
            dist.init_process_group(
                "nccl" if gpu else "gloo",
                store=store, rank=rank, world_size=size, device_id=device if gpu else None,
            )  # fmt: skip
            global _waiting
            group = dist.new_group(backend="gloo", timeout=PATIENCE)
            assert isinstance(group, dist.ProcessGroup)  # of which all are members
            _waiting = group

    def leave(self) -> None:
        """Part from the other processes."""
        if self.size > 1 and dist.is_initialized():
            # What still holds the group (DDP, in reference cycles) must go first: a group that goes
            # while Python ends aborts the process now and then.
            gc.collect()
            global _waiting
            _waiting = None
            dist.destroy_process_group()

    def device(self, device: torch.device) -> torch.device:
        """This process's own: the GPU of its number, or the CPU."""
        return torch.device("cuda", self.local_rank) if device.type == "cuda" else device

    def share_batch(self, batch_size: int) -> None:
        """Check that the processes can share a global batch.

        Raises:
            ConfigError: it cannot be shared out equally, or BatchNorm would see a single image.
        """
        if batch_size % self.size or batch_size < 2:
            raise ConfigError(
                f"--batch-size {batch_size} is the batch of all {self.size} processes together and "
                f"cannot be shared out equally. Choose a multiple of {self.size}."
            )

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """`network` with gradients averaged, and statistics taken, over all processes."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        if device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
        else:  # where torch has none
            synchronise_batch_norm(network)
        ids = [self.local_rank] if device.type == "cuda" else None
        # Equal statistics need no sending; torch renamed the option that says so.
        known = inspect.signature(DistributedDataParallel).parameters
        new = "forward_sync_buffers"
        unsent: dict[str, Any] = {new if new in known else "broadcast_buffers": False}
        return DistributedDataParallel(network, device_ids=ids, **unsent)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a tensor over the processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values

    def sums(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiable sums over the processes (the `reduce` of proto_geo_loss)."""
        return _Sum.apply(first), _Sum.apply(second)

    def any(self, *flags: bool, device: torch.device) -> list[bool]:
        """Whether each flag is set in some process."""
        if self.size == 1:
            return list(flags)
        together = torch.tensor(flags, dtype=torch.float32, device=device)
        dist.all_reduce(together)
        return [value > 0 for value in together.tolist()]

    def broadcast(self, value: T) -> T:
        """The first process's `value`, in all of them; they wait for it as long as it takes."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.first else None]
        dist.broadcast_object_list(box, src=0, group=_waiting)
        return box[0]

    def once(self, action: Callable[[], T]) -> T:
        """Run `action` in the first process only; its result, or its error, in all of them."""
        if self.size == 1:
            return action()
        if not self.first:
            sent: tuple[Any, int | None] = (None, None)
            result, failed = self.broadcast(sent)
            if failed is not None:
                raise SystemExit(failed)  # the first process says why
            return result
        try:
            result = action()
        except Exception as error:
            self.broadcast((None, getattr(error, "exit_code", 1)))
            raise
        return self.broadcast((result, None))[0]

    def ahead(self, action: Callable[[], T]) -> T:
        """Run `action` in each machine's first process, then in the others (it fills a cache)."""
        if self.size == 1:
            return action()
        if self.local_rank:
            dist.barrier(_waiting)
            return action()
        result = action()
        dist.barrier(_waiting)
        return result

    def blame(self, error: RuntimeError) -> NeurogazeError | None:
        """A readable error where `error` says that another process is gone, else None."""
        words = " ".join(str(error).split())
        lost = isinstance(error, dist.DistError) or any(
            sign in words for sign in ("gloo", "NCCL", "Connection closed", "Connection reset")
        )
        if self.size == 1 or not lost:
            return None
        return RankLostError(
            f"Process {self.rank} of {self.size} lost contact with another one, which was killed, "
            f"failed, or cannot be reached ({words[:200].strip()}). Nothing saved is lost: "
            "start the same command again with --resume RUN, or let torchrun do so "
            "(--max-restarts 3, and --out RUN)."
        )


class _Sum(torch.autograd.Function):
    """Sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


def synchronise_batch_norm(network: nn.Module) -> None:
    """Make every BatchNorm take its statistics over all processes; parameters stay the same."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the images of all processes (torch's SyncBatchNorm takes GPUs only)."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same, normalised."""
        if not self.training:
            return super().forward(x)
        result, mean, variance, count = _SharedBatchNorm.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            assert self.momentum is not None  # torch's cumulative average, which no network has
            self.get_buffer("num_batches_tracked").add_(1)
            self.get_buffer("running_mean").lerp_(mean, self.momentum)
            unbiased = variance * (count / (count - 1))
            self.get_buffer("running_var").lerp_(unbiased, self.momentum)
        return result


class _SharedBatchNorm(torch.autograd.Function):
    """Ioffe & Szegedy 2015, eq. 1-4 and their derivatives, with the sums added over processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.float()
        pixels = x.numel() / x.shape[1]
        mean = wide.mean((0, 2, 3))
        # About the process's own mean, so that no digits are lost; then moved to the common one.
        square = (wide - mean.view(1, -1, 1, 1)).square().sum((0, 2, 3))
        sums = torch.cat((mean * pixels, mean.new_full((1,), pixels)))
        dist.all_reduce(sums)
        count = sums[-1]
        common = sums[:-1] / count
        square += pixels * (mean - common).square()
        dist.all_reduce(square)
        variance = square / count
        inverse = torch.rsqrt(variance + eps)
        result = torch.nn.functional.batch_norm(x, common, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, common, inverse, count)
        ctx.mark_non_differentiable(common, variance, count)
        return result, common, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors

        def spread(values: Tensor) -> Tensor:
            return values.view(1, -1, 1, 1)

        of_result = gradient.float()
        unit = (x.float() - spread(mean)) * spread(inverse)
        of_bias, of_weight = of_result.sum((0, 2, 3)), (of_result * unit).sum((0, 2, 3))
        sums = torch.cat((of_bias, of_weight))
        dist.all_reduce(sums)
        first, second = (sums / count).chunk(2)
        of_x = (of_result - spread(first) - unit * spread(second)) * spread(weight * inverse)
        return of_x.to(x.dtype), of_weight, of_bias, None
