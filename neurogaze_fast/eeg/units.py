"""Units of potential as recorders spell them."""

from __future__ import annotations

import contextlib
import re
import unicodedata

_PREFIXES = {
    **dict.fromkeys(("u", "μ", "micro", "mc", "mk", "мк", "æ"), 1.0),  # æ: a micro sign in CP437
    "n": 1e-3,
    "nano": 1e-3,
    "m": 1e3,
    "milli": 1e3,
    "": 1e6,
}
_VOLT = re.compile(r"(?:(?P<prefix>\w+?)[\s._-]*)?(?:v|volts?|vol|в)")


def microvolts_per(unit: str) -> float | None:
    """How many microvolts one `unit` is; None: it is not known.

    "uV", "UV", "µV" (micro sign or Greek letter), "uVolt", "microvolts", "mV", "nV", "V" and the
    like, in brackets or not. Capital M alone is not known: it may mean milli or mega.
    """
    text = unit
    with contextlib.suppress(UnicodeError):  # UTF-8 that was read as Latin-1: "Âµ"
        text = text.encode("latin-1").decode("utf-8")
    # NFKC makes one letter of the micro sign and the Greek mu.
    text = unicodedata.normalize("NFKC", text).replace("\u00c2", "")
    text = re.sub(r"[\x00-\x1f\u200b-\u200f\ufeff]", "", text).strip().strip("[](){}").strip()
    if text.startswith("M") and not text.casefold().startswith(("mi", "mc", "mk")):
        return None
    match = _VOLT.fullmatch(text.casefold())
    return _PREFIXES.get(match["prefix"] or "") if match else None
