"""AffectNet's numbers for expressions."""

from __future__ import annotations

from neurogaze_fast.errors import DataError

CODES = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""AffectNet's numbers 0..7."""
NO_EMOTION_CODES = {8: "none", 9: "uncertain", 10: "non-face"}


def code_emotion(code: int, where: str) -> tuple[str | None, str]:
    """(emotion or None, why it is left out) of one of AffectNet's numbers.

    Raises:
        DataError: it is none of them; `where` names the place.
    """
    if 0 <= code < len(CODES):
        return CODES[code], ""
    if code in NO_EMOTION_CODES:
        return None, f"labelled {NO_EMOTION_CODES[code]} ({code})"
    raise DataError(
        f"{where} is {code}; AffectNet's expressions are 0 to 10. Is this an AffectNet file?"
    )


def whole_number(text: str, where: str) -> int:
    """A number that may be written as 6, 6.0 or 6e0.

    Raises:
        DataError: it is none; `where` names the place.
    """
    try:
        value = float(text)
        if value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise DataError(f"{where} is {text!r}, expected a whole number. Unpack the file again.")
