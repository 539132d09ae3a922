"""One clip out of an open recording: its samples, its gaps, its ratings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from neurogaze_fast.eeg.clip_csv import ClipRow
from neurogaze_fast.eeg.defects import damage, rating_defect, signal_defect, unit_rating
from neurogaze_fast.eeg.dropout import odd_scales
from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.gaps import Gap, within
from neurogaze_fast.eeg.open_recording import Channel, Recording
from neurogaze_fast.eeg.recording import LeftOut, Trial


def clip_of(
    recording: Recording, used: dict[int, str], row: ClipRow, file: Path
) -> Trial | LeftOut:
    """One clip's signal and ratings, or why there is none.

    Args:
        recording: An open one; used: channel -> site of those to read.
        row: What the list says of the clip.
        file: The recording's, for messages.
    """

    def out(reason: str, detail: str = "") -> LeftOut:
        return LeftOut(file, what_of(row) + (f" ({detail})" if detail else ""), reason)

    chosen = [recording.channels[i] for i in used]
    ch_names, sfreq = tuple(used.values()), chosen[0].sfreq
    if bool(row.ratings[0]) != bool(row.ratings[1]):
        return out("only one of valence and arousal")
    wrong = rating_defect(row.ratings, *row.scale, "its scale") if row.ratings[0] else None
    if wrong:
        return out(*wrong)
    ratings = [unit_rating(text, *row.scale) for text in row.ratings]
    length = recording.seconds
    spans = [(row.span[0] or 0.0, length if row.span[1] is None else row.span[1])]
    spans += [row.baseline] if row.baseline else []
    if any(end > length + 0.5 / sfreq or start >= end for start, end in spans):
        lasts = f"it lasts {length:.2f} s"
        if recording.cut_short:
            return out("the interval lies beyond the end of a file that is cut short", lasts)
        return out("the interval is empty or outside the recording", lasts)
    spans = [(start, min(end, length)) for start, end in spans]
    try:
        parts = [recording.microvolts(list(used), start, end) for start, end in spans]
    except UnreadableError as cause:
        return out(cause.reason, cause.detail)
    # A gap of some channels names them as the file does; a trial names the sites.
    sites = {channel.label: site for channel, site in zip(chosen, ch_names, strict=True)}
    gaps = [within(_at_sites(recording.gaps, sites), start, end) for start, end in spans]
    signal, rest = parts[0], parts[1] if row.baseline and parts[1].size else None
    reason = signal_defect(signal, sfreq, gaps[0])
    if reason is None and rest is not None:
        reason = damage(rest, "baseline", sfreq, gaps[1])
    if reason:
        return out(reason)
    lowpass = [channel.lowpass for channel in chosen if channel.lowpass is not None]
    return Trial(
        source="file",
        subject=f"file-{row.subject}",
        clip=row.clip,
        signal=signal,
        baseline=rest,
        sfreq=sfreq,
        ch_names=ch_names,
        valence=ratings[0],
        arousal=ratings[1],
        path=file,
        gaps=(*gaps[0], *odd_scales(signal, ch_names, sfreq)),
        baseline_gaps=gaps[1] if rest is not None else (),
        lowpass=min(lowpass, default=None),
        film=row.film,
        bads=_bads(chosen, ch_names, row),
    )


def _bads(chosen: list[Channel], ch_names: tuple[str, ...], row: ClipRow) -> tuple[str, ...]:
    """The sites of channels marked as bad, in the file or in the row."""
    listed = {label.casefold() for label in row.bads}
    return tuple(
        site
        for channel, site in zip(chosen, ch_names, strict=True)
        if channel.bad or {channel.label.casefold(), site.casefold()} & listed
    )


def _at_sites(gaps: tuple[Gap, ...], sites: dict[str, str]) -> Iterator[Gap]:
    """Gaps with sites for labels, without those that only concern channels not used."""
    for gap in gaps:
        if gap.ch_names is None:
            yield gap
        elif named := tuple(sites[label] for label in gap.ch_names if label in sites):
            yield replace(gap, ch_names=named)


def what_of(row: ClipRow) -> str:
    return f"line {row.line}: subject {row.subject}, clip {row.clip}"
