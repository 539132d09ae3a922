"""Plain torch: runs a checkpoint as it is, on CPU or GPU; the fallback where nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.deploy.engines.base import Engine, EngineError, Outputs, shown_threads
from neurogaze_fast.deploy.engines.graph import DTYPES, FaceGraph
from neurogaze_fast.device import pick_device
from neurogaze_fast.errors import CheckpointError
from neurogaze_fast.evaluation.metrics_file import read_metrics
from neurogaze_fast.student.inference import load_model
from neurogaze_fast.student.model_file import model_path


class TorchEngine(Engine):
    """A student with its BatchNorm folded, channels_last, in inference mode."""

    name = "torch"

    def __init__(
        self,
        path: Path,
        precision: str = "fp32",
        threads: int = 0,
        *,
        device: str = "auto",
        input_size: int | None = None,
    ) -> None:
        """Load a run folder or model file; `threads` other than 0 sets torch's for the process.

        Raises:
            CheckpointError: missing, altered, not a student. EngineError: `precision` cannot be, or
                the device has no room.
        """
        model, metadata = load_model(path)
        if not isinstance(metadata.get("synthetic"), bool):
            raise CheckpointError(
                f"{path} does not say whether it was trained on drawn faces: its manifest was "
                "edited. Restore it from a copy of the run."
            )
        size = metadata["size"]
        super().__init__(input_size or size, metadata["synthetic"])
        where = pick_device(device)
        if precision not in DTYPES or (precision == "fp16" and where.type == "cpu"):
            choices = "fp32 or bf16" if where.type == "cpu" else "fp32, fp16 or bf16"
            raise EngineError(
                f"The torch engine cannot compute {precision} on this device ({where.type}): use "
                f"--precision {choices}."
            )
        if threads:
            torch.set_num_threads(threads)
        file = model_path(path)
        temperature = read_metrics(file, read_manifest(file)["sha256"]).get("once", {})
        graph = FaceGraph(
            model, size, self.input_size, DTYPES[precision],
            temperature=temperature.get("temperature", 1.0),
        )  # fmt: skip
        try:
            self._graph = graph.to(where).to(memory_format=torch.channels_last).eval()
        except RuntimeError as cause:
            text = " ".join(str(cause).split())[:300]
            raise EngineError(
                f"torch cannot bring the model to this device ({where.type}): {text}. Free its "
                "memory, or hide it with CUDA_VISIBLE_DEVICES=."
            ) from cause
        self._device = where
        shown = f"CUDA {torch.cuda.get_device_name(where)}" if where.type == "cuda" else "CPU"
        count = shown_threads(threads or torch.get_num_threads())
        self.detail = f"torch {torch.__version__}, {shown}, {precision}" + (
            f", {count}" if where.type == "cpu" else ""
        )

    def _infer(self, images: np.ndarray) -> Outputs:
        # A copy where the caller's array is read-only: torch cannot hold such memory.
        batch = torch.from_numpy(images if images.flags.writeable else images.copy())
        with torch.inference_mode():
            probabilities, affect = self._graph(batch.to(self._device))
            return probabilities.cpu().numpy(), affect.cpu().numpy()

    def _free(self) -> None:
        del self._graph
