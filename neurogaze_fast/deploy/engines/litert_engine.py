"""LiteRT (.tflite): the runtime of phones and small boards; it runs on a PC's CPU, too."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from itertools import chain
from typing import Any

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
from neurogaze_fast.deploy.engines.onnx_safety import MAX_BYTES, OpenedGraph, check_metadata
from neurogaze_fast.errors import ArtifactError

LABELS, FACTS = "labels.txt", "neurogaze.json"
"""Files in the ZIP archive at the end of a .tflite, where Android's tools look for such files."""
OPERATORS = frozenset(
    "ADD BROADCAST_TO CAST CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MAX_POOL_2D "
    "MEAN MUL PAD PADV2 RESHAPE RESIZE_BILINEAR SOFTMAX SUB SUM TRANSPOSE".split()
)
"""All that `export` writes; others loop, keep state, or are no part of the runtime."""
_MOST = 10_000
"""Operator kinds, and tensors, of a file."""
_AGAIN = "Export the model again with `neurogaze-fast export RUN --engine litert`."


class LiteRTEngine(Engine):
    """An exported .tflite on LiteRT's CPU kernels (XNNPACK), one face after another."""

    name = "litert"

    def __init__(self, graph: OpenedGraph, threads: int = 0) -> None:
        """Load `graph`; `threads` 0: LiteRT's choice, which is one.

        Raises:
            ConfigError: ai-edge-litert is not installed. EngineError: it cannot run this file.
        """
        super().__init__(graph.input_size, graph.metadata["synthetic"])
        version = import_library("ai_edge_litert", "litert").__version__
        litert = import_library("ai_edge_litert.interpreter", "litert")
        try:
            interpreter = litert.Interpreter(model_content=graph.data, num_threads=threads or None)
            self._run = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as cause:
            raise EngineError(
                f"LiteRT {version} cannot run {graph.path} ({' '.join(str(cause).split())[:300]}). "
                "Install a newer ai-edge-litert, or use another --engine."
            ) from cause
        self.detail = f"LiteRT {version}, CPU, {graph.precision}, {shown_threads(threads)}"

    def _infer(self, images: np.ndarray) -> Outputs:
        answers = [self._run(**{INPUT: images[i : i + 1]}) for i in range(len(images))]
        probabilities, affect = (np.concatenate([a[name] for a in answers]) for name in OUTPUTS)
        return probabilities, affect

    def _free(self) -> None:
        del self._run


def check_litert(data: bytes, metadata: dict[str, Any], name: str) -> None:
    """Refuse a .tflite that holds anything but what `export` writes.

    Raises:
        ArtifactError: metadata of another form, foreign operators, several graphs, more values
            than a file may have bytes, or facts that its manifest contradicts.
        ConfigError: ai-edge-litert is not installed. EngineError: it is broken.
    """
    check_metadata(metadata, name)
    schema = import_library("ai_edge_litert.schema_py_generated", "litert")
    try:
        reason = next(chain(_contents(schema, data), _facts(data, metadata)), None)
    except Exception as cause:  # reading a damaged file, Python's own errors of many classes come
        raise ArtifactError(
            f"{name} is no LiteRT file of this package ({type(cause).__name__}). {_AGAIN}"
        ) from cause
    if reason is not None:
        raise ArtifactError(f"{name} was refused: {reason}. {_AGAIN}")


def _contents(schema: Any, data: bytes) -> Iterator[str]:
    model = schema.Model.GetRootAs(data, 0)
    if not schema.Model.ModelBufferHasIdentifier(data, 0) or model.SubgraphsLength() != 1:
        yield "it is not one LiteRT graph"
    graph, kinds = model.Subgraphs(0), model.OperatorCodesLength()
    if max(kinds, graph.TensorsLength()) > _MOST:
        yield f"it has {kinds} operators and {graph.TensorsLength()} tensors"
    known = {getattr(schema.BuiltinOperator, operator) for operator in OPERATORS}
    for code in (model.OperatorCodes(i) for i in range(kinds)):
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # as runtimes read it
        if number not in known or code.CustomCode() is not None:
            yield f"export never writes its operator number {number}"
    shapes = (graph.Tensors(i).ShapeAsNumpy() for i in range(graph.TensorsLength()))
    values = sum(math.prod(map(int, shape)) for shape in shapes if not isinstance(shape, int))
    if values > MAX_BYTES:
        yield f"its tensors have {values} values"


def _facts(data: bytes, metadata: dict[str, Any]) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.getinfo(FACTS).file_size > 100_000:
            yield f"its {FACTS} is too large"
        said = json.loads(archive.read(FACTS))
    if said["model_sha256"] != metadata["model"]["sha256"]:
        yield "it names another model than its manifest"
    for key in said.keys() & metadata.keys():
        if said[key] != metadata[key]:
            yield f"it says {said[key]!r:.40} for {key}, and its manifest {metadata[key]!r:.40}"
