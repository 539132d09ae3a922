"""TensorRT and TensorRT-RTX: one captured CUDA graph per batch size, fed from pinned memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neurogaze_fast.deploy.base import MAX_BATCH, BaseEngine, EngineError
from neurogaze_fast.deploy.graph import INPUT, OUTPUTS
from neurogaze_fast.deploy.onnx_safety import OpenedGraph
from neurogaze_fast.deploy.tensorrt_build import PROFILES, Library, _logger, built_engine, library
from neurogaze_fast.emotions import EMOTIONS

__all__ = ["TensorRTEngine", "library"]

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, MAX_BATCH)
"""Batch sizes that are captured; another one is filled up to the next."""


class _Lane(NamedTuple):
    """Everything one batch size needs; the captured graph reads and writes exactly these."""

    staged: Tensor
    """uint8 [B, S, S, 3], pinned."""
    answers: dict[str, Tensor]
    """float32 [B, 8] and [B, 2], pinned."""
    graph: torch.cuda.CUDAGraph
    held: tuple[Any, ...]
    """The execution context and device buffers, which must outlive the graph."""


class TensorRTEngine(BaseEngine):
    """An exported graph built for this GPU, on a stream of its own."""

    def __init__(self, trt: Library, graph: OpenedGraph) -> None:
        """Build, or load what was built before, and capture a graph for one face.

        Raises:
            EngineError: no usable GPU, or it cannot be built or loaded.
        """
        super().__init__(graph.input_size, graph.facts["synthetic"])
        self.name = trt.name
        if not torch.cuda.is_available():
            raise EngineError(
                f"{trt.name} {trt.version} runs on NVIDIA GPUs, and torch finds no usable one here "
                "(`python -m neurogaze_fast.doctor` says why). Use --engine openvino."
            )
        data, self.path, remark = built_engine(trt, graph)
        if remark:
            self.passed_over.append(remark)
        self._trt, self._log = trt, _logger(trt.module)
        self._runtime = trt.module.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise EngineError(
                f"{trt.name} {trt.version} cannot load the engine of {graph.path}: "
                f"{self._log.text()}. Remove {self.path} to build it anew."
            )
        self._device = torch.device("cuda", torch.cuda.current_device())
        self._stream = torch.cuda.Stream(self._device)
        self._lanes: dict[int, _Lane] = {}
        self._lane(1)
        gpu = torch.cuda.get_device_name(self._device)
        self.detail = f"{trt.name} {trt.version}, {gpu}, {graph.precision}, CUDA graphs"

    def _lane(self, batch: int) -> _Lane:
        if batch not in self._lanes:
            self._lanes[batch] = self._capture(batch)
        return self._lanes[batch]

    def _capture(self, batch: int) -> _Lane:
        side = self.input_size
        widths = dict(zip(OUTPUTS, (len(EMOTIONS), 2), strict=True))
        staged = torch.zeros(batch, side, side, 3, dtype=torch.uint8).pin_memory()
        answers = {name: torch.zeros(batch, width).pin_memory() for name, width in widths.items()}
        pixels = torch.zeros_like(staged, device=self._device)
        found = {name: torch.zeros_like(a, device=self._device) for name, a in answers.items()}
        context = self._engine.create_execution_context()
        stream = self._stream.cuda_stream
        profile = next(i for i, (low, _, high) in enumerate(PROFILES) if low <= batch <= high)
        ready = (
            context is not None
            and context.set_optimization_profile_async(profile, stream)
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

        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # the zeros above
        with torch.cuda.stream(self._stream):
            for _ in range(2):  # the first run allocates, and RTX compiles
                step()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the GPU meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            step()
        return _Lane(staged, answers, graph, (context, pixels, found))

    def _infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = len(images)
        lane = self._lane(next(batch for batch in BATCHES if batch >= count))
        lane.staged.numpy()[:count] = images  # rows above stay what they were; nobody reads them
        with torch.cuda.stream(self._stream):
            lane.graph.replay()
        self._stream.synchronize()
        return tuple(lane.answers[name][:count].numpy().copy() for name in OUTPUTS)

    def _free(self) -> None:
        self._stream.synchronize()
        self._lanes.clear()
        del self._engine, self._runtime
