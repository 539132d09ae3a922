"""What makes a part of a recording unusable: one rule for every reader, in words that group."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from neurogaze_fast.eeg.gaps import Gap, samples_of
from neurogaze_fast.errors import ConfigError

MIN_SECONDS = 10.0
"""A shorter clip gives too few windows to say anything of its mean (our choice)."""


def signal_defect(signal: np.ndarray, sfreq: float, gaps: Sequence[Gap] = ()) -> str | None:
    """Why the signal [C, T] at `sfreq` Hz is left out; None: it can be used.

    A single flat channel is no reason: cleaning interpolates it.
    """
    if signal.shape[1] < MIN_SECONDS * sfreq:
        return f"shorter than {MIN_SECONDS:g} s"
    return damage(signal, "signal", sfreq, gaps)


def damage(signal: np.ndarray, name: str, sfreq: float, gaps: Sequence[Gap] = ()) -> str | None:
    """Values that are not finite, or nothing but constants, in `name` [C, T] outside its gaps."""
    everywhere = [gap for gap in gaps if gap.ch_names is None and gap.end > gap.start]
    if everywhere:
        kept = ~samples_of(everywhere, ("all",), signal.shape[1], sfreq)[0]
        if not kept.any():
            return f"all of the {name} is {everywhere[0].reason}"
        signal = signal[:, kept]
    if not np.isfinite(signal).all():
        return f"NaN or infinity in the {name}"
    if (np.ptp(signal, axis=1) == 0).all():
        return f"flat {name}"
    return None


def unit_rating(value: object, low: float, high: float) -> float | None:
    """A rating on [low, high] mapped to [-1, 1]; None where it is no number or out of range.

    1..5 maps by (r - 3) / 2 and 1..9 by (r - 5) / 4.
    """
    number = _number(value)
    if not low <= number <= high:  # nor where it is NaN
        return None
    return (number - (low + high) / 2) / ((high - low) / 2)


def rating_defect(
    found: Sequence[object], low: float, high: float, scale: str
) -> tuple[str, str] | None:
    """(reason, what was found) where one of valence and arousal cannot be used; else None.

    Args:
        found: Valence and arousal, as they stand in the file.
        low, high: See :func:`unit_rating`.
        scale: The scale in words, such as "1..9".
    """
    if all(unit_rating(value, low, high) is not None for value in found):
        return None
    words = any(math.isnan(_number(value)) for value in found)
    texts = (repr(value) if isinstance(value, str) else str(value) for value in found)
    detail = ", ".join(
        f"{name} {text[:40]}" for name, text in zip(("valence", "arousal"), texts, strict=True)
    )
    return "rating is no number" if words else f"rating outside {scale}", detail


def _number(value: object) -> float:
    """NaN where it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def check_seconds(seconds: float | None) -> None:
    """Refuse a length that no clip could have.

    Raises:
        ConfigError: `seconds` is neither None nor a number of at least MIN_SECONDS.
    """
    if seconds is not None and not (math.isfinite(seconds) and seconds >= MIN_SECONDS):
        raise ConfigError(
            f"seconds is {seconds!r}; a clip of less than {MIN_SECONDS:g} s is left out, so give "
            "at least that."
        )


def last_seconds(signal: np.ndarray, sfreq: float, seconds: float | None) -> np.ndarray:
    """The last `seconds` of [C, T], or all of it where it is shorter or `seconds` is None."""
    if seconds is None:
        return signal
    return signal[:, -min(signal.shape[1], round(seconds * sfreq)) :]


def one_line(error: BaseException) -> str:
    """An exception's message on one line, short enough for a list of parts left out."""
    text = " ".join(str(error).split()) or "it ends early, or is damaged"
    return f"{type(error).__name__}: {text[:160]}"
