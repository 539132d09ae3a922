"""Decoding with NVIDIA DALI: on the GPU (`mixed`), or on the CPU's threads where there is none."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.cores import usable_cores
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.faces.decode import encode_grey, plausible
from neurogaze_fast.faces.encoded import EncodedSplit
from neurogaze_fast.faces.stream import DecodeFailed
from neurogaze_fast.pictures import CorruptImage

if TYPE_CHECKING:
    from nvidia.dali import Pipeline

DEPTH = 2
"""Batches DALI decodes ahead."""
READ_AHEAD = 4
"""Batches whose bytes are read ahead of that, by as many threads."""


class DaliDecoder:
    """A :class:`~neurogaze_fast.faces.stream.Decoder` whose bytes are fed in the order of the plan.

    DALI's own readers have an order of their own, cannot skip a damaged image, and cannot start in
    the middle of an epoch; fed with bytes it does what it is best at and all else stays ours.
    """

    def __init__(self, device: torch.device, threads: int | None = None) -> None:
        """`threads`: of the CPU, by default one for each CPU and at most 8.

        Raises:
            ConfigError: DALI is not installed.
        """
        require_dali()
        self._device = torch.device(device)
        self._threads = threads or min(8, usable_cores().usable)
        self._operator = "mixed" if self._device.type == "cuda" else "cpu"
        self.name = f"dali ({self._operator})"
        self._idle: dict[tuple[int, bool, int], Pipeline] = {}
        self._reader: _Reader | None = None

    def batches(self, faces: EncodedSplit, plan: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """See :class:`~neurogaze_fast.faces.stream.Decoder`."""
        if not len(plan):
            return
        key = (faces.side, faces.sized, max(len(rows) for rows in plan))
        pipeline = self._idle.pop(key, None) or self._build(*key)
        self._idle.clear()
        reader = self._reader = _Reader(faces, plan)
        try:
            for _ in plan:
                try:
                    pixels = self._run(pipeline).view(-1, faces.side, faces.side)
                    failure = None
                except StopIteration:  # all batches before the unreadable one have been given
                    failure = reader.failure or "DALI ended early"
                except RuntimeError as cause:
                    failure = _in_short(cause)
                if failure is not None:
                    # Raised here, for above it would carry a traceback that keeps the pipeline.
                    raise DecodeFailed(failure)
                yield pixels
            pipeline.reset()  # nothing of this plan is left in it
            self._idle[key] = pipeline
        finally:
            reader.close()

    def close(self) -> None:
        """Free the pipeline; the next batch would build another."""
        self._idle.clear()
        self._reader = None

    def _build(self, side: int, sized: bool, batch_size: int) -> Pipeline:
        from nvidia.dali import Pipeline, fn, types

        gpu = None
        if self._operator == "mixed":
            index = self._device.index
            gpu = torch.cuda.current_device() if index is None else index
        pipeline = Pipeline(
            batch_size=batch_size,
            num_threads=self._threads,
            device_id=gpu,
            prefetch_queue_depth=DEPTH,
        )
        with pipeline:
            encoded = fn.external_source(
                source=self._next, dtype=types.DALIDataType.UINT8, ndim=1, batch=True
            )
            images = fn.decoders.image(
                encoded, device=self._operator, output_type=types.DALIImageType.GRAY
            )
            if not sized:
                images = fn.resize(
                    images,
                    size=[side, side],
                    interp_type=types.DALIInterpType.INTERP_LINEAR,
                    antialias=True,
                )
            pipeline.set_outputs(images)
        pipeline.build()
        return pipeline

    def _next(self) -> list[np.ndarray]:
        """What DALI asks for, some batches ahead."""
        assert self._reader is not None
        return self._reader.next()

    def _run(self, pipeline: Pipeline) -> Tensor:
        """uint8, of torch's own: the batch that is due.

        On a GPU all is put on torch's stream: without one DALI would wait here until the batch is
        decoded. The copy must be there, because what torch gives may still be in use there.
        """
        from nvidia.dali.plugin.pytorch import feed_ndarray

        if self._device.type == "cuda":
            stream = torch.cuda.current_stream(self._device)
            (images,) = pipeline.run(stream)
        else:
            stream = None
            (images,) = pipeline.run()
        dense = images.as_tensor()
        pixels = torch.empty(dense.shape(), dtype=torch.uint8, device=self._device)
        return feed_ndarray(dense, pixels, cuda_stream=stream)


class _Reader:
    """Encoded batches in the order of a plan, read ahead by threads."""

    def __init__(self, faces: EncodedSplit, plan: Sequence[Tensor]) -> None:
        self.failure: str | None = None
        self._faces, self._plan = faces, iter(plan)
        self._pool = ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="read-ahead")
        self._reading: deque[Future[list[np.ndarray]]] = deque()
        self._refill()

    def next(self) -> list[np.ndarray]:
        """The bytes of the next batch.

        Raises:
            StopIteration: there is none, or it cannot be given to DALI (see :attr:`failure`).
        """
        if not self._reading or self.failure:
            raise StopIteration
        try:
            batch = self._reading.popleft().result()
        except DecodeFailed as failure:
            self.failure = str(failure)
            raise StopIteration from None
        self._refill()
        return batch

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _refill(self) -> None:
        while len(self._reading) < READ_AHEAD:
            rows = next(self._plan, None)
            if rows is None:
                return
            self._reading.append(self._pool.submit(self._read, rows.tolist()))

    def _read(self, rows: list[int]) -> list[np.ndarray]:
        return [self._bytes(row) for row in rows]

    def _bytes(self, row: int) -> np.ndarray:
        try:
            data = self._faces.read(row)
            if plausible(data):
                return data
            # Damaged, or merely odd: then DALI is given what Pillow makes of it.
            return np.frombuffer(encode_grey(self._faces.decode(row), "PNG"), np.uint8)
        except (OSError, CorruptImage) as cause:
            raise DecodeFailed(f"{self._faces.describe(row)}: {cause}") from cause


def require_dali() -> None:
    """Raises:
    ConfigError: DALI is not installed, or is the empty package of the same name on PyPI.
    """
    try:
        from nvidia.dali import fn, plugin  # noqa: F401
    except ImportError as cause:
        major = (torch.version.cuda or "13").split(".")[0]
        raise ConfigError(
            f"--loader dali needs NVIDIA DALI, which cannot be imported here ({cause}). Install it "
            f"with `pip install 'neurogaze_fast[dali-cu{major}]'` (plain nvidia-dali on PyPI is "
            "a stub), or use --loader torch."
        ) from cause


def _in_short(error: RuntimeError) -> str:
    """What happened, without the traceback of where the operator was defined."""
    text = " ".join(str(error).split()).split("encountered: ")[-1]
    return text.split(" Current pipeline object")[0][:300]
