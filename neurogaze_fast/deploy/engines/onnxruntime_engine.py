"""ONNX Runtime: the portable engine for CPUs."""

from __future__ import annotations

import numpy as np

from neurogaze_fast.deploy.engines.base import (
    INPUT,
    OUTPUTS,
    Engine,
    EngineError,
    Outputs,
    import_library,
    shown_threads,
)
from neurogaze_fast.deploy.engines.onnx_safety import OpenedGraph


class OnnxRuntimeEngine(Engine):
    """An exported graph on ONNX Runtime's CPU provider."""

    name = "onnxruntime"

    def __init__(self, graph: OpenedGraph, threads: int = 0) -> None:
        """Load `graph`; `threads` 0: ONNX Runtime's choice.

        Raises:
            ConfigError: onnxruntime is not installed. EngineError: it cannot run this graph.
        """
        super().__init__(graph.input_size, graph.metadata["synthetic"])
        ort = import_library("onnxruntime", "onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                graph.data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as cause:  # each failure has a class of its own, generated in C++
            raise EngineError(
                f"ONNX Runtime {ort.__version__} cannot run {graph.path} on this CPU "
                f"({' '.join(str(cause).split())[:300]}). Its kernels know fp32 and int8; use "
                "--precision fp32."
            ) from cause
        self.detail = (
            f"ONNX Runtime {ort.__version__}, CPU, {graph.precision}, {shown_threads(threads)}"
        )

    def _infer(self, images: np.ndarray) -> Outputs:
        return tuple(self._session.run(OUTPUTS, {INPUT: images}))

    def _free(self) -> None:
        del self._session
