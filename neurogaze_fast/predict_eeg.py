"""``neurogaze-fast predict-eeg RECORDING --teacher T``: valence and arousal from EEG."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurogaze_fast.errors import OutputExistsError, run_command
from neurogaze_fast.teacher.config import PredictEegConfig

if TYPE_CHECKING:
    from rich.table import Table

    from neurogaze_fast.teacher.predict import EegAnswer


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, predict, and print a line for each clip."""
    run_command(lambda: predict(parse(argv)))


def parse(argv: Sequence[str] | None = None) -> PredictEegConfig:
    """Options from the command line."""
    import tyro

    return tyro.cli(
        PredictEegConfig,
        args=argv,
        description="Valence and arousal of recordings, by a trained EEG teacher.",
        prog="neurogaze-fast predict-eeg",
    )


def predict(config: PredictEegConfig) -> EegAnswer:
    """Predict, print, and write the csv that was asked for."""
    from rich.console import Console

    from neurogaze_fast.artifacts import atomic_write
    from neurogaze_fast.device import pick_device
    from neurogaze_fast.teacher.predict import predict_eeg

    console = Console()
    if config.csv is not None and config.csv.exists():
        raise OutputExistsError(f"{config.csv} exists and was left alone: choose another --csv.")
    answer = predict_eeg(
        config.recording,
        config.teacher,
        clips=config.clips,
        baseline=config.baseline,
        montage=config.montage,
        device=pick_device(config.device),
    )
    console.print(_table(answer))
    for part in answer.left_out:
        line = f"Left out: {part.what}: {part.reason}"
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    for note in answer.notes:
        console.print(note, style="yellow", markup=False, soft_wrap=True, highlight=False)
    if config.csv is not None:
        atomic_write(Path(config.csv), windows_csv(answer).encode())
        console.print(f"Windows: {config.csv}", markup=False, soft_wrap=True, highlight=False)
    return answer


def windows_csv(answer: EegAnswer) -> str:
    """One row a window: file, subject, clip, start_s, valence, arousal, and both uncalibrated."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    columns = "file subject clip start_s valence arousal valence_raw arousal_raw"
    rows.writerow(columns.split())
    for clip in answer.clips:
        for start, va, raw in zip(clip.start, clip.va, clip.raw, strict=True):
            numbers = [f"{value:.6g}" for value in (start, *va, *raw)]
            rows.writerow([clip.file.name, clip.subject, clip.clip, *numbers])
    return text.getvalue()


def _table(answer: EegAnswer) -> Table:
    from rich.table import Table

    table = Table("file", "subject", "clip", title="Mean over the windows, on [-1, 1]")
    for heading in ("windows", "valence", "arousal"):
        table.add_column(heading, justify="right")
    for clip in answer.clips:
        means = [f"{value:+.2f}" for value in clip.va.mean(axis=0)]
        table.add_row(clip.file.name, clip.subject, clip.clip, str(len(clip.start)), *means)
    return table


if __name__ == "__main__":
    main()
