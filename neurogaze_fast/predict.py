"""``neurogaze-fast predict INPUT...``: what the faces in pictures and videos express."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.deploy.vision.config import DEFAULT_OUT, PredictConfig
from neurogaze_fast.errors import DataError, run_command

if TYPE_CHECKING:
    from rich.console import Console

    from neurogaze_fast.deploy.engines.base import Engine
    from neurogaze_fast.deploy.face import Face
    from neurogaze_fast.deploy.vision.camera import Camera
    from neurogaze_fast.deploy.vision.detect import Detector
    from neurogaze_fast.deploy.vision.files import Summary

DRAWN = (
    "This model was trained on DRAWN demo faces. What it says about photographs of people means "
    "nothing. Train on real faces and name that run with --model."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, predict, and print what was found and where it lies."""
    atexit.register(gc.freeze)  # a last search for garbage would take a tenth of a second
    run_command(lambda: predict(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> PredictConfig:
    """Options from the command line."""
    import tyro

    return tyro.cli(
        PredictConfig,
        args=argv,
        description="Say what the faces in pictures, videos or a camera's stream express.",
        prog="neurogaze-fast predict",
    )


def predict(
    config: PredictConfig,
    *,
    engine: Engine | None = None,
    detector: Detector | None = None,
) -> Summary:
    """Do what the options say; an engine and a detector of the caller's are used if given.

    Raises:
        DataError: nothing could be read.
    """
    from rich.console import Console

    from neurogaze_fast.console import counted, say, show_progress
    from neurogaze_fast.deploy.shipped import describe, find_model
    from neurogaze_fast.deploy.vision.camera import open_camera
    from neurogaze_fast.deploy.vision.files import FilePredictor, Summary
    from neurogaze_fast.deploy.vision.from_options import (
        about_of,
        analyser_of,
        film_of,
        journal_of,
        models_of,
    )
    from neurogaze_fast.deploy.vision.inputs import find_inputs
    from neurogaze_fast.deploy.vision.openings import Openings
    from neurogaze_fast.deploy.vision.overwriting import refuse_overwriting
    from neurogaze_fast.deploy.vision.results import ResultFiles
    from neurogaze_fast.deploy.vision.summary import print_faces, print_summary
    from neurogaze_fast.signals import stop_on_signal

    console = Console()
    out = config.out or (None if config.camera is not None else DEFAULT_OUT)
    inputs, skipped = find_inputs(config.inputs, out)
    csv, json = (
        given or (out / f"results.{kind}" if out else None)
        for given, kind in ((config.csv, "csv"), (config.json, "json"))
    )
    tables = [path for path in (csv, json, config.parquet) if path]
    refuse_overwriting(inputs, out, tables, config.model)
    openings = Openings(inputs)  # beside the models
    model = None if engine else find_model(config.model)
    engine, detector = models_of(config, model, engine, detector)
    for line in describe(model) if model else ():
        say(console, line)
    say(console, f"{engine.detail}; faces: {detector.detail if detector else 'as given'}")
    for reason in (*engine.passed_over, *getattr(detector, "passed_over", ())):
        say(console, f"Passed over: {reason}")
    if engine.synthetic:
        console.print(f"[bold white on red] WARNING [/] [bold red]{DRAWN}[/]", highlight=False)
    analyser, about = analyser_of(config, engine, detector), about_of(config, engine, detector)
    summary = Summary(skipped=skipped)
    # Before the results are opened: without a camera, earlier ones stay as they are.
    camera = None if config.camera is None else open_camera(config.camera)
    journal, state = journal_of(config, out, inputs, about)
    if config.resume:
        say(console, "Going on where it was stopped." if state else "Nothing to go on with: from "
            "the beginning.")  # fmt: skip
    position = state["position"] if state else None
    files = ResultFiles(csv, json, about, parquet=config.parquet, resume=position)
    shown: list[tuple[str, list[Face]]] = []
    with stop_on_signal() as stop, files as results:
        try:
            if camera is None:
                work = FilePredictor(
                    analyser, results, out or DEFAULT_OUT, summary, options=film_of(config),
                    stop=stop, journal=journal, state=state, openings=openings,
                )  # fmt: skip
                shown = work.shown
                with show_progress(console) as progress:
                    work.run(inputs, progress)
            else:
                _watch(config, camera, analyser, results, summary, out, console, stop)
        finally:  # the results of a run that ends early are written, too
            results.summary = summary.to_json(analyser)
        nothing = config.camera is None and not summary.pictures and not summary.videos
        results.nothing_looked_at = nothing
    written = [] if nothing else [path for path in (out, *tables) if path]
    print_faces(console, shown, summary)
    print_summary(console, summary, analyser.left_out, written)
    if nothing:
        raise DataError(
            f"Of {counted(len(summary.skipped), 'file')} none could be read as a picture or video. "
            "The reasons are above; earlier results were left as they are."
        )
    return summary


def _watch(config: PredictConfig, camera: Camera, analyser: Any, results: Any, summary: Summary,
           out: Path | None, console: Console, stop: Any) -> None:  # fmt: skip
    from neurogaze_fast.deploy.vision.camera import NewestFrame, screen, watch

    source = f"camera-{config.camera}"
    with console.status("Waiting for the camera") as line:
        watch(
            NewestFrame(camera), analyser, results, summary,
            source=source, record=out / f"{source}.mp4" if out else None, show=screen(),
            every=config.every, smooth_s=config.smooth, report=line.update, stop=stop,
        )  # fmt: skip


if __name__ == "__main__":
    main()
