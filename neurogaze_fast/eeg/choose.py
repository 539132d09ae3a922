"""Which channels of a recording stand for which sites, and which sites recordings share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.labels import sites_of
from neurogaze_fast.eeg.open_recording import Recording, open_recording
from neurogaze_fast.eeg.places import montage_points, nearest
from neurogaze_fast.eeg.sphere import Sphere

MIN_SITES = 4  # fewer make no map


def choose(
    recording: Recording,
    points: dict[str, np.ndarray],
    sphere: Sphere,
    wanted: tuple[str, ...] | None,
) -> tuple[dict[int, str], list[tuple[str, str]], dict[str, str]]:
    """Which channels of a recording are used.

    Args:
        recording: An open one.
        points: Label -> place, of the channels that have one.
        sphere: The head these are on.
        wanted: Sites to find by place where the names are of another system; None: all channels,
            under their own names.

    Returns:
        (channel -> site of those to use, (label, reason) of the rest, site -> the electrode that
        stands for it by place).
    """
    channels = recording.channels
    labels = [channel.label for channel in channels]
    sites = sites_of(labels)
    stand_ins: dict[str, str] = {}
    if points and len([site for site in sites if site]) < MIN_SITES:
        if wanted is None:  # as the cap names them
            sites = [label if label in points else None for label in labels]
        else:
            found = nearest(wanted, points, sphere)
            by_place = {label: site for site, (label, _) in found.items()}
            sites = [by_place.get(label) for label in labels]
            stand_ins = {site: f"{label}, {away:.1f} degrees away" for site, (label, away) in
                         found.items()}  # fmt: skip
    used: dict[int, str] = {}
    unused = []
    for number, (channel, site) in enumerate(zip(channels, sites, strict=True)):
        if site is None:
            reason = "a channel that is no site of the 10-20 system, or a second one there"
            unused.append((channel.label, reason))
        elif channel.problem:
            unused.append((channel.label, channel.problem))
        else:
            used[number] = site
    if used:
        # Channels of one recording can be sampled unlike each other: most of them decide.
        usual, _ = Counter(channels[i].sfreq for i in used).most_common(1)[0]
        for number in [i for i in used if channels[i].sfreq != usual]:
            del used[number]
            channel = channels[number]
            unused.append(
                (channel.label, f"a channel of {channel.sfreq:g} Hz among others of {usual:g} Hz")
            )
    return used, unused, stand_ins


def shared_sites(files: list[Path], montage: Any = None) -> tuple[str, ...] | None:
    """The sites that all recordings have, in the order of the first; read from their headers.

    Where that leaves fewer than half of the usual number (one odd file would spoil the set), the
    sites that most recordings have; the odd ones are then left out for want of a site. None where
    no recording can be read.
    """
    found = []
    for file in files:
        try:
            recording = open_recording(file)
        except (UnreadableError, OSError):
            continue  # said when its clips are read
        points, sphere = recording.points, recording.sphere
        if montage is not None:
            points, sphere = montage_points([c.label for c in recording.channels], montage)
        sites = list(choose(recording, points, sphere, None)[0].values())
        if len(sites) >= MIN_SITES:
            found.append(sites)
    if not found:
        return None
    counts = Counter(site for sites in found for site in sites)
    shared = [site for site in found[0] if counts[site] == len(found)]
    if len(shared) < max(MIN_SITES, np.median([len(sites) for sites in found]) / 2):
        shared = [site for site in counts if counts[site] > len(found) / 2]
    return tuple(shared) if len(shared) >= MIN_SITES else None
