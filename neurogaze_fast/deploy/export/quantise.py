"""An int8 graph from an fp32 one: Q/DQ pairs around convolutions and residual sums."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.deploy.engines.base import INPUT, missing
from neurogaze_fast.errors import DataError

if TYPE_CHECKING:
    import onnx

PERCENTILE = 99.999
"""Share of an activation's values that its int8 range covers; the rest is clipped."""
_BATCH = 16
OPERATORS = ("Conv", "Add")
"""What is quantised of a network with residual sums, and of any for TensorRT."""
PLAIN = (*OPERATORS, "Relu")
"""Of a network without: each convolution with the ReLU after it becomes one int8 operation."""


class _Reader:
    """Calibration faces in equal batches, handed over a few at a time: activations are large."""

    def __init__(self, faces: np.ndarray) -> None:
        whole = whole_batches(faces)
        self._batches = whole.reshape(-1, min(_BATCH, len(faces)), *faces.shape[1:])
        self._at, self._end = 0, len(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand over only the batches start_index to end_index."""
        self._at, self._end = start_index, end_index

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None at the end."""
        if self._at >= self._end:
            return None
        self._at += 1
        return {INPUT: self._batches[self._at - 1]}


def whole_batches(faces: np.ndarray) -> np.ndarray:
    """The faces that calibration uses: without a last batch that is smaller than the others."""
    return faces[: len(faces) // _BATCH * _BATCH] if len(faces) > _BATCH else faces


def quantised(
    model: onnx.ModelProto, faces: np.ndarray, *, unsigned: bool = False
) -> onnx.ModelProto:
    """The int8 form of an fp32 graph.

    Convolutions have int8 weights, symmetric and per output channel, and symmetric int8 input; a
    residual sum has both inputs quantised, without which engines fall back to floating point
    there. Pixels to normalised grey, the classifier, biases and the read-out stay float32.

    With `unsigned`, for CPU engines, input is uint8 with a zero point: what follows a ReLU uses all
    of its 256 levels, and ONNX Runtime, which would compute a signed convolution with a ReLU in
    floating point, takes both as one int8 operation. TensorRT reads signed input only.

    Args:
        model: from graph.build_onnx with float32.
        faces: uint8 [N, S, S, 3] the ranges of activations are taken from.

    Raises:
        ConfigError: onnxruntime is not installed. DataError: no faces.
    """
    if not len(faces):
        raise DataError(
            "int8 needs faces to take the ranges of activations from, and the train split has "
            "none. Name a face set with --data."
        )
    try:
        import onnx
        from onnxruntime import quantization as q
    except ModuleNotFoundError as cause:
        raise missing(cause.name or "onnxruntime", "onnx") from cause

    residual = residual_sums(model)
    others = [n.name for n in model.graph.node if n.op_type == "Add" and n.name not in residual]
    root = logging.getLogger()
    before = root.level
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "int8.onnx"
        root.setLevel(logging.ERROR)  # it advises passes that the exporter has done already
        try:
            q.quantize_static(
                model,
                path,
                _Reader(faces),
                quant_format=q.QuantFormat.QDQ,
                op_types_to_quantize=list(PLAIN if unsigned else OPERATORS),
                per_channel=True,
                activation_type=q.QuantType.QUInt8 if unsigned else q.QuantType.QInt8,
                weight_type=q.QuantType.QInt8,
                nodes_to_exclude=others,
                calibrate_method=q.CalibrationMethod.Percentile,
                extra_options={
                    "ActivationSymmetric": not unsigned,
                    "WeightSymmetric": True,
                    "CalibPercentile": PERCENTILE,
                    "CalibTensorRangeSymmetric": not unsigned,
                    "CalibStridedMinMax": 1,
                    # A sum's ReLU comes first, so that engines fuse it into the convolution.
                    "OpTypesToExcludeOutputQuantization": [] if unsigned else list(OPERATORS),
                    # TensorRT takes no int32 biases; the other engines quantise them themselves.
                    "QuantizeBias": False,
                },
            )
        finally:
            root.setLevel(before)
        return onnx.load(path, load_external_data=False)


def residual_sums(model: onnx.ModelProto) -> set[str]:
    """Names of the sums whose inputs are both computed: a block's branch and its shortcut."""
    fixed = {tensor.name for tensor in model.graph.initializer}
    fixed |= {n.output[0] for n in model.graph.node if n.op_type == "Constant"}
    return {
        node.name
        for node in model.graph.node
        if node.op_type == "Add" and not fixed.intersection(node.input)
    }
