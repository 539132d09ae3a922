"""One way to open any engine, and which one is taken where nobody says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurogaze_fast.deploy.engines.base import Engine, EngineError, readable
from neurogaze_fast.deploy.engines.onnx_safety import PRECISIONS, OpenedGraph
from neurogaze_fast.deploy.engines.source import Source, find_source
from neurogaze_fast.errors import ConfigError

ENGINES = ("onnx", "openvino", "onnxruntime", "litert", "tensorrt", "tensorrt-rtx", "torch")
"""`onnx` only names the export; `torch` runs the checkpoint itself and needs no export."""


def open_engine(
    path: Path,
    engine: str = "auto",
    *,
    precision: str | None = None,
    threads: int = 0,
    strict: bool = False,
) -> Engine:
    """Open the model at `path` for inference.

    Args:
        path: run folder (its exports lie in RUN/export), folder of an export, exported .onnx or
            .tflite file, or model.safetensors (torch only).
        engine: one of ENGINES but onnx; auto: TensorRT where there are a GPU and it, else OpenVINO,
            ONNX Runtime, torch. What was passed over, and why, is in `engine.passed_over`.
        precision: fp32, fp16, bf16 or int8; by default what the engine does best with what was
            exported and proven by a parity report. int8 is never taken unasked where there is a
            checkpoint to run instead.
        threads: of the CPU; 0: the engine's choice.
        strict: with auto, the first choice must work.

    Raises:
        ConfigError: unknown words, or a missing package. EngineError: no engine can be opened.
        ArtifactError, CheckpointError: a file is missing, altered, or not what its manifest says.
    """
    if precision is not None and precision not in PRECISIONS:
        raise ConfigError(
            f"The precision {precision!r} is unknown: choose one of {', '.join(PRECISIONS)}."
        )
    if engine != "auto" and (engine not in ENGINES or engine == "onnx"):
        names = ", ".join(("auto", *(name for name in ENGINES if name != "onnx")))
        raise ConfigError(f"The engine {engine!r} cannot run a model: choose one of {names}.")
    if threads < 0:
        raise ConfigError(f"The number of threads is {threads}; it must be 0 or more.")
    path = Path(path)
    if engine == "auto" and path.suffix == ".tflite":
        engine = "litert"
    source = find_source(path, litert=engine == "litert")
    if engine != "auto":
        return _open(engine, source, precision, threads)
    passed: list[str] = []
    for name in _order():
        try:
            opened = _open(name, source, precision, threads)
        except (EngineError, ConfigError) as cause:
            if strict:
                raise
            passed.append(f"{name}: {cause}")
            continue
        opened.passed_over[:0] = passed
        return opened
    raise EngineError(f"No engine can run {path}. " + " ".join(passed))


def _open(engine: str, source: Source, precision: str | None, threads: int) -> Engine:
    with readable(f"{engine} cannot run {source.path}", "Use another --engine."):
        return _OPEN[engine](source, precision, threads)


def parity_file(folder: Path, engine: str, precision: str) -> Path:
    """Where the parity report of an engine and precision lies."""
    return Path(folder) / f"{engine}-{precision}.parity.json"


def _order() -> tuple[str, ...]:
    gpu = ("tensorrt", "tensorrt-rtx") if _gpu_here() else ()
    return (*gpu, "openvino", "onnxruntime", "torch")


def _gpu_here() -> bool:
    """Asks torch only where a driver shows a device: importing it takes seconds."""
    devices = ("/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/dev/dxg")  # servers, Jetson, WSL
    if sys.platform == "linux" and not any(Path(device).exists() for device in devices):
        return False
    import torch

    return torch.cuda.is_available()


def _openvino(source: Source, precision: str | None, threads: int) -> Engine:
    from neurogaze_fast.deploy.engines.openvino_engine import OpenVinoEngine, computes_bf16

    notes: list[str] = []
    if precision is None:
        graph, notes = _unasked(source, "openvino", ("fp32",), ("int8",))
        precision = graph.precision
        if precision == "fp32" and computes_bf16():
            held = _parity(graph, "openvino", "bf16")
            precision = "bf16" if held else "fp32"
            notes += [] if held else [_doubt("openvino", "bf16", held)]
    else:
        graph = source.graph("fp32" if precision == "bf16" else precision)
    opened = OpenVinoEngine(graph, precision, threads)
    opened.passed_over += notes
    return opened


def _unasked(
    source: Source, engine: str, precisions: tuple[str, ...], alone: tuple[str, ...]
) -> tuple[OpenedGraph, list[str]]:
    """The graph to run where nobody names a precision, and what should be said of it.

    The first of `precisions` that is fp32 or whose parity report passed; else, where one has no
    report, that one with a note. `alone`: likewise, where no checkpoint can be run instead.

    Raises:
        EngineError: none was exported, or each one's report failed. ArtifactError: as open_graph.
    """
    notes: list[str] = []
    unproven: OpenedGraph | None = None
    for precision in (*precisions, *(() if source.checkpoint else alone)):
        if precision not in source.graphs:
            continue
        graph = source.graph(precision)
        held = precision == "fp32" or _parity(graph, engine, precision)
        if held:
            if precision in alone:
                notes.append(f"{engine} in {precision}: {source.path} holds no better graph")
            return graph, notes
        notes.append(_doubt(engine, precision, held))
        if held is None:
            unproven = unproven or graph
    if unproven is not None:
        return unproven, notes
    if notes:
        raise EngineError(f"{source.path} has no graph to take unasked. {'; '.join(notes)}.")
    return source.graph(precisions[0]), notes  # which says what to export


def _parity(graph: OpenedGraph, engine: str, precision: str) -> bool | None:
    """Whether a precision's parity report passed; None where this graph has none."""
    try:
        report: dict[str, Any] = json.loads(
            parity_file(graph.path.parent, engine, precision).read_text(encoding="utf-8")
        )
        return report["passed"] is True if report["graph_sha256"] == graph.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _doubt(engine: str, precision: str, held: bool | None) -> str:
    """Why a precision is not taken unasked, or only for want of a better one."""
    if held is False:
        return f"{engine} in {precision}: its parity report says that it changes answers"
    return (
        f"{engine} in {precision}: no parity report for this graph; "
        f"`neurogaze-fast export RUN --engine {engine} --precision {precision}` makes one"
    )


