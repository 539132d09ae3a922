"""What a header says of the recorder's filters: free text, and every maker has spellings."""

from __future__ import annotations

import re

_NUMBER = r"(\d+(?:[.,]\d+)?|[.,]\d+)\s*(k?Hz)?"
_FILTER = r"(?:[\s_-]*filter)?[\s:=~<(]*"
_LOW_PASS = (
    r"(?<![a-z])(?:LPF?|HFF?|TP|tiefpass|low[\s_-]*pass|hi(?:gh)?[\s_-]*cut(?:[\s_-]*off)?|"
    r"hi(?:gh)?[\s_-]*f(?:req(?:uency|\.)?|ilter))"
)
_HIGH_PASS = (
    r"(?<![a-z])(?:HPF?|LFF?|hochpass|high[\s_-]*pass|low?[\s_-]*cut(?:[\s_-]*off)?|"
    r"low?[\s_-]*f(?:req(?:uency|\.)?|ilter))"
)
_BAND_PASS = r"(?<![a-z])(?:BPF?|BW|pass[\s_-]*band|band[\s_-]*(?:pass|width)?|filter)"
_FROM = r"(?:DC|\d+(?:[.,]\d+)?|[.,]\d+)\s*(?:k?Hz)?"
_TO = r"\s*(?:-+|\u2010|\u2011|\u2012|\u2013|\u2014|\.\.+|\u2026|~|/|to|bis|and|,)\s*"
_LOW = (
    _LOW_PASS + _FILTER + _NUMBER,
    _NUMBER + r"[\s_-]*" + _LOW_PASS + r"(?![a-z\d\s:=]*[.,]?\d)",
    _BAND_PASS + _FILTER + _FROM + _TO + _NUMBER,
    r"^\s*" + _FROM + _TO + _NUMBER + r"[\s)]*$",
    r"^\s*<=?\s*" + _NUMBER,
)


def lowpass_of(prefilter: str) -> float | None:
    """Hz of the low-pass in a field such as "HP:0.1Hz LP:30Hz N:50Hz"; None where it names none.

    "BP 0.5-30", "0.16 .. 70 Hz", "DC-113Hz", "High cut: 30", "HFF 70" and the like are known, with
    a comma for the decimal point and in kHz. 0 is "off". Where the two have changed places
    ("LP:0.1Hz HP:30Hz") the larger is taken.
    """
    low = _hertz(_LOW, prefilter)
    if not low:
        return None
    high = _hertz((_HIGH_PASS + _FILTER + _NUMBER,), prefilter)
    swapped = high and max(high) > min(low)
    return max(high) if swapped else min(low)


def _hertz(patterns: tuple[str, ...], text: str) -> list[float]:
    found = [
        float(number.replace(",", ".")) * (1000 if unit.casefold() == "khz" else 1)
        for pattern in patterns
        for number, unit in re.findall(pattern, text, re.IGNORECASE)
    ]
    return [hertz for hertz in found if hertz > 0]
