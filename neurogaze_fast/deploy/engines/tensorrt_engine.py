"""TensorRT and TensorRT-RTX: one CUDA graph for each batch size, fed from pinned memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.deploy.engines.base import (
    INPUT,
    MAX_BATCH,
    OUTPUTS,
    Engine,
    EngineError,
    Outputs,
    readable,
)
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph
from neurogaze_fast.deploy.engines.tensorrt_build import (
    PROFILES,
    Library,
    _logger,
    built_engine,
    library,
)
from neurogaze_fast.emotions import EMOTIONS

__all__ = ["TensorRTEngine", "library"]

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, MAX_BATCH)
"""Batch sizes that are captured; another one is filled up to the next."""


class _Lane(NamedTuple):
    """Everything one batch size needs; what runs it reads and writes exactly these."""

    staged: Tensor
    """uint8 [B, S, S, 3], pinned."""
    answers: dict[str, Tensor]
    """float32 [B, 8] and [B, 2], pinned."""
    run: Callable[[], None]
    """Put the batch's work on the engine's stream: replay its graph, or call after call."""
    held: tuple[Any, ...]
    """The execution context and device buffers, which must outlive the graph."""


class TensorRTEngine(Engine):
    """An exported graph built for this GPU, on a stream of its own."""

    def __init__(self, trt: Library, graph: OpenedGraph) -> None:
        """Build, or load what was built before, and capture a graph for every batch size: a request
        that came first with its size would else wait for it. A size that cannot be captured is
        computed call after call, and that is said in `passed_over`.

        Raises:
            EngineError: no usable GPU, or it cannot be built, loaded or run.
        """
        super().__init__(graph.input_size, graph.metadata["synthetic"])
        self.name = trt.name
        if not torch.cuda.is_available():
            raise EngineError(
                f"{trt.name} {trt.version} runs on NVIDIA GPUs, and torch finds no usable one here "
                "(`neurogaze-fast doctor` says why). Use --engine openvino."
            )
        self._trt = trt
        self._eager: dict[int, str] = {}
        """Batch size -> why it could not be captured."""
        with readable(  # CUDA's errors, out of memory most of all, and changes of the interface
            f"{trt.name} {trt.version} cannot run {graph.path} on this GPU",
            "Free its memory, use another release, or use --engine openvino.",
        ):
            self._log = _logger(trt.module)
            self._start(graph)
        captured = "CUDA graphs" if len(self._eager) < len(BATCHES) else "no CUDA graphs"
        gpu = torch.cuda.get_device_name(self._device)
        self.detail = f"{trt.name} {trt.version}, {gpu}, {graph.precision}, {captured}"
        if self._eager:
            sizes = ", ".join(map(str, self._eager))
            self.passed_over.append(
                f"{trt.name} without CUDA graphs for batches of {sizes}, which take longer: "
                f"{next(iter(self._eager.values()))}"
            )

    def _start(self, graph: OpenedGraph) -> None:
        trt = self._trt
        data, self.path, remark = built_engine(trt, graph)
        if remark:
            self.passed_over.append(remark)
        self._runtime = trt.module.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise EngineError(
                f"{trt.name} {trt.version} cannot load the engine of {graph.path}: "
                f"{self._log.text()}. Remove {self.path} to build it anew."
            )
        self._device = torch.device("cuda", torch.cuda.current_device())
        self._stream = torch.cuda.Stream(self._device)
        # One for all: batches follow one another on one stream, so it must do for the profile that
        # needs most. 0 bytes would have no address.
        of_profile = self._engine.get_device_memory_size_for_profile_v2
        needed = max(self._engine.device_memory_size_v2, *map(of_profile, range(len(PROFILES))))
        self._memory = torch.empty(max(needed, 1), dtype=torch.uint8, device=self._device)
        self._lanes = {batch: self._lane(batch) for batch in BATCHES}

    def _lane(self, batch: int) -> _Lane:
        side = self.input_size
        widths = dict(zip(OUTPUTS, (len(EMOTIONS), 2), strict=True))
        staged = torch.zeros(batch, side, side, 3, dtype=torch.uint8).pin_memory()
        answers = {name: torch.zeros(batch, width).pin_memory() for name, width in widths.items()}
        pixels = torch.zeros_like(staged, device=self._device)
        found = {name: torch.zeros_like(a, device=self._device) for name, a in answers.items()}
        context = new_context(self._trt, self._engine)
        stream = self._stream.cuda_stream
        profile = next(i for i, (low, _, high) in enumerate(PROFILES) if low <= batch <= high)
        ready = context is not None and context.set_optimization_profile_async(profile, stream)
        if ready:
            context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
        ready = (
            ready
            and context.set_input_shape(INPUT, tuple(pixels.shape))
            and context.set_tensor_address(INPUT, pixels.data_ptr())
            and all(context.set_tensor_address(n, t.data_ptr()) for n, t in found.items())
        )

        def step() -> None:
            pixels.copy_(staged, non_blocking=True)
            if not ready or not context.execute_async_v3(stream):
                raise EngineError(
                    f"{self.name} cannot run a batch of {batch}: {self._log.text()}. Remove the "
                    f"engine file {self.path} and try again."
                )
            for name, tensor in found.items():
                answers[name].copy_(tensor, non_blocking=True)

        def settled() -> None:
            with torch.cuda.stream(self._stream):
                for _ in range(2):  # in the first run RTX compiles
                    step()
            self._stream.synchronize()

        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # the zeros above
        settled()
        run = self._captured(batch, context, step)
        if run is None:
            settled()  # where the failure left more than this capture broken, it is said now
        return _Lane(staged, answers, run or step, (context, pixels, found))

    def _captured(
        self, batch: int, context: Any, step: Callable[[], None]
    ) -> Callable[[], None] | None:
        """A replay of `step` as a CUDA graph; None where it cannot be captured (see `_eager`)."""
        try:
            stream = self._stream.cuda_stream
            if self._trt.rtx and not context.is_stream_capturable(stream):
                raise EngineError(f"it says that it cannot be captured: {self._log.text()}")
            graph = torch.cuda.CUDAGraph()
            # Other threads may go on using the GPU meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                step()
        except Exception as cause:  # CUDA's own, or an interface that changed
            self._eager[batch] = " ".join(str(cause).split())[:300]
            return None
        return graph.replay

    def _infer(self, images: np.ndarray) -> Outputs:
        count = len(images)
        lane = self._lanes[next(batch for batch in BATCHES if batch >= count)]
        lane.staged.numpy()[:count] = images  # rows above stay what they were; nobody reads them
        with torch.cuda.stream(self._stream):
            lane.run()
        self._stream.synchronize()
        logits, affect = (lane.answers[name][:count].numpy().copy() for name in OUTPUTS)
        return logits, affect

    def _free(self) -> None:
        self._stream.synchronize()
        self._lanes.clear()
        del self._memory, self._engine, self._runtime


def new_context(trt: Library, engine: Any) -> Any:
    """An execution context that uses the device memory it is given, or None."""
    given = trt.module.ExecutionContextAllocationStrategy.USER_MANAGED
    if not trt.rtx:
        return engine.create_execution_context(given)
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(given)
    # By default a shape runs on general kernels until its own are compiled behind the scenes; a
    # graph captured meanwhile would hold the general ones for good.
    kinds = trt.module.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
    return engine.create_execution_context(config)
