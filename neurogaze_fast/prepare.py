"""``neurogaze-fast prepare eeg``: recordings to topographic maps of band power;
``prepare join``: those of its shards; ``prepare shards``: a face set to tar shards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neurogaze_fast.console import counted, say, show_progress
from neurogaze_fast.eeg.config import JoinEegConfig, PrepareEegConfig
from neurogaze_fast.errors import Interrupted, run_command
from neurogaze_fast.faces.config import PrepareShardsConfig

if TYPE_CHECKING:
    import threading

    from neurogaze_fast.eeg.assemble import Progress
    from neurogaze_fast.eeg.run_job import Outcome


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, prepare, and print what was kept and what was left out."""

    def prepare() -> None:
        config = parse(argv)
        if isinstance(config, PrepareShardsConfig):
            prepare_shards(config)
        elif isinstance(config, JoinEegConfig):
            prepare_join(config)
        else:
            prepare_eeg(config)

    run_command(prepare)


def parse(
    argv: Sequence[str] | None = None,
) -> PrepareEegConfig | JoinEegConfig | PrepareShardsConfig:
    """Options from the command line."""
    import tyro

    return tyro.extras.subcommand_cli_from_dict(
        {"eeg": PrepareEegConfig, "join": JoinEegConfig, "shards": PrepareShardsConfig},
        args=argv,
        prog="neurogaze-fast prepare",
        description="Turn raw data into the files that training reads.",
    )


def prepare_eeg(config: PrepareEegConfig) -> Path:
    """Write OUT/maps, OUT/maps.png and OUT/summary.json, or OUT/measured of a shard; return OUT."""
    from neurogaze_fast.eeg.run_job import run_job

    return _eeg(config.out, lambda progress, stop: run_job(config, progress, stop))


def prepare_join(config: JoinEegConfig) -> Path:
    """Write OUT/maps, OUT/maps.png and OUT/summary.json of all shards; return OUT."""
    from neurogaze_fast.eeg.run_job import join_parts

    parts, out = config.parts, config.out
    return _eeg(out, lambda progress, stop: join_parts(parts, out, progress, stop))


def _eeg(out: Path, work: Callable[[Progress, threading.Event], Outcome]) -> Path:
    from rich.console import Console

    from neurogaze_fast.eeg.summary import summary_tables
    from neurogaze_fast.signals import stop_on_signal

    console = Console()
    started = time.monotonic()
    try:
        with stop_on_signal() as stop, show_progress(console) as progress:
            outcome = work(progress, stop)
    except KeyboardInterrupt:  # a second one
        raise Interrupted("Stopped at once. The same command goes on from what is kept.") from None
    seconds, maps = time.monotonic() - started, outcome.frame
    if outcome.kept:
        say(console, f"Went on from {outcome.kept} of {outcome.pieces} parts measured before.")
    if maps is None:
        say(console, f"{counted(outcome.pieces, 'part')} of the recordings measured in "
                     f"{seconds:.1f} s\nTo be joined: {out}")  # fmt: skip
        return out
    for table in summary_tables(maps.provenance):
        console.print(table)
    bands = ", ".join(maps.bands)
    say(
        console,
        f"{outcome.windows} maps of {maps.maps.shape[2]} x {maps.maps.shape[3]} pixels, {bands}, "
        f"{len(maps.names)} sites, in {seconds:.1f} s\nMaps: {out / 'maps'}\n"
        f"Figure: {out / 'maps.png'}",
    )
    if maps.synthetic:
        console.print("[yellow]These recordings are synthetic: they say nothing about people.[/]")
    return out


def prepare_shards(config: PrepareShardsConfig) -> Path:
    """Write OUT/index.json and the shards it names; return OUT."""
    from rich.console import Console

    from neurogaze_fast.faces.load import load_faces
    from neurogaze_fast.faces.shard_summary import shard_tables
    from neurogaze_fast.faces.write_shards import refuse_existing, write_shards

    console = Console()
    refuse_existing(config.out)
    with console.status("Reading the face set"):
        faces = load_faces(config.faces, config.data, config.side, on_conflict=config.on_conflict)
    started = time.monotonic()
    with show_progress(console) as progress:
        index = write_shards(
            faces,
            config.out,
            side=config.side,
            shard_bytes=config.shard_mb * 10**6,
            progress=progress,
        )
    seconds = time.monotonic() - started
    for note in faces.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    for table in shard_tables(index):
        console.print(table)
    images = sum(split["rows"] for split in index["splits"].values())
    side = next(iter(index["splits"].values()))["side"]
    console.print(
        f"{images} images of {side} x {side} pixels in {seconds:.1f} s\nShards: {config.out}",
        highlight=False, soft_wrap=True, markup=False,
    )  # fmt: skip
    if index["synthetic"]:
        console.print("[yellow]These faces are drawn: they say nothing about people.[/]")
    return config.out


if __name__ == "__main__":
    main()
