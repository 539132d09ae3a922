"""From the labels that recorders write to the sites of the 10-20 system."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from neurogaze_fast.eeg.montage import known_sites

MIN_SHARED = 4
"""Channels that must share an unknown prefix, or a site as reference, before it is taken off."""

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−﹣－"), "-")
_INVISIBLE = re.compile(r"[\x00-\x1f\u200b-\u200f\u2060\ufeff]")
_QUOTED = re.compile(r"""(["'])(.*)\1""")
_UNIT = re.compile(
    r"[\s_-]*[\[(]\s*(?:[uµμn]|m|micro)?v(?:olts?)?\s*[\])]$|[\s_]+[uµμ]v$", re.IGNORECASE
)
_PREFIX = re.compile(
    r"^(?:(?:S?EEG|POL|RAW|CH(?:AN(?:NEL)?)?)\s*\d*(?:[\s:._/-]+|(?=[A-Z]))|\d+[\s:._-]+|\$)",
    re.IGNORECASE,
)
_EEG_BEHIND = re.compile(r"[\s:._-]+EEG$", re.IGNORECASE)
_EARS = r"(?:A1|A2|M1|M2)"
_REFERENCE = re.compile(
    rf"""[\s]*[-:/._\s][\s]*
    (?:c?ref(?:erence)?\d?(?:-\d)?|c?[lr]e|ler|ar|av\d*|avg|average|car|csd|cms|drl|gnd|org|orig
    |nose|nz|spa|aa|x\d|g\d|lm|rm|lin?ked[\s_-]*(?:ears?|mastoids?)|ears?|mastoids?
    |\(?{_EARS}(?:\s*[+/&]?\s*{_EARS})?\)?(?:\s*/\s*2)?|\d)$""",
    re.IGNORECASE | re.VERBOSE,
)
_PAIR = re.compile(r"(?P<site>\S+?)\s*[-:/._\s]\s*(?P<reference>[A-Z]+\d*z?)$", re.IGNORECASE)
# Not potentials of the scalp, whatever site the label names beside it.
_NEVER = re.compile(
    r"^\W*(?:E[CKMO]G|CQ|EQ|HSI|POW|IMP|RESP|GSR|ACC|GYRO|MOT|MKR)"
    r"|theta|alpha|beta|gamma|delta|power|quality|impedance",
    re.IGNORECASE,
)
# No site of the 10-20 system is called B1 or A3; caps with lettered positions have one of them.
_LETTERED = re.compile(r"[A-H](?:[1-9]|[12]\d|3[0-2])", re.IGNORECASE)


def tidy_label(label: str) -> str:
    """A channel's label without what recorders put around the site's name.

    "EEG Fp1-Ref", "FP1.", "eeg:Fp1", "Fp1-LE", "EEG T3-A2", "RAW_Fp1", "Fp1 (uV)" give Fp1, FP1,
    Fp1, Fp1, T3, Fp1, Fp1. A reference that is a site of the scalp ("Fp1-Cz") stays: among the
    labels of a bipolar chain it is the second electrode.
    """
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", label)).translate(_DASHES)
    text = " ".join(text.split()).strip(" .,")
    text = _QUOTED.sub(r"\2", text)
    text = _UNIT.sub("", text)
    text = _EEG_BEHIND.sub("", _PREFIX.sub("", text))
    text = _PREFIX.sub("", text)  # "1-EEG Fp1"
    text = _REFERENCE.sub("", text).strip(" .,_-:")
    return re.sub(r"^([A-Z]+)0([1-9])$", r"\1\2", text, flags=re.IGNORECASE)


def sites_of(labels: Sequence[str]) -> list[str | None]:
    """The 10-20 site of each label, None where there is none or an earlier label has it already.

    BioSemi's caps of 128 and more name their positions A1..A32, B1..; some of those (C1..C6) look
    like 10-20 sites and lie elsewhere. Where such labels occur, every one of them is None.

    Where at least four channels have the same scalp site behind their own ("Fp1-CPz", "F3-CPz"),
    it is their reference and is taken off; in a bipolar chain it changes from label to label. Where
    fewer than four labels are sites so far, a beginning or an end that at least four share is taken
    off too.
    """
    tidy = [tidy_label(label) for label in labels]
    tidy = _without_shared_reference(tidy)
    if {"A3", "B1"} & {label.upper() for label in tidy}:
        tidy = ["" if _LETTERED.fullmatch(label) else label for label in tidy]
    found = known_sites(tidy)
    if len({site for site in found if site}) < MIN_SHARED:
        shared = _without_shared_ends(tidy)
        found = [site or other for site, other in zip(found, shared, strict=True)]
    once: list[str | None] = []
    for site in found:
        once.append(None if site in once else site)
    return once


def _without_shared_reference(labels: list[str]) -> list[str]:
    """Labels "SITE-REFERENCE" without their reference, where it is one site for most of them."""
    matches = [_PAIR.fullmatch(label) for label in labels]
    ends = [match["reference"] if match else "" for match in matches]
    scalp = known_sites(ends)
    counts = Counter(site for site in scalp if site)
    common, count = counts.most_common(1)[0] if counts else (None, 0)
    if count < MIN_SHARED or 2 * count < sum(counts.values()):
        return labels
    return [
        match["site"] if match and site == common else label
        for label, match, site in zip(labels, matches, scalp, strict=True)
    ]


def _without_shared_ends(labels: list[str]) -> list[str | None]:
    """The sites inside labels, where at least four have the same text around them."""
    pieces = [_around(label) for label in labels]
    counts = Counter(piece[:2] for piece in pieces if piece)
    return [piece[2] if piece and counts[piece[:2]] >= MIN_SHARED else None for piece in pieces]


def _around(label: str) -> tuple[str, str, str] | None:
    """(before, behind, site) of the one site a label holds; digits before it count as alike."""
    if _NEVER.search(label):
        return None
    words = re.findall(r"[A-Za-z]+\d*[A-Za-z]*|\d+|[^A-Za-z\d]+", label)
    sites = known_sites(words)
    at = [number for number, site in enumerate(sites) if site]
    if len(at) != 1:  # two sites are a bipolar channel
        return None
    before, behind = "".join(words[: at[0]]), "".join(words[at[0] + 1 :])
    return re.sub(r"\d+", "#", before).casefold(), behind.casefold(), sites[at[0]] or ""
