"""YuNet's graph (OpenCV's zoo): its input, and boxes of its outputs."""

from __future__ import annotations

import numpy as np

STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
FILE = "face_detection_yunet_2023mar.onnx"
ORIGIN = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet"


def decode(found: dict[str, np.ndarray], width: int, min_score: float) -> np.ndarray:
    """float32 [n, 15]: left, top, right, bottom, score and five points (x, y), in any order.

    Args:
        found: each of :data:`OUTPUTS` for one picture, [cells, 1, 1, 4 or 10], cells by rows.
        width: of the network's input, in pixels.
    """
    faces = [np.zeros((0, 15), np.float32)]
    for stride in STRIDES:
        sure, object_, box, points = (found[f"{k}_{stride}"] for k in ("cls", "obj", "bbox", "kps"))
        scores = np.sqrt(np.clip(sure[:, 0], 0, 1) * np.clip(object_[:, 0], 0, 1))
        cells = np.flatnonzero(scores > min_score)
        row, column = np.divmod(cells, width // stride)
        at = np.stack((column, row), axis=1)
        centre = (at + box[cells, :2]) * stride
        half = np.exp(box[cells, 2:]) * stride / 2
        places = (points[cells].reshape(-1, 5, 2) + at[:, None]) * stride
        parts = (centre - half, centre + half, scores[cells, None], places.reshape(-1, 10))
        faces.append(np.concatenate(parts, axis=1).astype(np.float32))
    return np.concatenate(faces)
