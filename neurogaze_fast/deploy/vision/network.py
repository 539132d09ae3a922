"""A detector's graph in the fastest engine that gives the portable engine's boxes here.

OpenVINO in bf16 takes a third of ONNX Runtime's time for CenterFace. Whether it finds the same
faces is checked once for each processor, graph and version, on drawn faces, and the verdict is kept
in the cache folder; where it does not, OpenVINO in fp32 and then ONNX Runtime itself are taken, and
the detector's detail says why.
"""

from __future__ import annotations

import functools
import json
import queue
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neurogaze_fast.artifacts import atomic_write, sha256_bytes
from neurogaze_fast.deploy.engines.base import EngineError, import_library
from neurogaze_fast.deploy.engines.openvino_engine import computes_bf16, openvino_core
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.footprint import cache_folder

Outputs = list[np.ndarray]
Decode = Callable[[Outputs], np.ndarray]
"""A network's outputs for one picture -> boxes float32 [n, >= 5] with scores in column 4."""
VERDICTS = "detector-parity.json"
LEAST_OVERLAP = 0.8
"""Intersection over union that a box has with its counterpart at least."""
MOST_SCORE_CHANGE = 0.1
_SURE, _FOUND = 0.4, 0.3
"""A box that one engine scores `_SURE` must be one that the other scores `_FOUND`."""


class OnnxRuntimeNetwork:
    """The portable engine, which the others are measured by."""

    def __init__(self, data: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # it warns of every weight that is listed as an input
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self.detail = "ONNX Runtime fp32"

    def run(self, batch: np.ndarray) -> Outputs:
        """All outputs for float32 [n, 3, h, w]; threads may share it."""
        return self._session.run(None, {self._input: batch})


class OpenVinoNetwork:
    """OpenVINO on the CPU; as many pictures at a time as it has streams."""

    def __init__(self, data: bytes, precision: str, threads: int, streams: int) -> None:
        core = openvino_core()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": str(streams),
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(core.read_model(data), "CPU", settings)
        self._outputs = range(len(compiled.outputs))
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())
        self.detail = f"OpenVINO {precision}"

    def run(self, batch: np.ndarray) -> Outputs:
        """All outputs for float32 [n, 3, h, w]; threads may share it."""
        request = self._free.get()
        try:
            request.infer([batch], share_inputs=True)
            return [np.array(request.get_output_tensor(i).data, np.float32) for i in self._outputs]
        finally:
            self._free.put(request)


Network = OnnxRuntimeNetwork | OpenVinoNetwork


def open_network(
    data: bytes, decode: Decode, *, threads: int = 0, streams: int = 1
) -> tuple[Network, list[str]]:
    """(the fastest network that finds the same faces, why faster ones were passed over).

    Args:
        data: an ONNX graph that takes float32 [n, 3, h, w].
        decode: what makes boxes of its outputs, from a low score on.
        threads: of the engine, 0 for its choice; streams: pictures that are searched at a time.
    """
    passed: list[str] = []
    for precision in _precisions():
        try:
            network = OpenVinoNetwork(data, precision, threads, streams)
            why = _verdict(data, network, precision, decode)
        except (EngineError, ConfigError) as cause:
            why = str(cause)
        except RuntimeError as cause:  # of OpenVINO, for a graph or machine it does not take
            why = " ".join(str(cause).split())[:200]
        if not why:
            return network, passed
        passed.append(f"detector in OpenVINO {precision}: {why}")
    return OnnxRuntimeNetwork(data, threads), passed


def check_picture() -> np.ndarray:
    """uint8 [384, 512, 3]: twelve drawn faces of 60 to 130 pixels, the same on every machine."""
    from PIL import Image

    from neurogaze_fast.faces.synthetic import draw_faces

    canvas = Image.new("L", (512, 384), 128)
    for number, face in enumerate(draw_faces("valid", 12)[0]):
        row, column = divmod(number, 4)
        side = 60 + 70 * (number % 3) // 2
        drawn = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
        canvas.paste(drawn, (128 * column + (128 - side) // 2, 128 * row + (128 - side) // 2))
    return np.asarray(canvas.convert("RGB"))


def difference(wanted: np.ndarray, found: np.ndarray) -> str:
    """Why the boxes `found` are not those `wanted`, both [n, >= 5]; '' where they are."""
    if not len(wanted) or wanted[:, 4].max() < _SURE:
        return "it finds no face on the picture that engines are compared by"
    for ours, theirs in ((wanted, found), (found, wanted)):
        for box in ours[ours[:, 4] >= _SURE]:
            near = theirs[theirs[:, 4] >= _FOUND]
            overlaps = overlap(box, near)
            if not len(near) or overlaps.max() < LEAST_OVERLAP:
                return "it does not find the same faces"
            if abs(near[overlaps.argmax(), 4] - box[4]) > MOST_SCORE_CHANGE:
                return "its scores differ"
    return ""


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union [n] of left, top, right, bottom with each of [n, >= 4]."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:4], others[:, 2:4])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(box[2:4] - box[:2])
    areas = np.prod(others[:, 2:4] - others[:, :2], axis=1)
    return common / np.maximum(area + areas - common, 1e-9)


def _verdict(data: bytes, network: OpenVinoNetwork, precision: str, decode: Decode) -> str:
    """Why `network` may not be used, or ''; from the cache folder where it was found before."""
    key = sha256_bytes("\n".join((sha256_bytes(data), precision, *_machine())).encode())
    path = cache_folder() / VERDICTS
    known: dict[str, str] = {}
    try:
        known = json.loads(path.read_bytes())
        return str(known[key])
    except (OSError, ValueError, KeyError, TypeError):
        known = known if isinstance(known, dict) else {}
    batch = np.ascontiguousarray(check_picture().transpose(2, 0, 1)[None], np.float32)
    why = difference(decode(OnnxRuntimeNetwork(data, 0).run(batch)), decode(network.run(batch)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, (json.dumps({**known, key: why}, indent=1) + "\n").encode())
    except OSError:  # it is checked again the next time
        pass
    return why


def _precisions() -> Sequence[str]:
    try:
        return ("bf16", "fp32") if computes_bf16() else ("fp32",)
    except (EngineError, ConfigError):
        return ()  # OpenVINO is not here


@functools.cache
def _machine() -> tuple[str, ...]:
    """What a verdict holds for besides the graph."""
    import onnxruntime

    core = openvino_core()
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    version = import_library("openvino", "onnx").__version__
    return str(name), version, onnxruntime.__version__, str(LEAST_OVERLAP), str(MOST_SCORE_CHANGE)
