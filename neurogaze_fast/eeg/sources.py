"""Where trials come from: the readers that the options name, and the demo's own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.recording import LeftOut, Trial

if TYPE_CHECKING:
    from neurogaze_fast.eeg.description import BidsDescription


@dataclass(frozen=True)
class Sources:
    """The recordings to prepare."""

    trials: Iterator[Trial | LeftOut]
    """All of them, one source after the other; read as they are taken."""
    beside: list[Path]
    """Files beside the recordings that the trials depend on too: ratings."""
    synthetic: bool
    """Whether any was written by this package."""


def open_sources(config: PrepareEegConfig) -> Sources:
    """The readers of what the options name; nothing is read yet, so errors come with the trials."""
    from neurogaze_fast.eeg.bids_sidecar import sidecars
    from neurogaze_fast.eeg.dreamer import read_dreamer
    from neurogaze_fast.eeg.files import read_recording
    from neurogaze_fast.eeg.mahnob import read_mahnob
    from neurogaze_fast.eeg.preprocess import COMMON_SITES
    from neurogaze_fast.eeg.synthetic import is_synthetic

    readers: list[Iterator[Trial | LeftOut]] = []
    beside: list[Path] = []
    if config.dreamer is not None:
        readers.append(read_dreamer(config.dreamer, seconds=config.seconds))
    if config.mahnob is not None:
        readers.append(read_mahnob(config.mahnob, labelled=config.mahnob_labels))
        beside += sorted(config.mahnob.rglob("session.xml"))
    if config.recording is not None and config.ratings is not None:
        sites = None if config.all_channels else COMMON_SITES
        readers.append(
            read_recording(
                config.recording, config.ratings, scale=config.ratings_scale,
                montage=config.montage, sites=sites,
            )
        )  # fmt: skip
        beside += [config.ratings, *sidecars(config.recording)]
    if config.bids is not None:
        from neurogaze_fast.eeg.bids import read_bids

        sites = None if config.all_channels else COMMON_SITES
        readers.append(
            read_bids(
                config.bids, bids_description(config), scale=config.ratings_scale,
                montage=config.montage, sites=sites,
            )
        )  # fmt: skip
        beside += sorted(config.bids.rglob("*.tsv"))
    if config.arrays is not None and config.description is not None:
        from neurogaze_fast.eeg.arrays import read_arrays
        from neurogaze_fast.eeg.description import ArrayDescription, read_description

        described = read_description(config.description, ArrayDescription)
        readers.append(read_arrays(config.arrays, described))
    given = (config.dreamer, config.mahnob, config.recording, config.bids, config.arrays)
    synthetic = any(is_synthetic(path) for path in given if path is not None)
    return Sources(chain.from_iterable(readers), beside, synthetic)


def bids_description(config: PrepareEegConfig) -> BidsDescription:
    """What the tables of --bids mean."""
    from neurogaze_fast.eeg.description import BidsDescription, read_description

    if config.description is None:
        return BidsDescription()
    return read_description(config.description, BidsDescription)


def write_demo(config: PrepareEegConfig) -> PrepareEegConfig:
    """Write synthetic recordings in the real formats to OUT/demo; the options that read them."""
    from neurogaze_fast.eeg.synthetic import write_demo_dreamer, write_demo_mahnob

    folder = config.out / "demo"
    dreamer, mahnob = folder / "DREAMER.mat", folder / "MAHNOB"
    common: dict[str, Any] = {
        "seconds": config.demo_seconds,
        "strength": config.demo_strength,
        "seed": config.demo_seed,
    }
    write_demo_dreamer(
        dreamer,
        subjects=config.demo_subjects,
        clips=config.demo_clips,
        baseline_seconds=10,
        **common,
    )
    write_demo_mahnob(mahnob, sessions=config.demo_sessions, margin=10, **common)
    return replace(config, demo=False, dreamer=dreamer, mahnob=mahnob)


def sites_of_sources(config: PrepareEegConfig) -> tuple[str, ...] | None:
    """The sites that every trial is reduced to; None: as the first trial has them.

    Recordings of unlike channels are only comparable by what they share, and an average reference
    is one over what is kept, so this must be known before the first trial is cleaned.
    """
    from neurogaze_fast.eeg.preprocess import COMMON_SITES

    if not config.all_channels:
        return COMMON_SITES
    from neurogaze_fast.eeg.bids import bids_rows
    from neurogaze_fast.eeg.choose import shared_sites
    from neurogaze_fast.eeg.clip_csv import read_clip_rows
    from neurogaze_fast.eeg.files import named_files

    if config.bids is not None:
        rows, _ = bids_rows(config.bids, bids_description(config), config.ratings_scale)
        return shared_sites(named_files(config.bids, rows), config.montage)
    if config.recording is None or config.ratings is None or not config.recording.exists():
        return None
    rows = read_clip_rows(config.ratings, config.ratings_scale)
    return shared_sites(named_files(config.recording, rows), config.montage)
