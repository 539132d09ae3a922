"""What predict works with, made from its options."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.config import to_dict
from neurogaze_fast.deploy.shipped import open_model
from neurogaze_fast.deploy.vision.analyse import Analyser
from neurogaze_fast.deploy.vision.config import PredictConfig
from neurogaze_fast.deploy.vision.film import FilmOptions
from neurogaze_fast.deploy.vision.inputs import Input
from neurogaze_fast.deploy.vision.resume import Journal, fingerprint

if TYPE_CHECKING:
    from neurogaze_fast.deploy.engines.base import Engine
    from neurogaze_fast.deploy.vision.detect import Detector

_NOT_COMPARED = ("inputs", "resume", "threads", "parquet")
"""Options that may be others when work goes on; the inputs are compared file by file."""


def models_of(
    config: PredictConfig, model: Path | None, engine: Engine | None, detector: Detector | None
) -> tuple[Engine, Detector | None]:
    """The engine for `model`, and the detector if faces are looked for: the caller's where they
    are given, else opened side by side, for compiling one leaves cores idle.

    Raises:
        as :func:`open_model` and :func:`detector_of`.
    """
    with ThreadPoolExecutor(1) as beside:
        wanted = config.detect and detector is None
        looks = beside.submit(detector_of, config) if wanted else None
        if engine is None:
            engine = open_model(model, config.engine, threads=config.threads)
        if looks is not None:
            detector = looks.result()
    return engine, detector if config.detect else None


def detector_of(config: PredictConfig) -> Detector:
    """The detector, for two frames or pictures at a time.

    Raises:
        ConfigError: as :func:`open_detector`.
    """
    from neurogaze_fast.deploy.vision.detect import open_detector

    size = 0 if config.detect_size == "auto" else config.detect_size
    return open_detector(config.detector, size=size, threads=config.threads, streams=2)


def analyser_of(config: PredictConfig, engine: Engine, detector: Detector | None) -> Analyser:
    """From pictures to faces."""
    return Analyser(
        engine, detector, margin=config.margin, min_face=config.min_face,
        max_faces=config.max_faces, upright=config.upright,
        uncertain_below=config.uncertain_below,
    )  # fmt: skip


def film_of(config: PredictConfig) -> FilmOptions:
    """How videos are looked at."""
    every = 0 if config.detect_every == "auto" else config.detect_every
    return FilmOptions(config.every, every, config.smooth)


def about_of(config: PredictConfig, engine: Engine, detector: Detector | None) -> dict[str, Any]:
    """What the results were made with."""
    return {
        "engine": engine.detail, "detector": detector.detail if detector else None,
        "synthetic": engine.synthetic, "margin": config.margin if detector else None,
        "upright": config.upright, "smoothing_lag_s": config.smooth,
        "uncertain_below": config.uncertain_below,
    }  # fmt: skip


def journal_of(
    config: PredictConfig, out: Path | None, inputs: Sequence[Input], about: dict[str, Any]
) -> tuple[Journal | None, dict[str, Any] | None]:
    """Where is written what is done, and what an earlier run had done, if that is asked for.

    Raises:
        ConfigError: as :meth:`Journal.load`.
    """
    if out is None or config.camera is not None:
        return None, None
    options = to_dict(config)
    kept = {name: str(options[name]) for name in sorted(options) if name not in _NOT_COMPARED}
    files = fingerprint([item.path for item in inputs])
    journal = Journal(out, {"options": kept, "files": files, "about": about})
    return journal, journal.load() if config.resume else None
