"""From a run to a graph, an engine and a report on whether both still give the same answers."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurogaze_fast.artifacts import atomic_write, write_artifact
from neurogaze_fast.deploy.engines.base import INPUT, OUTPUTS, EngineError
from neurogaze_fast.deploy.engines.graph import DTYPES, FaceGraph, build_onnx, describe, tidy
from neurogaze_fast.deploy.engines.litert_build import build_litert, converter
from neurogaze_fast.deploy.engines.litert_engine import check_litert
from neurogaze_fast.deploy.engines.onnx_safety import KIND, OpenedGraph, check_graph, open_graph
from neurogaze_fast.deploy.engines.open import open_engine, parity_file
from neurogaze_fast.deploy.engines.source import EXPORT_FOLDER, graph_file
from neurogaze_fast.deploy.engines.tensorrt_build import build, built_engine, library
from neurogaze_fast.deploy.export.config import ExportConfig
from neurogaze_fast.deploy.export.parity import compare, remarks_of, take_faces
from neurogaze_fast.deploy.licence import licence
from neurogaze_fast.deploy.vision.crop import MARGIN
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.environment import environment
from neurogaze_fast.errors import ConfigError, OutputExistsError
from neurogaze_fast.evaluation.run_record import (
    RunRecord,
    find_faces,
    kind_trained_on,
    read_run,
)
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.student.compact import CompactNet

GPU_ENGINES = ("tensorrt", "tensorrt-rtx")
VARYING = ("environment",)
"""What two exports of the same model and options may differ in."""


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    graph: OpenedGraph
    reused: bool
    """The graph was there already."""
    engine_file: Path | None
    """The TensorRT engine, where one was built and kept."""
    report: dict[str, Any] | None
    """Parity; None where the engine cannot run on this machine."""
    report_file: Path | None
    remarks: list[str]


def export(config: ExportConfig) -> Exported:
    """Write the graph (or reuse it), open the engine, compare, and write the report.

    Where no precision is named and the engine's best one changes answers too much, fp32 is exported
    instead; the remarks say so.

    Raises:
        OutputExistsError: a graph of another model or of other options is there.
        ConfigError, EngineError: packages or this machine lack something.
        DataError, ArtifactError, CheckpointError: the run or the faces cannot be read.
    """
    precision = config.precision or _default_precision(config.engine)
    done = _export(config, precision)
    report = done.report
    if config.precision is not None or precision == "fp32" or report is None or report["passed"]:
        return done
    why = "; ".join(report["reasons"])
    remark = f"{precision} was tried first and is not used: {why} ({done.report_file})."
    exact = _export(config, "fp32")
    return replace(exact, remarks=[remark, *exact.remarks])


def _export(config: ExportConfig, precision: str) -> Exported:
    run = read_run(config.run)
    folder = config.out or run.folder / EXPORT_FOLDER
    # OpenVINO computes bf16 from the fp32 graph; for the others the graph itself is typed.
    stored = "fp32" if (config.engine, precision) == ("openvino", "bf16") else precision
    _refuse_early(config.engine, precision)
    graphs = Graphs(run, config, folder)
    if config.engine not in GPU_ENGINES:
        graphs.faces  # noqa: B018  (a set that cannot be read is said before the work)
    graph, reused = graphs.graph(stored)
    remarks: list[str] = []
    engine_file = None
    if config.engine in GPU_ENGINES:
        trt = library(config.engine)
        if not torch.cuda.is_available():
            build(trt, graph)
            remarks.append(
                "No GPU here: checked that the engine builds. It was not run and not kept, for an "
                "engine is only loaded on the GPU it was built on. Export again on the serving "
                "machine."
            )
            return Exported(graph, reused, None, None, None, remarks)
        _, engine_file, remark = built_engine(trt, graph)
        remarks += [remark] if remark else []
    try:
        name = "onnxruntime" if config.engine == "onnx" else config.engine
        engine = open_engine(graph.path, name, precision=precision, threads=config.threads)
    except EngineError as cause:
        if config.engine != "onnx":
            raise
        remarks.append(f"The graph was not compared with the model: {cause}")
        return Exported(graph, reused, None, None, None, remarks)
    try:
        split = "valid" if "valid" in graphs.faces.splits else "all"
        chosen = take_faces(graphs.faces, split, config.parity_faces, engine.input_size)
        report = compare(
            engine,
            precision,
            run.model,
            run.metadata["size"],
            chosen,
            temperature=graphs.temperature,
        )
    finally:
        engine.close()
    report["graph_sha256"] = graph.sha256
    report["file_bytes"] = (engine_file or graph.path).stat().st_size
    file = parity_file(folder, config.engine, precision)
    atomic_write(file, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    remarks += remarks_of(run, graphs.faces, graph.input_size, graphs.temperature)
    return Exported(graph, reused, engine_file, report, file, remarks)


def _default_precision(engine: str) -> str:
    if engine == "openvino":
        from neurogaze_fast.deploy.engines.openvino_engine import computes_bf16

        return "bf16" if computes_bf16() else "fp32"
    return "fp16" if engine.startswith("tensorrt") else "fp32"


def _refuse_early(engine: str, precision: str) -> None:
    """Say at once what would fail after the work."""
    if engine in GPU_ENGINES:
        library(engine)
    if engine == "litert":
        converter()
        if precision not in ("fp32", "int8"):
            raise ConfigError(f"LiteRT files are fp32 or int8, not {precision}: see --precision.")
    if engine == "openvino" and precision == "fp16":
        raise ConfigError(
            "OpenVINO computes fp32, bf16 or int8 on a CPU, not fp16: choose one of them with "
            "--precision."
        )
    if engine == "onnxruntime" and precision == "bf16":
        raise ConfigError(
            "ONNX Runtime has no bf16 kernels for CPUs: use --precision fp32 or int8, or --engine "
            "openvino."
        )


class Graphs:
    """The graphs of one export folder."""

    def __init__(self, run: RunRecord, config: ExportConfig, folder: Path) -> None:
        self.run, self.config, self.folder = run, config, folder

    @functools.cached_property
    def faces(self) -> FaceSet:
        """The set to compare and calibrate on."""
        return find_faces(self.run, self.config.faces, self.config.data)[1]

    @property
    def side(self) -> int:
        """S of the graph."""
        return self.config.input_size or self.run.metadata["size"]

    @property
    def temperature(self) -> float:
        """What the logits are divided by."""
        return self.run.temperature if self.config.calibrate else 1.0

    @property
    def litert(self) -> bool:
        """Whether the graph is a .tflite."""
        return self.config.engine == "litert"

    @property
    def unsigned(self) -> bool:
        """Whether an int8 graph has uint8 activations: plain convolutions, for CPU engines."""
        other = self.litert or self.config.engine in GPU_ENGINES
        return not other and isinstance(self.run.model, CompactNet)

    def graph(self, precision: str) -> tuple[OpenedGraph, bool]:
        """(the graph, whether it was there already)."""
        path = graph_file(self.folder, precision, litert=self.litert)
        check = check_litert if self.litert else check_graph
        calibration = self._calibration() if precision == "int8" and not self.litert else None
        metadata = self._metadata(precision, calibration)
        if path.exists():
            found = open_graph(path, check)
            different = sorted(
                key
                for key in {*metadata, *found.metadata} - set(VARYING)
                if metadata.get(key) != found.metadata.get(key)
            )
            if different:
                raise OutputExistsError(
                    f"{path} exists and was left alone: it was exported with another "
                    f"{', '.join(different)}. Choose another --out, or move it away."
                )
            return found, True
        data = self._build(precision, metadata, calibration)
        check(data, metadata, str(path))
        write_artifact(path, data, metadata)
        return open_graph(path, check), False

    def _build(self, precision: str, metadata: dict[str, Any], calibration: Any) -> bytes:
        size = self.run.metadata["size"]
        base = "fp32" if precision == "int8" else precision
        data_set = kind_trained_on(self.run)
        said = {
            "emotions": metadata["emotions"],
            "model_sha256": metadata["model"]["sha256"],
            "precision": precision,
            "input_size": metadata["input_size"],
            "size": metadata["size"],
            "temperature": metadata["temperature"],
            "crop_margin": MARGIN,
            "synthetic": metadata["synthetic"],
            "licence": licence(data_set, metadata["synthetic"]),
            "source": {"set": data_set, "sha256": self.run.metadata["data"].get("sha256")},
            "valence_arousal": metadata["valence_arousal"],
            "versions": {k: metadata["environment"][k] for k in ("neurogaze_fast", "torch")},
        }
        graph = FaceGraph(
            self.run.model, size, self.side, DTYPES[base], temperature=self.temperature
        )
        if self.litert:
            return build_litert(graph, precision, said)
        model = build_onnx(graph, base, said)
        if precision != "int8":
            return model.SerializeToString()
        from neurogaze_fast.deploy.export.quantise import quantised

        model = quantised(model, calibration[0], unsigned=self.unsigned)
        tidy(model)
        describe(model, said)
        return model.SerializeToString()

    def _calibration(self) -> tuple[np.ndarray, dict[str, Any]]:
        """(uint8 [N, S, S, 3], what they are) of the train split."""
        from neurogaze_fast.deploy.export.quantise import whole_batches

        split = "train" if "train" in self.faces.splits else "all"
        chosen = take_faces(self.faces, split, self.config.calibration_faces, self.side)
        images = whole_batches(chosen.images)
        digest = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        metadata = {"n": len(images), "split": split, "pixels_sha256": digest}
        return images, {**metadata, "synthetic": chosen.synthetic}

    def _metadata(self, precision: str, calibration: Any) -> dict[str, Any]:
        run = self.run
        unsigned = precision == "int8" and self.unsigned
        return {
            **({"activations": "uint8"} if unsigned else {}),
            "kind": KIND,
            "precision": precision,
            "input": INPUT,
            "input_size": self.side,
            "outputs": list(OUTPUTS),
            "valence_arousal": "expected",
            "size": run.metadata["size"],
            "temperature": self.temperature,
            "emotions": list(EMOTIONS),
            "model": {
                "sha256": run.model_sha256,
                **{key: run.metadata[key] for key in ("architecture", "stem", "channels")},
            },
            "synthetic": run.metadata["synthetic"],
            "calibration": None if calibration is None else calibration[1],
            "environment": environment(),
        }
