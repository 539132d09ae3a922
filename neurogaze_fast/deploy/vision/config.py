"""Options of predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.config import require
from neurogaze_fast.deploy.vision.certainty import UNCERTAIN_BELOW
from neurogaze_fast.deploy.vision.crop import MARGIN, MAX_FACES, MIN_FACE
from neurogaze_fast.errors import ConfigError

DEFAULT_OUT = Path("predictions")
EngineChoice = Literal[
    "auto", "openvino", "onnxruntime", "litert", "tensorrt", "tensorrt-rtx", "torch"
]


@dataclass(frozen=True)
class PredictConfig:
    """Find faces in pictures, videos or a camera's stream, and say what they express."""

    inputs: Positional[Annotated[tuple[str, ...], arg(metavar="INPUT...")]] = ()
    """Pictures, videos, folders of them (with their subfolders), patterns such as 'shots/*.jpg',
    and addresses (http, https, rtsp)."""
    model: Path | None = None
    """Run folder, exported .onnx or .tflite, or model.safetensors; newest: the newest run in runs/;
    by default the model inside the package."""
    engine: EngineChoice = "auto"
    """What computes the answers; auto takes the fastest that works here."""
    threads: int = 0
    """CPU threads of the engine and the face detector; 0 lets them choose."""
    detect: bool = True
    """Look for faces; with --no-detect every picture is taken for one face, cut out already."""
    detector: str = "centerface"
    """What looks for them: centerface, yunet, or the .onnx file of either."""
    detect_size: Annotated[int | Literal["auto"], arg(metavar="auto|N")] = "auto"
    """Pixels of the longer side at which pictures are searched; auto: their own, at most 1280. 640
    takes a quarter of the time and loses small faces in crowds."""
    detect_every: Annotated[int | Literal["auto"], arg(metavar="auto|N")] = "auto"
    """Of a video, frames between two searches for faces, which are followed between them; auto:
    five searches a second."""
    upright: bool = True
    """Turn tilted faces upright before they are cut out."""
    camera: int | None = None
    """Number of a camera to watch instead of files (0 is the first one); q or Ctrl-C ends it."""
    out: Path | None = None
    """Folder for annotated copies and results, by default predictions/. A camera is recorded only
    where this is given."""
    json: Path | None = None
    """JSON file of the results; by default OUT/results.json."""
    csv: Path | None = None
    """Table of the results, a row for each face; by default OUT/results.csv."""
    parquet: Path | None = None
    """The table as Parquet, too (needs pyarrow)."""
    resume: bool = False
    """Go on where the same command was stopped; of long videos, after the last whole minute."""
    margin: float = MARGIN
    """How much longer than the face the square around it is: 0.05 makes it 1.05 times the longer
    side of the box that was found. FERPlus's faces are cut so (median 1.05, most 0.98 to 1.17)."""
    min_face: int = MIN_FACE
    """Faces whose longer side has fewer pixels are left out, and counted."""
    every: int = 1
    """Of a video or camera, look at every n-th frame; those between keep its boxes."""
    max_faces: int = MAX_FACES
    """At most this many faces of one picture, the surest ones."""
    smooth: float = 0.3
    """Lag in seconds of a video's answers over time, which are drawn and are columns of their own;
    0: none."""
    uncertain_below: float = UNCERTAIN_BELOW
    """Answers whose estimated chance of being right is below this are marked as uncertain."""

    def __post_init__(self) -> None:
        require(self.threads >= 0, "threads", self.threads, "0 or more")
        require(0 <= self.margin <= 2, "margin", self.margin, "from 0 to 2")
        require(self.min_face >= 1, "min_face", self.min_face, "1 or more")
        require(self.every >= 1, "every", self.every, "1 or more")
        require(self.max_faces >= 1, "max_faces", self.max_faces, "1 or more")
        size, between = self.detect_size, self.detect_every
        require(size == "auto" or size >= 32, "detect_size", size, "auto, or 32 or more")
        require(between == "auto" or between >= 1, "detect_every", between, "auto, or 1 or more")
        require(0 <= self.smooth <= 60, "smooth", self.smooth, "from 0 to 60")
        least = self.uncertain_below
        require(0 <= least <= 1, "uncertain_below", least, "from 0 to 1")
        require(self.camera is None or self.camera >= 0, "camera", self.camera, "0 or more")
        if self.camera is not None and self.inputs:
            raise ConfigError(
                f"--camera {self.camera} and {self.inputs[0]} were both given. Watch the camera or "
                "read files, one at a time."
            )
        if self.parquet and self.camera is not None and not (self.csv or self.out):
            raise ConfigError(
                f"--parquet {self.parquet} is made from the table: give --csv or --out, too."
            )
        if self.camera is None and not self.inputs:
            raise ConfigError(
                "There is nothing to look at: name pictures, videos or folders, or give --camera 0."
            )
