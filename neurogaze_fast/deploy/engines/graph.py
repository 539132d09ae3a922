"""The one graph that is exported: pixels in, probabilities and valence/arousal out."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurogaze_fast.deploy.engines.base import INPUT, OUTPUTS, missing
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL
from neurogaze_fast.reference.augment import MEAN, STD
from neurogaze_fast.student.compact import CompactNet
from neurogaze_fast.student.folding import fold
from neurogaze_fast.student.networks import Student

if TYPE_CHECKING:
    import onnx

PRODUCER = "neurogaze_fast"
LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey, as Pillow and JPEG have them."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OPSETS = {"fp32": 18, "fp16": 18, "bf16": 22}
"""Convolutions take bfloat16 from opset 22 on; nothing else here changed meaning since 18."""


class FaceGraph(nn.Module):
    """uint8 [N, S, S, 3] RGB -> (probabilities float32 [N, 8], valence_arousal float32 [N, 2]).

    Grey, resize (as training does it between the stored and the trained size: bilinear, pixel
    centres, edges repeated), normalisation, the student with its BatchNorm folded, softmax, and the
    read-out ``expected``. Only the student computes in `dtype`; the rest is float32.
    """

    luma: Tensor
    affect: Tensor

    def __init__(
        self,
        model: Student,
        size: int,
        input_size: int,
        dtype: torch.dtype = torch.float32,
        *,
        temperature: float = 1.0,
    ) -> None:
        """`size`: side the student was trained with; `input_size`: S; `temperature`: divides the
        logits, so that probabilities mean what they say."""
        super().__init__()
        self.student = folded(model).to(dtype)
        self.temperature = temperature
        self.size, self.input_size, self.dtype, self.channels = (
            size,
            input_size,
            dtype,
            model.channels,
        )
        # (grey / 255 - MEAN) / STD as one product and one sum.
        self.register_buffer("luma", torch.tensor(LUMA).div(255 * STD).unsqueeze(1))
        affect = torch.tensor([VALENCE_AROUSAL[name] for name in EMOTIONS])
        self.register_buffer("affect", affect)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, S, S, 3] -> (float32 [N, 8], float32 [N, 2])."""
        grey = images.to(torch.float32) @ self.luma - MEAN / STD
        grey = grey.permute(0, 3, 1, 2)
        if self.input_size != self.size:
            sides = (self.size, self.size)
            grey = F.interpolate(grey, size=sides, mode="bilinear", align_corners=False)
        if self.channels != 1:
            grey = grey.expand(-1, self.channels, -1, -1)
        logits = self.student(grey.to(self.dtype))[1]
        # A product, as every engine has it alike.
        probabilities = (logits.to(torch.float32) * (1 / self.temperature)).softmax(1)
        # A product and a sum: engines would round a matrix product to bf16 or TF32.
        return probabilities, (probabilities.unsqueeze(2) * self.affect).sum(1)


def folded(model: Student) -> Student:
    """A copy in evaluation mode whose convolutions include the BatchNorm that followed them."""
    if isinstance(model, CompactNet):
        model = model.folded()
        model.avgpool = _Mean()
        return model
    model = copy.deepcopy(model).float().cpu().eval().requires_grad_(False)
    model.avgpool = _Mean()
    for holder in list(model.modules()):
        children = dict(holder.named_children())
        if isinstance(holder, nn.Sequential) and isinstance(children.get("1"), nn.BatchNorm2d):
            pairs = [("0", "1")]  # a downsampling branch
        else:
            pairs = [(f"conv{i}", f"bn{i}") for i in range(1, 4) if f"bn{i}" in children]
        for convolution, norm in pairs:
            layer, statistics = children[convolution], children[norm]
            assert isinstance(layer, nn.Conv2d)
            assert isinstance(statistics, nn.BatchNorm2d)
            setattr(holder, convolution, fold(layer, statistics))
            setattr(holder, norm, nn.Identity())
    return model


class _Mean(nn.Module):
    """The mean over a map; AdaptiveAvgPool2d would be exported as a chain of index arithmetic."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return x.mean((2, 3))


def build_onnx(graph: FaceGraph, precision: str, metadata: dict[str, Any]) -> onnx.ModelProto:
    """Trace the graph with N dynamic; `metadata` is written into the file.

    Raises:
        ConfigError: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as cause:
        raise missing(cause.name or "onnx", "onnx") from cause
    side = graph.input_size
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), _quiet_exporter(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            opset_version=18,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("N", min=0)}},
            external_data=False,
            verbose=False,
        )
    assert program is not None  # as it is with dynamo
    model = program.model_proto
    model.opset_import[0].version = OPSETS[precision]
    tidy(model)
    describe(model, metadata)
    onnx.checker.check_model(model, full_check=precision != "bf16")
    return model


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's log lines on operators of torchvision, which no graph here has."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def tidy(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about its own source files: it names folders of this machine."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    model.doc_string = ""
    model.graph.name = PRODUCER


def describe(model: onnx.ModelProto, metadata: dict[str, Any]) -> None:
    """Write `metadata` into the file's properties: text as it is, the rest as JSON."""
    import onnx

    from neurogaze_fast import __version__

    model.producer_name, model.producer_version = PRODUCER, __version__
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    onnx.helper.set_model_props(model, texts)
