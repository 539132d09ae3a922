"""Which of the measured trials are used: what can only be said when all of them have been seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from neurogaze_fast.eeg.measure import Counts, Found
from neurogaze_fast.eeg.recording import LeftOut, Trial
from neurogaze_fast.errors import DataError


@dataclass(frozen=True, eq=False, slots=True)
class Brief:
    """A measured trial without its windows, so that any number of them can be looked at."""

    at: int
    """Its number among all that was found."""
    trial: Trial
    ch_names: tuple[str, ...]
    bands: tuple[str, ...]
    windows: int

    @property
    def what(self) -> str:
        return f"{self.trial.subject}, clip {self.trial.clip}"


@dataclass(frozen=True, eq=False)
class Decision:
    kept: list[Brief]
    names: tuple[str, ...]
    bands: tuple[str, ...]
    counts: Counts


def decide(
    found: Iterable[Found], sites: tuple[str, ...] | None, wanted: tuple[str, ...]
) -> Decision:
    """The trials to use, their sites and bands, and what is left out of the whole set.

    Args:
        found: everything, in order.
        sites: that every trial was reduced to; None: those of the first one measured.
        wanted: the bands asked for.

    Raises:
        DataError: no window is left; says why trials were left out.
    """
    counts = Counts()
    briefs: list[Brief] = []
    alike: dict[tuple[str, ...], tuple[str, ...]] = {}
    for at, each in enumerate(found):
        counts.windows += each.windows
        part = each.kept
        if isinstance(part, LeftOut):
            counts.add(part)
            continue
        names = alike.setdefault(part.ch_names, part.ch_names)  # one copy for all trials
        sites = sites or names
        brief = Brief(at, part.trial, names, part.bands, len(part.start))
        if names == sites:
            briefs.append(brief)
        else:
            reason = "other channels than the first trial"
            counts.add(LeftOut(part.trial.path, brief.what, reason))
    bands, briefs = _same_bands(briefs, counts, wanted)
    briefs = _without_lone_windows(briefs, counts)
    if not briefs or sites is None:
        raise DataError(_nothing_left(counts))
    return Decision(briefs, sites, bands, counts)


def _same_bands(
    briefs: list[Brief], counts: Counts, wanted: tuple[str, ...]
) -> tuple[tuple[str, ...], list[Brief]]:
    """The bands that some recording has, and the trials that have all of them.

    A recorder's low-pass takes bands away. Where every trial lacks them the set is made without;
    a trial that lacks what others have is left out. Both are counted.
    """
    bands = max((brief.bands for brief in briefs), key=len, default=wanted)
    kept = []
    for brief in briefs:
        lacking = [name for name in wanted if name not in brief.bands]
        if lacking:
            names, lowpass = " or ".join(lacking), brief.trial.lowpass
            reason = f"low-passed at {lowpass:g} Hz in the header: no {names}"
            whole = brief.bands == bands
            what = f"{names} of {brief.what}" if whole else brief.what
            counts.add(LeftOut(brief.trial.path, what, reason))
            if not whole:
                continue
        kept.append(brief)
    return bands, kept


def _without_lone_windows(briefs: list[Brief], counts: Counts) -> list[Brief]:
    """Trials of subjects with at least two windows: one alone has no spread to be scaled by."""
    windows: Counter[str] = Counter()
    for brief in briefs:
        windows[brief.trial.subject] += brief.windows
    for brief in briefs:
        if windows[brief.trial.subject] < 2:
            counts.add(LeftOut(brief.trial.path, brief.what, "the subject's only window"))
    return [brief for brief in briefs if windows[brief.trial.subject] >= 2]


def _nothing_left(counts: Counts) -> str:
    """Why there is no window, with a part for each reason, and what to do."""
    reasons = "; ".join(
        f"{reason} ({count}, such as {counts.examples[reason][0]})"
        for reason, count in counts.left_out.most_common()
    )
    text = f"No window could be used. Left out: {reasons or 'nothing, there were no trials'}."
    if any("swings by" in reason or "flat" in reason for reason in counts.left_out):
        text += (
            " Check that the recordings are EEG, and their unit: MNE's objects and .fif files hold "
            "volts, DREAMER.mat microvolts."
        )
    if any("outside its scale" in reason for reason in counts.left_out):
        text += " Say the lowest and highest rating by --ratings-scale, such as 1 9."
    if any("rating is no number" in reason for reason in counts.left_out):
        text += " Write ratings as numbers with a point, or leave both empty where there are none."
    if any("without the site" in reason for reason in counts.left_out):
        text += " Sites other than DREAMER's 14 need --all-channels."
    return text
