"""Counts and times of a server, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from neurogaze_fast.deploy.server.statistics import Statistics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SHED_REASONS = ("queue_full", "too_late", "deadline", "decoder_full")


class Metrics:
    """One registry of its own, so that several servers in one process do not meet."""

    def __init__(self, depth: Callable[[], float], ready: Callable[[], bool]) -> None:
        self.statistics = Statistics()
        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry, "namespace": "neurogaze"}
        self._requests = Counter("requests", "Requests answered.", ["route", "status"], **own)
        self._latency = Histogram(
            "request_seconds", "From a request's headers to its answer.", ["route"],
            buckets=_SECONDS, **own,
        )  # fmt: skip
        self._batches = Histogram(
            "batch_images", "Images computed together.", buckets=_BATCHES, **own
        )
        self._shed = Counter("shed", "Requests not computed, by reason.", ["reason"], **own)
        self._failures = Counter("inference_failures", "Inferences that failed.", **own)
        Gauge("queue_images", "Images that wait.", **own).set_function(depth)
        Gauge("ready", "1 while the last inference worked.", **own).set_function(
            lambda: float(ready())
        )
        for reason in SHED_REASONS:  # so that a rate can be taken from the start
            self._shed.labels(reason)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is one of ours, never what a caller sent."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def batch(self, images: int) -> None:
        """A batch goes to the engine."""
        self._batches.observe(images)

    def computed(self, images: int, queued_s: list[float], took_s: float) -> None:
        """A batch was computed; see :meth:`Statistics.computed`."""
        self.statistics.computed(images, queued_s, took_s)

    def failed(self, requests: int, took_s: float) -> None:
        """A batch of so many requests failed."""
        self.statistics.failed(requests, took_s)

    def shed(self, reason: str) -> None:
        """A request was not computed; `reason` is of :data:`SHED_REASONS`."""
        self._shed.labels(reason).inc()

    def inference_failed(self) -> None:
        """An inference failed."""
        self._failures.inc()

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)
