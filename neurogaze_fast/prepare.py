"""``neurogaze-fast prepare eeg``: recordings to topographic maps of band power;
``prepare shards``: a face set to tar shards."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from neurogaze_fast.console import show_progress
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.errors import Interrupted, run_command
from neurogaze_fast.faces.config import PrepareShardsConfig


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
        prog="neurogaze-fast prepare",
        description="Turn raw data into the files that training reads.",
    )


def prepare_eeg(config: PrepareEegConfig) -> Path:
    """Write OUT/maps, OUT/maps.png and OUT/summary.json; return OUT."""
    from rich.console import Console

    from neurogaze_fast.artifacts import atomic_write
    from neurogaze_fast.eeg.build import build_maps
    from neurogaze_fast.eeg.map_files import refuse_existing
    from neurogaze_fast.eeg.plots import plot_band_maps
    from neurogaze_fast.eeg.sources import open_sources, write_demo
    from neurogaze_fast.eeg.summary import summary_tables

    console = Console()
    refuse_existing(config.out)
    given = config
    if config.demo:
        with console.status("Writing synthetic recordings"):
            given = write_demo(config)
    sources = open_sources(given)
    started = time.monotonic()
    try:
        with show_progress(console) as progress:
            maps = build_maps(
                sources.trials,
                config,
                synthetic=sources.synthetic,
                also_hash=sources.beside,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped before the maps were made; nothing was written. Run the same command again."
        ) from None
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
