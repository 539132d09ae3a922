"""What a server has done since it started, in the forms that Triton's clients ask for.

These are extensions of the Open Inference Protocol: model configuration and statistics.
"""

from __future__ import annotations

import time
from typing import Any

from neurogaze_fast.deploy.server import inference_protocol as protocol


class Statistics:
    """Counts and sums of times, of inferences that requests asked for."""

    def __init__(self) -> None:
        self._images = self._batches = self._last_ms = 0
        self._sums = {name: [0, 0] for name in ("success", "fail", "queue", "compute_infer")}
        self._by_batch: dict[int, list[int]] = {}

    def computed(self, images: int, queued_s: list[float], took_s: float) -> None:
        """A batch was computed: `queued_s` of each request in it, and what the engine took."""
        self._images += images
        self._batches += 1
        self._last_ms = int(1000 * time.time())
        for waited in queued_s:
            self._add("success", waited + took_s)
            self._add("queue", waited)
            self._add("compute_infer", took_s)
        of_size = self._by_batch.setdefault(images, [0, 0])
        of_size[0] += 1
        of_size[1] += round(1e9 * took_s)

    def failed(self, requests: int, took_s: float) -> None:
        """A batch of so many requests failed."""
        for _ in range(requests):
            self._add("fail", took_s)

    def _add(self, name: str, seconds: float) -> None:
        self._sums[name][0] += 1
        self._sums[name][1] += round(1e9 * seconds)

    def to_json(self) -> dict[str, Any]:
        """The answer to ``GET /v2/models/neurogaze/stats``; times in nanoseconds."""
        return {
            "model_stats": [
                {
                    "name": protocol.MODEL,
                    "version": protocol.VERSION,
                    "last_inference": self._last_ms,
                    "inference_count": self._images,
                    "execution_count": self._batches,
                    "inference_stats": {name: _sum(pair) for name, pair in self._sums.items()},
                    "batch_stats": [
                        {"batch_size": size, "compute_infer": _sum(pair)}
                        for size, pair in sorted(self._by_batch.items())
                    ],
                }
            ]
        }


def _sum(pair: list[int]) -> dict[str, int]:
    return {"count": pair[0], "ns": pair[1]}


def model_configuration(size: int, max_batch: int, max_wait_ms: float) -> dict[str, Any]:
    """The answer to ``GET /v2/models/neurogaze/config``; sizes without the batch's."""
    return {
        "name": protocol.MODEL,
        "platform": "neurogaze_fast",
        "max_batch_size": max_batch,
        "input": [
            {
                "name": protocol.INPUT,
                "data_type": "TYPE_UINT8",
                "format": "FORMAT_NHWC",
                "dims": [size, size, 3],
            }
        ],
        "output": [
            {"name": name, "data_type": "TYPE_FP32", "dims": [width]}
            for name, width in protocol.OUTPUTS.items()
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": round(1000 * max_wait_ms)},
        "version_policy": {"specific": {"versions": [int(protocol.VERSION)]}},
    }
