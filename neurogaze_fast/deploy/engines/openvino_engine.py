"""OpenVINO: the fastest engine on x86 CPUs."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from neurogaze_fast.deploy.engines.base import (
    OUTPUTS,
    Engine,
    EngineError,
    Outputs,
    import_library,
    shown_threads,
)
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph


class OpenVinoEngine(Engine):
    """An exported graph on OpenVINO's CPU device.

    One face takes a graph of its own with a fixed shape, and one input tensor that is filled anew:
    a dynamic one plans its memory at each call, which one face would notice most.
    """

    name = "openvino"

    def __init__(self, graph: OpenedGraph, precision: str = "fp32", threads: int = 0) -> None:
        """Load `graph`, computing in `precision` (fp32 or bf16 of an fp32 graph; int8 of an int8
        graph); `threads` 0: OpenVINO's choice.

        Raises:
            ConfigError: openvino is not installed. EngineError: it cannot run this graph here.
        """
        super().__init__(graph.input_size, graph.metadata["synthetic"])
        ov = import_library("openvino", "onnx")
        needed = "int8" if precision == "int8" else "fp32"
        if precision not in ("fp32", "bf16", "int8") or graph.precision != needed:
            raise EngineError(
                f"OpenVINO cannot compute {precision} from {graph.path}, a graph in "
                f"{graph.precision}: on a CPU it computes fp32 or bf16 from an fp32 graph, and "
                "int8 from an int8 graph. Choose one of these with --precision."
            )
        if precision == "bf16" and not computes_bf16():
            raise EngineError(
                "This processor has no bf16 instructions that OpenVINO uses: use --precision fp32 "
                "or int8."
            )
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": "1",
            # Bound to a core, each call would first move there and wait for whatever runs on it,
            # and several processes would all be bound to the same ones.
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = openvino_core().read_model(graph.data)
            self._many = self._request(-1)
        except Exception as cause:  # openvino raises RuntimeError and classes of its own
            raise EngineError(
                f"OpenVINO {ov.__version__} cannot run {graph.path} "
                f"({' '.join(str(cause).split())[:300]}). Use --engine onnxruntime."
            ) from cause
        self._one: Any = None
        version = ov.__version__.split("-")[0]
        self.detail = f"OpenVINO {version}, CPU, {precision}, {shown_threads(threads)}"

    def _request(self, faces: int) -> Any:
        model = self._model
        if faces > 0:
            model = model.clone()
            model.reshape([faces, self.input_size, self.input_size, 3])
        return openvino_core().compile_model(model, "CPU", self._settings).create_infer_request()

    def _infer(self, images: np.ndarray) -> Outputs:
        if len(images) == 1:
            if self._one is None:
                self._one = self._request(1)
            request = self._one
            request.get_input_tensor().data[:] = images
            request.infer(share_outputs=True)
        else:
            request = self._many
            request.infer([images], share_inputs=True, share_outputs=True)
        probabilities, affect = (
            np.array(request.get_output_tensor(number).data, np.float32)
            for number in range(len(OUTPUTS))
        )
        return probabilities, affect

    def _free(self) -> None:
        del self._many, self._one, self._model


def computes_bf16() -> bool:
    """Whether this processor has bf16 instructions that OpenVINO uses.

    Raises:
        ConfigError: openvino is not installed. EngineError: it is broken.
    """
    core = openvino_core()
    try:
        return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except RuntimeError as cause:
        raise _broken(cause) from cause


def openvino_core() -> Any:
    """The one ``openvino.Core`` of this process, which is never let go.

    The CPU plugin gives the thread that first opens a graph another stack for signals, and takes it
    away with the last core. Does another thread let go of that one, then the first is left with a
    stack that is gone, and the next signal ends the process.

    Raises:
        ConfigError: openvino is not installed. EngineError: it is broken.
    """
    with _FIRST:
        return _core()


_FIRST = threading.Lock()
"""Of two threads that ask at the same time, each would make one."""


@functools.cache
def _core() -> Any:
    try:
        return import_library("openvino", "onnx").Core()
    except RuntimeError as cause:
        raise _broken(cause) from cause


def _broken(cause: Exception) -> EngineError:
    text = " ".join(str(cause).split())[:300]
    return EngineError(f"OpenVINO does not start here ({text}). Use --engine onnxruntime.")
