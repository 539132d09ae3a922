"""Decoding with Pillow in worker processes of torch's DataLoader: works everywhere."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.stream import DecodeFailed
from neurogaze_fast.pictures import CorruptImage

PREFETCH = 4
"""Batches each worker prepares ahead."""
_OF_A_GROUP = {signal.SIGINT, signal.SIGTERM}


class TorchDecoder:
    """A :class:`~neurogaze_fast.faces.stream.Decoder` of `workers` processes.

    The processes start with the first batch and are kept for the next epochs, until :meth:`close`.
    They are forked from a server that has imported what they need and does nothing else: forked
    from here, beside threads of DALI or torch, one now and then waited for ever for a lock that a
    thread had held. The server takes as long as importing torch, once in the life of this process.
    """

    def __init__(self, device: torch.device, workers: int | None = None) -> None:
        """`workers`: processes, by default one for each CPU and at most 8; 0: decode here."""
        self._device = torch.device(device)
        self._workers = min(8, usable_cores().usable) if workers is None else workers
        self.name = f"torch, {self._workers} worker{'s' if self._workers != 1 else ''}"
        self._faces: EncodedSplit | None = None
        self._plan = _Plan()
        self._loader: DataLoader[Any] | None = None

    def batches(self, faces: EncodedSplit, plan: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """See :class:`~neurogaze_fast.faces.stream.Decoder`; one iterator at a time."""
        if self._loader is None or self._faces is not faces:
            self.close()
            self._faces, self._loader = faces, self._start(faces)
        self._plan.batches = plan
        if self._workers:
            _start_server()
            _open.add(self)
        answers = iter(self._loader)
        for answer in answers:
            if isinstance(answer, str):
                raise DecodeFailed(answer)
            yield answer.to(self._device, non_blocking=True)

    def close(self) -> None:
        """End the worker processes; the next batch would start others."""
        loader, self._loader, self._faces = self._loader, None, None
        workers = getattr(loader, "_iterator", None)
        if workers is not None:  # not left to the garbage: a half-used iterator may still hold them
            workers._shutdown_workers()
            # The threads that sent the work hold the last semaphores. One that the interpreter's
            # end cuts off between removing and reporting them leaves a warning of a leak.
            for queue in workers._index_queues:
                if queue._thread is not None:
                    queue._thread.join(timeout=5)

    def _start(self, faces: EncodedSplit) -> DataLoader[Any]:
        several: dict[str, Any] = {}
        if self._workers:
            several = {
                "persistent_workers": True,
                "prefetch_factor": PREFETCH,
                "worker_init_fn": _settle_in,
                "multiprocessing_context": "forkserver",
            }
        return DataLoader(
            _Pixels(replace(faces)),  # without the images it may have cached: they would be sent
            batch_sampler=self._plan,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
            # The loader draws a seed for its workers; not from the generator of the training.
            generator=torch.Generator(),
            **several,
        )


class _Plan:
    """The batch sampler: whatever batches are wanted at present."""

    batches: Sequence[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (rows.tolist() for rows in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Pixels(Dataset):
    """Decodes a batch at a time; lives in the workers."""

    def __init__(self, faces: EncodedSplit) -> None:
        self._faces = faces

    def __len__(self) -> int:
        return len(self._faces)

    def __getitems__(self, rows: list[int]) -> Tensor | str:
        """uint8 [b, side, side], or in words why not: an exception would end the loader."""
        side = self._faces.side
        pixels = np.empty((len(rows), side, side), np.uint8)
        for position, row in enumerate(rows):
            try:
                pixels[position] = self._faces.decode(row)
            except CorruptImage as cause:
                return f"{self._faces.describe(row)}: {cause}"
        return torch.from_numpy(pixels)


_open: WeakSet[TorchDecoder] = WeakSet()


@atexit.register
def _close_all() -> None:
    """At the end of this process tell all workers that it is over.

    Python itself would send them SIGTERM, which one that has not settled in takes for a signal to
    the group, and then wait for them for ever. This runs before, because it was registered later.
    """
    for decoder in list(_open):
        decoder.close()


def _start_server() -> None:
    """Start the server that workers are forked from, unless it runs already."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    resource_tracker.ensure_running()  # which undoes the mask that follows
    # Signals to the group, which are this process's to answer, must end neither the server nor a
    # worker that has not settled in: both inherit the mask. The server ends with this process.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_A_GROUP)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _settle_in(worker: int) -> None:
    """What a worker process does first."""
    # A terminal or torchrun signals a whole group; when to end is for the parent to say, whose way
    # at exit is SIGTERM: torch's own handler of that one, set by now, tells it from another's.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while came := signal.sigpending() & _OF_A_GROUP:  # since it was forked
        signal.sigwait(came)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_A_GROUP)


def _as_it_is(answer: Any) -> Any:
    return answer
