"""What there is to run below a path: a checkpoint, and the graphs exported from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.deploy.engines.base import EngineError
from neurogaze_fast.deploy.engines.litert_engine import check_litert
from neurogaze_fast.deploy.engines.onnx_safety import (
    PRECISIONS,
    OpenedGraph,
    check_metadata,
    open_graph,
)
from neurogaze_fast.errors import ArtifactError, CheckpointError
from neurogaze_fast.student.model_file import MODEL_FILE, model_path

EXPORT_FOLDER = "export"


@dataclass(frozen=True)
class Source:
    """What there is to run below a path."""

    path: Path
    checkpoint: Path | None
    graphs: dict[str, Path]
    """Precision -> exported graph."""
    litert: bool = False
    """The graphs are .tflite files, not .onnx."""

    def graph(self, precision: str) -> OpenedGraph:
        """The graph of a precision, verified.

        Raises:
            EngineError: none was exported. ArtifactError: it is damaged, or of another model.
        """
        if precision not in self.graphs:
            engine = "litert" if self.litert else "onnx"
            options = f" --engine {engine} --precision {precision}"
            if (engine, precision) == ("onnx", "fp32"):
                options = ""  # it makes the report by which engines choose, too
            raise EngineError(
                f"{self.path} has no {precision} graph: make it with "
                f"`neurogaze-fast export {self.path}{options}`."
            )
        graph = open_graph(self.graphs[precision], check_litert if self.litert else None)
        if self.checkpoint is not None:
            own = read_manifest(self.checkpoint, CheckpointError)["sha256"]
            if graph.metadata["model"]["sha256"] != own:
                raise ArtifactError(
                    f"{graph.path} was exported from another model than {self.checkpoint} is "
                    "now. Move the export folder away and export again."
                )
        return graph


def find_source(path: Path, *, litert: bool = False) -> Source:
    """What there is to run at a path; with `litert`, for that engine.

    Raises:
        CheckpointError: nothing. ArtifactError: a graph whose manifest is missing or altered.
        EngineError: a graph for other engines.
    """
    if path.suffix in (".onnx", ".tflite"):
        if litert != (path.suffix == ".tflite"):
            fitting = "openvino or onnxruntime" if litert else "litert"
            raise EngineError(f"{path} is not for this engine: use --engine {fitting}.")
        metadata = check_metadata(read_manifest(path).get("provenance"), str(path))
        return Source(path, None, {metadata["precision"]: path}, litert)
    if path.suffix == ".safetensors":
        return Source(path, model_path(path), {})
    checkpoint = path / MODEL_FILE
    for folder in (path / EXPORT_FOLDER, path):
        there = {name: graph_file(folder, name, litert=litert) for name in PRECISIONS}
        graphs = {name: file for name, file in there.items() if file.exists()}
        if graphs:
            break
    if not graphs:
        checkpoint = model_path(path)  # which says what to do where there is none
    return Source(path, checkpoint if checkpoint.exists() else None, graphs, litert)


def graph_file(folder: Path, precision: str, *, litert: bool = False) -> Path:
    """Where an exported graph lies; names differ before the suffix, for manifests lose theirs."""
    return folder / (f"litert-{precision}.tflite" if litert else f"{precision}.onnx")


def newest_run(root: Path = Path("runs")) -> Path:
    """The newest run folder below `root` that training finished.

    Raises:
        CheckpointError: there is none.
    """
    files = sorted(Path(root).glob(f"*/{MODEL_FILE}"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        raise CheckpointError(
            f"There is no finished run in {root}. Name one with --model RUN, or train one: `python "
            "-m neurogaze_fast.train`."
        )
    return files[-1].parent
