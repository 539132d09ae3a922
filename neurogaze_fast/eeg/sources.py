"""Where trials come from: the readers that the options name, and the demo's own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.pieces import Piece
from neurogaze_fast.eeg.recording import LeftOut, Trial

if TYPE_CHECKING:
    from neurogaze_fast.eeg.description import BidsDescription


@dataclass(frozen=True)
class Sources:
    """The recordings to prepare."""

    pieces: list[Piece]
    """All of them, one source after the other; none is read yet."""
    beside: list[Path]
    """Files beside the recordings that the trials depend on too: ratings, tables, descriptions."""
    synthetic: bool
    """Whether any was written by this package."""

    @property
    def trials(self) -> Iterator[Trial | LeftOut]:
        """Of all pieces; read as they are taken."""
        return chain.from_iterable(piece.read() for piece in self.pieces)


def open_sources(config: PrepareEegConfig) -> Sources:
    """The readers of what the options name.

    Tables are read here and DREAMER.mat is inflated; other recordings are read with their trials.
    """
    from neurogaze_fast.eeg.preprocess import COMMON_SITES
    from neurogaze_fast.eeg.synthetic import is_synthetic

    pieces: list[Piece] = []
    beside: list[Path] = []
    scale, montage = config.ratings_scale, config.montage
    sites = None if config.all_channels else COMMON_SITES
    if config.dreamer is not None:
        from neurogaze_fast.eeg.dreamer import dreamer_pieces

        pieces += dreamer_pieces(config.dreamer, seconds=config.seconds)
    if config.mahnob is not None:
        from neurogaze_fast.eeg.mahnob import mahnob_pieces

        pieces += mahnob_pieces(config.mahnob, labelled=config.mahnob_labels)
        beside += sorted(config.mahnob.rglob("session.xml"))
    if config.recording is not None and config.ratings is not None:
        from neurogaze_fast.eeg.bids_sidecar import sidecars
        from neurogaze_fast.eeg.files import recording_pieces

        pieces += recording_pieces(
            config.recording, config.ratings, scale=scale, montage=montage, sites=sites
        )
        beside += [config.ratings, *sidecars(config.recording)]
    if config.bids is not None:
        from neurogaze_fast.eeg.bids import bids_pieces
        from neurogaze_fast.eeg.bids_tables import bids_tables

        described = bids_description(config)
        pieces += bids_pieces(config.bids, described, scale=scale, montage=montage, sites=sites)
        beside += bids_tables(config.bids, described.ratings)
    if config.arrays is not None and config.description is not None:
        from neurogaze_fast.eeg.arrays import array_pieces, ratings_of
        from neurogaze_fast.eeg.description import ArrayDescription, read_description

        layout = read_description(config.description, ArrayDescription)
        pieces += array_pieces(config.arrays, layout)
        beside += ratings_of(config.arrays, layout)
    own = (Path(text) for text in (config.description, config.montage) if text)
    beside += [path for path in own if path.is_file()]
    given = (config.dreamer, config.mahnob, config.recording, config.bids, config.arrays)
    synthetic = any(is_synthetic(path) for path in given if path is not None)
    return Sources(pieces, beside, synthetic)


def bids_description(config: PrepareEegConfig) -> BidsDescription:
    """What the tables of --bids mean."""
    from neurogaze_fast.eeg.description import BidsDescription, read_description

    if config.description is None:
        return BidsDescription()
    return read_description(config.description, BidsDescription)


def write_demo(config: PrepareEegConfig, folder: Path) -> None:
    """Write synthetic recordings in the real formats to a folder."""
    from neurogaze_fast.eeg.synthetic import write_demo_dreamer, write_demo_mahnob

    given = demo_options(config, folder)
    assert given.dreamer is not None
    assert given.mahnob is not None
    common: dict[str, Any] = {
        "seconds": config.demo_seconds,
        "strength": config.demo_strength,
        "seed": config.demo_seed,
    }
    write_demo_dreamer(
        given.dreamer,
        subjects=config.demo_subjects,
        clips=config.demo_clips,
        baseline_seconds=10,
        **common,
    )
    write_demo_mahnob(given.mahnob, sessions=config.demo_sessions, margin=10, **common)


def demo_options(config: PrepareEegConfig, folder: Path) -> PrepareEegConfig:
    """The options that read the files of :func:`write_demo`."""
    return replace(config, demo=False, dreamer=folder / "DREAMER.mat", mahnob=folder / "MAHNOB")


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
