"""Options of ``prepare eeg``; the docstring under each field is its help text."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from neurogaze_fast.errors import ConfigError

KNOWN_BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 14.0),
    "beta": (14.0, 31.0),
    "gamma": (31.0, 49.0),
}
"""Hz. The last four are those of :data:`~neurogaze_fast.eeg.spectrum.BANDS`."""


@dataclass(frozen=True)
class PrepareEegConfig:
    """Turn EEG recordings into topographic maps of band power."""

    out: Path
    """Folder to create; holds maps/ (for train-teacher), maps.png and summary.json."""

    dreamer: Path | None = None
    """DREAMER.mat."""
    mahnob: Path | None = None
    """MAHNOB-HCI: the folder Sessions, or the one that holds it."""
    mahnob_labels: bool = False
    """Use MAHNOB's ratings; without this flag its sessions are unlabelled support."""
    recording: Path | None = None
    """A recording of your own, or the folder that the files named in --ratings lie in."""
    ratings: Path | None = None
    """CSV with a row for each clip of --recording: file, subject, clip, start_s, end_s, valence,
    arousal (docs/eeg.md); the last four may be empty."""
    ratings_scale: tuple[float, float] = (-1.0, 1.0)
    """Lowest and highest rating possible in --ratings or --bids, such as 1 9."""
    bids: Path | None = None
    """A data set in BIDS: the folder that holds sub-01, sub-02, ..."""
    arrays: Path | None = None
    """A data set that is arrays (.mat, .dat, .pkl): its folder, laid out as --description says."""
    description: str | None = None
    """How a data set is laid out: for --bids faced-bids, dens-bids or emoeeg-mc-bids, for --arrays
    deap, amigos, seed or faced; or a .toml file of your own."""

    montage: str | None = None
    """Where the channels of --recording or --bids are: a montage of MNE's, such as biosemi128 or
    GSN-HydroCel-128, or a file of positions; by default where the file or the channels' names
    say."""

    demo: bool = False
    """Write synthetic DREAMER and MAHNOB files to OUT/demo and prepare those."""
    demo_subjects: int = 23
    """People in the synthetic DREAMER."""
    demo_clips: int = 18
    """Clips each of them watches."""
    demo_seconds: float = 20.0
    """Seconds of each synthetic clip."""
    demo_sessions: int = 12
    """Sessions in the synthetic MAHNOB-HCI."""
    demo_strength: float = 1.0
    """How strongly the synthetic ratings show in the band power; 0: not at all."""
    demo_seed: int = 0
    """Seed of the synthetic files."""

    all_channels: bool = False
    """Keep every EEG channel instead of the 14 sites that DREAMER and MAHNOB share (not for the
    two together)."""
    reference: Literal["average", "none"] = "average"
    """average: subtract the mean of the kept sites from each; none: as recorded."""
    bad_channel: float = 5.0
    """A channel is bad, and interpolated, from this robust z of its log-variance on."""
    reject: float = 150.0
    """A window is left out where a channel swings by more than this, microvolts peak to peak."""
    window: float = 2.0
    """Seconds a window lasts."""
    overlap: float = 0.5
    """Fraction of a window shared with the next one."""
    shard: str | None = None
    """I/N: measure the I-th of N parts, divided by person; prepare join makes the maps of all."""
    workers: int = 1
    """Processes that clean and measure trials; each computes on one thread. 1: this one."""
    keep_signals: bool = False
    """Keep each window's cleaned signal as well, for train-teacher --model EEGNet and the like."""
    seconds: float = 60.0
    """Of each DREAMER film, counted from its end (10 s or more)."""
    baseline: Literal["subtract", "none"] = "subtract"
    """subtract: take off the mean feature before the clip (of the clip itself where nothing was
    recorded before it, so that such a clip says only how it changes); none: take off nothing."""
    bands: tuple[str, ...] = ("theta", "alpha", "beta", "gamma")
    """delta (1-4 Hz), theta (4-8), alpha (8-14), beta (14-31), gamma (31-49), or NAME=LOW-HIGH."""
    feature: Literal["log_power", "de"] = "log_power"
    """Logarithm of band power, or differential entropy (half of it, plus a constant: the same maps
    once z-scored)."""
    size: int = 32
    """Side of a map, pixels."""
    method: Literal["cubic", "linear", "nearest", "spherical_spline"] = "cubic"
    """Interpolation between the sites."""

    def __post_init__(self) -> None:
        sources = [self.dreamer, self.mahnob, self.recording, self.bids, self.arrays]
        if not self.demo and not any(sources):
            raise ConfigError(
                "There is nothing to prepare. Give --dreamer, --mahnob, --bids, --arrays or "
                "--recording with --ratings; or --demo for synthetic recordings."
            )
        if self.demo and any(sources):
            raise ConfigError(
                "--demo writes its own synthetic recordings; mixed with --dreamer, --mahnob, "
                "--bids, --arrays or --recording they would spoil real ones. Leave one or the "
                "other out."
            )
        if (self.recording is None) != (self.ratings is None):
            if self.ratings:
                raise ConfigError("--ratings says what --recording holds: give that, too.")
            raise ConfigError(
                "--recording needs --ratings, a csv that says which clips the recording holds: "
                "file,subject,clip,start_s,end_s,valence,arousal. Without ratings the last two "
                "stay empty; without start_s and end_s a clip is the whole recording."
            )
        if self.mahnob_labels and not (self.mahnob or self.demo):
            raise ConfigError("--mahnob-labels is for --mahnob, which is not given.")
        if self.all_channels and self.demo:
            raise ConfigError(
                "--all-channels is not for --demo, whose two sets share only 14 sites."
            )
        if self.all_channels and self.mahnob and self.dreamer:
            raise ConfigError(
                "--all-channels is not for DREAMER and MAHNOB together: they share only 14 sites, "
                "which are used without this flag. Leave it out, or prepare one of the two."
            )
        if self.recording and self.bids:
            raise ConfigError(
                "--recording and --bids are not for one run: people of one name would be taken for "
                "one person. Prepare them one after the other."
            )
        if self.montage and not (self.recording or self.bids):
            raise ConfigError("--montage is for --recording or --bids, and neither is given.")
        if bool(self.description) and (self.bids is None) == (self.arrays is None):
            raise ConfigError("--description is for one of --bids and --arrays.")
        if self.arrays and not self.description:
            raise ConfigError("--arrays needs --description, such as deap, or a .toml file.")
        for name, low, high in (
            ("window", 1.0, 60.0),
            ("seconds", 10.0, float("inf")),
            ("overlap", 0.0, 0.95),
            ("bad_channel", 1.0, float("inf")),
            ("reject", 1.0, float("inf")),
            ("size", 4, 256),
            ("workers", 1, 256),
            ("demo_subjects", 2, 1000),
            ("demo_clips", 1, 100),
            ("demo_sessions", 1, 1000),
            ("demo_seconds", 10.0, 600.0),
            ("demo_strength", 0.0, 100.0),
            ("demo_seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} is {value}; it must lie in [{low:g}, {high:g}].")

        self.band_edges()
        self.part()

    def part(self) -> tuple[int, int] | None:
        """(i, n) of --shard.

        Raises:
            ConfigError: it is not i/n with i in [1, n].
        """
        if self.shard is None:
            return None
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(
                f"--shard is {self.shard!r}; it must be I/N with I from 1 to N, such as 2/8."
            )
        return int(match[1]), int(match[2])

    def band_edges(self) -> dict[str, tuple[float, float]]:
        """Name to (low, high) in Hz, in the order of --bands.

        Raises:
            ConfigError: an unknown name, a name twice, or edges outside the pass band.
        """
        edges: dict[str, tuple[float, float]] = {}
        for text in self.bands:
            match = re.fullmatch(r"([^=\s]+)=([\d.]+)-([\d.]+)", text)
            name = match[1] if match else text
            found = (float(match[2]), float(match[3])) if match else KNOWN_BANDS.get(name)
            if found is None:
                known = ", ".join(KNOWN_BANDS)
                raise ConfigError(
                    f"--bands has {text!r}, which is none of {known}, nor NAME=LOW-HIGH in Hz, "
                    "such as mu=8-13."
                )
            if name in edges:
                raise ConfigError(f"--bands names {name} twice.")
            if not 1 <= found[0] < found[1] <= 49:
                raise ConfigError(
                    f"--bands has {name} from {found[0]:g} to {found[1]:g} Hz; what is kept of a "
                    "recording reaches from 1 to 49 Hz."
                )
            edges[name] = found
        if not edges:
            raise ConfigError("--bands is empty; name at least one.")
        return edges

    def settings(self) -> dict[str, Any]:
        """What decides the maps, without where things are, as JSON: for provenance."""
        chosen = {k: v for k, v in dataclasses.asdict(self).items() if k not in _PLACES}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()}


_PLACES = {"out", "dreamer", "mahnob", "recording", "ratings", "bids", "arrays", "workers", "shard"}


@dataclass(frozen=True)
class JoinEegConfig:
    """Make the maps of all parts of prepare eeg --shard, as if they had been made in one go."""

    parts: Positional[Annotated[tuple[Path, ...], arg(metavar="PART ...")]]
    """The folders that prepare eeg --shard 1/N to N/N wrote, in any order."""
    out: Path
    """Folder to create; holds maps/ (for train_teacher), maps.png and summary.json."""
