"""Trials in memory to a map set: clean, cut, band power, baseline, z-score by subject, maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.eeg.assemble import Assembly, Progress
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.content import file_label, whole_hash
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.eeg.measure import Found, measured
from neurogaze_fast.eeg.preprocess import CleanOptions
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.eeg.sources import sites_of_sources


def build_maps(
    trials: Iterable[Trial | LeftOut],
    config: PrepareEegConfig,
    *,
    synthetic: bool = False,
    also_hash: Iterable[Path] = (),
    progress: Progress | None = None,
) -> MapSet:
    """Make the map set of all trials in memory, one trial's signal at a time.

    The steps, in this order: clean; cut into windows; leave out windows that touch a gap or a
    dropout, or whose peak-to-peak amplitude is too large; take the feature of band
    power; subtract its mean over the baseline's windows (where there is no usable baseline, the
    mean of the trial's own windows, our choice, flagged and counted); scale each subject by that
    subject's own windows; interpolate.

    Args:
        trials: what the readers give.
        config: its options for cleaning, windows, feature and maps.
        synthetic: whether any recording is.
        also_hash: files the trials also depend on, such as a csv of ratings.
        progress: called with ("trials" or "maps", how many are done, how many there are or None).

    Raises:
        DataError: no window is left; says why trials were left out.
    """
    progress = progress or (lambda stage, done, total: None)
    options = clean_options(config)
    found: list[Found] = []
    for _, each in measured(((0, trial) for trial in trials), options, config):
        found.append(each)
        progress("trials", len(found), None)
    assembly = Assembly(
        lambda: iter(found), config.settings(), config.band_edges(), options.sites, progress
    )
    blocks = list(assembly.blocks())
    columns: dict[str, Any] = {
        name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]
    }
    paths = dict.fromkeys([*(brief.trial.path for brief in assembly.kept), *also_hash])
    files = [{"file": file_label(path), "sha256": whole_hash(path)} for path in paths]
    return replace(assembly.frame(files, synthetic=synthetic), **columns)


def clean_options(config: PrepareEegConfig) -> CleanOptions:
    """How every trial is cleaned; looks into the recordings' headers for the sites they share."""
    return CleanOptions(
        sites=sites_of_sources(config),
        reference=config.reference,
        bad_channel=config.bad_channel,
    )
