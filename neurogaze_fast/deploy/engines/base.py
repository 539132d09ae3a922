"""What every engine shares: checked input, one caller at a time, checked output."""

from __future__ import annotations

import importlib
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from neurogaze_fast.console import counted
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, NeurogazeError

Outputs = tuple[np.ndarray, np.ndarray]
"""probabilities float32 [N, 8], in the emotions' order, and valence_arousal float32 [N, 2]."""
INPUT = "images"
OUTPUTS = ("probabilities", "valence_arousal")
MAX_BATCH = 256
"""Faces computed at a time: `Engine.run` cuts larger batches, so that memory stays bounded. Nobody
else needs to."""


class EngineError(NeurogazeError):
    """An engine cannot be opened here, or its answer cannot be used."""


@contextmanager
def readable(failure: str, advice: str) -> Iterator[None]:
    """Make whatever a library raises one EngineError: "`failure` (its words). `advice`".

    Libraries raise classes of their own, and Python's (AttributeError, TypeError) where their
    interface is not the one this was written for. Our own errors pass as they are.
    """
    try:
        yield
    except NeurogazeError:
        raise
    except Exception as cause:
        words = " ".join(f"{type(cause).__name__}: {cause}".split())[:300]
        raise EngineError(f"{failure} ({words}). {advice}") from cause


def missing(package: str, extra: str) -> ConfigError:
    """The error for an optional package that is not installed."""
    return ConfigError(
        f"The package {package!r} is not installed. Install it with `pip install "
        f"'neurogaze_fast[{extra}]'`, or choose another --engine."
    )


class Engine(ABC):
    """Computes probabilities and valence/arousal of faces of one size; what `open_engine` returns.

    Threads may share it: calls wait for one another.
    """

    name: str
    """One of open.ENGINES."""
    detail: str
    """For people: versions, device, precision, threads."""
    input_size: int
    """S: faces are S x S."""
    synthetic: bool
    """The model was trained on drawn faces."""
    passed_over: list[str]
    """What was tried or doubted before this engine was taken, and why, for people."""

    def __init__(self, input_size: int, synthetic: bool) -> None:
        self.input_size, self.synthetic = input_size, synthetic
        self.passed_over: list[str] = []
        self._lock = threading.Lock()
        self._open = True

    def run(self, images: np.ndarray) -> Outputs:
        """uint8 [N, S, S, 3] RGB -> probabilities and valence/arousal, N of any size.

        Raises:
            EngineError: other shapes or dtypes, a closed engine, or an answer of another shape or
                that is not finite.
        """
        size = self.input_size
        if (
            not isinstance(images, np.ndarray)
            or images.dtype != np.uint8
            or images.shape[1:] != (size, size, 3)
        ):
            found = getattr(images, "dtype", type(images).__name__)
            shape = list(getattr(images, "shape", ()))
            raise EngineError(
                f"The engine takes uint8 [N, {size}, {size}, 3] in RGB order, but got {found} "
                f"{shape}. predictor.prepare_face brings any face to that form."
            )
        images = np.ascontiguousarray(images)
        with self._lock:
            if not self._open:
                raise EngineError("The engine was closed. Open another one.")
            if 0 < len(images) <= MAX_BATCH:  # as it is nearly always: nothing to put together
                probabilities, affect = self._checked(images)
            else:
                probabilities, affect = self._in_parts(images)
        # One sum tells whether any of them is not finite; which ones is only asked where it is so.
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(probabilities.sum()) + float(affect.sum())
        if not math.isfinite(total):
            self._refuse_non_finite(probabilities, affect)
        return probabilities, affect

    def _in_parts(self, images: np.ndarray) -> Outputs:
        parts = [(np.zeros((0, len(EMOTIONS)), np.float32), np.zeros((0, 2), np.float32))]
        for start in range(0, len(images), MAX_BATCH):
            parts.append(self._checked(images[start : start + MAX_BATCH]))  # noqa: PERF401
        probabilities, affect = (np.concatenate(part) for part in zip(*parts, strict=True))
        return probabilities, affect

    def _refuse_non_finite(self, probabilities: np.ndarray, affect: np.ndarray) -> None:
        rows = np.flatnonzero(~np.isfinite(np.hstack((probabilities, affect))).all(1))
        if len(rows):
            raise EngineError(
                f"{self.detail} gave answers that are not finite for {len(rows)} of "
                f"{len(probabilities)} faces (the first is number {rows[0]}). Export another "
                "precision: fp32 always holds the values that training saw."
            )

    def _checked(self, images: np.ndarray) -> Outputs:
        probabilities, affect = self._infer(images)
        count = len(images)
        if probabilities.shape != (count, len(EMOTIONS)) or affect.shape != (count, 2):
            raise EngineError(
                f"{self.detail} gave answers of shapes {list(probabilities.shape)} and "
                f"{list(affect.shape)} for {count} faces. Use another --engine."
            )
        return probabilities, affect

    def close(self) -> None:
        """Free what the engine holds; calls that follow are refused."""
        with self._lock:
            if self._open:
                self._open = False
                self._free()

    @abstractmethod
    def _infer(self, images: np.ndarray) -> Outputs:
        """The answers for 1 to MAX_BATCH faces, as arrays of their own."""

    @abstractmethod
    def _free(self) -> None:
        """Let go of the session."""


def import_library(package: str, extra: str) -> Any:
    """Import an engine's library.

    Raises:
        ConfigError: not installed. EngineError: installed, but broken.
    """
    try:
        return importlib.import_module(package)
    except Exception as cause:  # or a library it needs is missing, or of another version
        if isinstance(cause, ModuleNotFoundError) and cause.name == package:
            raise missing(package, extra) from cause
        text = " ".join(str(cause).split())
        raise EngineError(f"{package} cannot be imported: {text}. Reinstall it.") from cause


def shown_threads(threads: int) -> str:
    """Threads as an engine's detail shows them."""
    return counted(threads, "thread") if threads else "default threads"
