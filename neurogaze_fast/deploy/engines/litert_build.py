"""From torch to a .tflite, with its labels and facts inside; nothing goes over ONNX."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neurogaze_fast.deploy.engines.base import INPUT, OUTPUTS, import_library, readable
from neurogaze_fast.deploy.engines.graph import FaceGraph
from neurogaze_fast.deploy.engines.litert_engine import FACTS, LABELS
from neurogaze_fast.emotions import EMOTIONS

_FAILURE = "litert-torch cannot convert this model", "Use another --engine."


class _Named(nn.Module):
    """The graph with its outputs' names, which become those of the file."""

    def __init__(self, graph: FaceGraph) -> None:
        super().__init__()
        self.faces = graph  # torch.fx keeps its own `graph`

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(OUTPUTS, self.faces(images), strict=True))


def converter() -> Any:
    """litert-torch, with its progress lines switched off.

    Raises:
        ConfigError: not installed. EngineError: installed, but broken.
    """
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_library("ai_edge_quantizer", "litert")
        return import_library("litert_torch", "litert")


def build_litert(graph: FaceGraph, precision: str, facts: dict[str, Any]) -> bytes:
    """The .tflite of one face: fp32, or int8 as :func:`_quantised`; `facts` are written into it.

    Raises:
        ConfigError: litert-torch is not installed. EngineError: it is broken, or cannot convert.
    """
    litert = converter()
    face = torch.zeros(1, graph.input_size, graph.input_size, 3, dtype=torch.uint8)
    with readable(*_FAILURE), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fp32.tflite"
            litert.convert(_Named(graph).eval(), sample_kwargs={INPUT: face}).export(str(path))
            data = _quantised(path) if precision == "int8" else path.read_bytes()
    return _described(data, facts)


def _quantised(path: Path) -> bytes:
    """int8 weights of every convolution, per output channel; activations become int8 while it runs.

    So it needs no faces to take ranges from, and it was both closer to the model and no slower than
    ranges fixed beforehand. The sum that makes grey of colours and the classifier stay float32.
    """
    from ai_edge_quantizer import qtyping, quantizer

    work = quantizer.Quantizer(str(path))
    work.add_dynamic_config(".*", qtyping.TFLOperationName.CONV_2D, num_bits=8)
    return bytes(work.quantize().quantized_model)


def _described(data: bytes, facts: dict[str, Any]) -> bytes:
    """The file with a ZIP archive of labels and facts behind the graph, as the format allows."""
    texts = {LABELS: "\n".join(EMOTIONS) + "\n", FACTS: json.dumps(facts, indent=1) + "\n"}
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # of 1980: the same bytes every time
    return file.getvalue()
