"""``python -m neurogaze_fast.prepare eeg``: recordings to topographic maps of band power;
``prepare shards``: a face set to tar shards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.errors import run_command
from neurogaze_fast.faces.config import PrepareShardsConfig

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

QUIET_S = 30.0
"""Seconds between lines of progress where there is no terminal."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, prepare, and print what was kept and what was left out."""

    def prepare() -> None:
        config = parse(argv)
        if isinstance(config, PrepareShardsConfig):
            prepare_shards(config)
        else:
            prepare_eeg(config)

    run_command(prepare)


def parse(argv: Sequence[str] | None = None) -> PrepareEegConfig | PrepareShardsConfig:
    """Options from the command line."""
    import tyro

    return tyro.extras.subcommand_cli_from_dict(
        {"eeg": PrepareEegConfig, "shards": PrepareShardsConfig},
        args=argv,
        prog="python -m neurogaze_fast.prepare",
        description="Turn raw data into the files that training reads.",
    )


def prepare_eeg(config: PrepareEegConfig) -> Path:
    """Write OUT/maps, OUT/maps.png and OUT/summary.json; return OUT."""
    from rich.console import Console

    from neurogaze_fast.artifacts import atomic_write
    from neurogaze_fast.eeg.build import build_maps
    from neurogaze_fast.eeg.maps import refuse_existing
    from neurogaze_fast.eeg.plots import plot_band_maps
    from neurogaze_fast.eeg.sources import open_sources, write_demo

    console = Console()
    refuse_existing(config.out)
    given = config
    if config.demo:
        with console.status("Writing synthetic recordings"):
            given = write_demo(config)
    sources = open_sources(given)
    started = time.monotonic()
    with _progress(console) as progress:
        maps = build_maps(
            sources.trials,
            config,
            synthetic=sources.synthetic,
            also_hash=sources.beside,
            progress=progress,
        )
    seconds = time.monotonic() - started
    with console.status("Writing the maps"):
        maps.save(config.out / "maps")
        plot_band_maps(maps, config.out / "maps.png")
        summary = json.dumps(maps.provenance, indent=2) + "\n"
        atomic_write(config.out / "summary.json", summary.encode())
    for table in summary_tables(maps.provenance):
        console.print(table)
    bands = ", ".join(maps.bands)
    console.print(
        f"{len(maps)} maps of {maps.maps.shape[2]} x {maps.maps.shape[3]} pixels, {bands}, "
        f"{len(maps.names)} sites, in {seconds:.1f} s\nMaps: {config.out / 'maps'}\n"
        f"Figure: {config.out / 'maps.png'}",
        highlight=False, soft_wrap=True, markup=False,
    )  # fmt: skip
    if maps.synthetic:
        console.print("[yellow]These recordings are synthetic: they say nothing about people.[/]")
    return config.out


def summary_tables(provenance: dict[str, Any]) -> list[Table]:
    """What was kept by source and, where there is any, what was left out by reason."""
    from rich.markup import escape
    from rich.table import Table

    kept = Table("source", title="Kept")
    for heading in ("subjects", "trials", "labelled", "windows", "labelled", "no baseline"):
        kept.add_column(heading, justify="right")
    for source, facts in provenance["sources"].items():
        keys = ("trials", "labelled_trials", "windows", "labelled_windows", "windows_no_baseline")
        kept.add_row(source, str(len(facts["subjects"])), *(str(facts[key]) for key in keys))
    left = Table(title="Left out")
    left.add_column("count", justify="right")
    left.add_column("reason")
    left.add_column("such as")
    for reason, count in provenance["left_out"].items():
        examples = "; ".join(provenance["left_out_examples"][reason][:2])
        left.add_row(str(count), escape(reason), escape(examples))
    for reason, count in provenance["windows_left_out"].items():
        left.add_row(f"{count} windows", escape(reason), "")
    return [kept, left] if left.row_count else [kept]


def prepare_shards(config: PrepareShardsConfig) -> Path:
    """Write OUT/index.json and the shards it names; return OUT."""
    from rich.console import Console

    from neurogaze_fast.faces.load import load_faces
    from neurogaze_fast.faces.write_shards import refuse_existing, write_shards

    console = Console()
    refuse_existing(config.out)
    with console.status("Reading the face set"):
        faces = load_faces(config.faces, config.data, config.side)
    started = time.monotonic()
    with _progress(console) as progress:
        index = write_shards(
            faces,
            config.out,
            side=config.side,
            shard_bytes=config.shard_mb * 10**6,
            progress=progress,
        )
    seconds = time.monotonic() - started
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


def shard_tables(index: dict[str, Any]) -> list[Table]:
    """What was kept by split and, where there is any, what was left out by reason."""
    from rich.markup import escape
    from rich.table import Table

    kept = Table("split", title="Kept")
    for heading in ("images", "shards", "MB"):
        kept.add_column(heading, justify="right")
    for split, facts in index["splits"].items():
        size = sum(shard["bytes"] for shard in facts["shards"])
        kept.add_row(split, str(facts["rows"]), str(len(facts["shards"])), f"{size / 1e6:.1f}")
    left = Table("split", title="Left out")
    left.add_column("count", justify="right")
    left.add_column("reason")
    left.add_column("such as")
    for split, reasons in index["left_out"].items():
        for reason, count in reasons.items():
            names = [
                entry["name"]
                for entry in index["damaged"]
                if entry["split"] == split and entry["reason"].startswith(reason)
            ]
            left.add_row(split, str(count), escape(reason), escape("; ".join(names[:2])))
    return [kept, left] if left.row_count else [kept]


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """A live count on a terminal, a line now and then elsewhere."""
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), "{task.description}", MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        tasks: dict[str, Any] = {}
        printed = time.monotonic()

        def update(stage: str, done: int, total: int | None) -> None:
            nonlocal printed
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)
            if not console.is_terminal and time.monotonic() - printed >= QUIET_S:
                printed = time.monotonic()
                console.print(f"{stage}: {done}" + (f" of {total}" if total else ""))

        yield update


if __name__ == "__main__":
    main()