def _onnxruntime(source: Source, precision: str | None, threads: int) -> Engine:
    from neurogaze_fast.deploy.engines.onnxruntime_engine import OnnxRuntimeEngine

    if precision:
        return OnnxRuntimeEngine(source.graph(precision), threads)
    graph, notes = _unasked(source, "onnxruntime", ("fp32",), ("fp16", "int8"))
    opened = OnnxRuntimeEngine(graph, threads)
    opened.passed_over += notes
    return opened


def _litert(source: Source, precision: str | None, threads: int) -> Engine:
    from neurogaze_fast.deploy.engines.litert_engine import LiteRTEngine

    if precision:
        return LiteRTEngine(source.graph(precision), threads)
    graph, notes = _unasked(source, "litert", ("fp32",), ("int8",))
    opened = LiteRTEngine(graph, threads)
    opened.passed_over += notes
    return opened


def _torch(source: Source, precision: str | None, threads: int) -> Engine:
    from neurogaze_fast.deploy.engines.torch_engine import TorchEngine

    if source.checkpoint is None:
        raise EngineError(
            f"The torch engine needs a run folder or a model.safetensors, and {source.path} is an "
            "exported graph only. Choose --engine openvino or onnxruntime."
        )
    return TorchEngine(source.checkpoint, precision or "fp32", threads)


def _tensorrt(name: str) -> Callable[[Source, str | None, int], Engine]:
    def open_it(source: Source, precision: str | None, _threads: int) -> Engine:
        from neurogaze_fast.deploy.engines.tensorrt_engine import TensorRTEngine, library

        trt = library(name)  # before the graph: a missing package is the clearer reason
        if precision:
            return TensorRTEngine(trt, source.graph(precision))
        graph, notes = _unasked(source, name, ("fp16", "fp32", "bf16"), ("int8",))
        opened = TensorRTEngine(trt, graph)
        opened.passed_over += notes
        return opened

    return open_it


_OPEN: dict[str, Callable[[Source, str | None, int], Engine]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "litert": _litert,
    "tensorrt": _tensorrt("tensorrt"),
    "tensorrt-rtx": _tensorrt("tensorrt-rtx"),
    "torch": _torch,
}
