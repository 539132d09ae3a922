"""Options of ``export``; the docstring under each field is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.config import Faces, require

ExportEngine = Literal["onnx", "openvino", "onnxruntime", "litert", "tensorrt", "tensorrt-rtx"]


@dataclass(frozen=True)
class ExportConfig:
    """Export a trained run for inference, and compare the engine's answers with the model's."""

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """Run folder, or a model.safetensors file."""
    engine: ExportEngine = "openvino"
    """Engine to export for; onnx: only the graph, compared through ONNX Runtime; litert: a .tflite
    for phones and small boards."""
    precision: Literal["fp32", "fp16", "bf16", "int8"] | None = None
    """Precision; by default bf16 for openvino where the processor has it and fp16 for TensorRT, or
    fp32 where that changes answers; fp32 for the others."""
    input_size: int | None = None
    """Side of the faces that the graph takes; by default the side trained with. Another one is
    resized inside the graph, as training resizes stored images."""
    data: Path | None = None
    """Folder of the face set to compare on (and calibrate int8 on); by default the one the run was
    trained on."""
    faces: Faces | None = None
    """Kind of face set; by default told from what lies in --data, or the run's."""
    calibrate: bool = True
    """Divide the logits in the graph by the temperature that the run fitted to the raters' votes on
    valid, so that a probability of 0.7 means 70 % of the raters; labels stay."""
    out: Path | None = None
    """Folder for graphs, engines and reports; by default RUN/export."""
    triton: Path | None = None
    """Also write a Triton model repository into this folder, unless the answers changed too much
    (not of a bf16 graph, nor with --engine litert)."""
    hub: Path | None = None
    """Also write a folder for the Hugging Face Hub (weights, graph, model card), unless the answers
    changed too much; `Predictor.from_pretrained` opens it."""
    parity_faces: int = 1000
    """Faces of valid to compare on, at most."""
    calibration_faces: int = 512
    """Faces of train that int8 takes the ranges of activations from."""
    threads: int = 0
    """CPU threads of the engine; 0: its choice."""
    json: bool = False
    """Print report, remarks and files as JSON instead of a table."""

    def __post_init__(self) -> None:
        side = self.input_size
        require(side is None or 16 <= side <= 1024, "input_size", side, "in [16, 1024]")
        for name in ("parity_faces", "calibration_faces"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        ready = self.engine != "litert" or (self.triton is None and self.hub is None)
        require(ready, "engine", self.engine, "another one with --triton or --hub: they take ONNX")
        require(self.threads >= 0, "threads", self.threads, "0 or more")
