"""Answers over time: what somebody expresses, rather than what each frame says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurogaze_fast.deploy.face import Face, Smoothed
from neurogaze_fast.deploy.vision.tracker import FORGOTTEN_S
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL

_PLACES = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])


class Smoother:
    """The mean of each identity's probabilities, of which a frame's share falls to 1/e in `lag_s`.

    Only the past is used, so a change is seen late: by `lag_s` on average (half of it after 0.7
    `lag_s`).
    """

    def __init__(self, lag_s: float) -> None:
        """`lag_s` 0: each frame speaks for itself."""
        self.lag_s = lag_s
        self._kept: dict[int, tuple[float, np.ndarray]] = {}

    def add(self, time_s: float, identity: int, face: Face) -> Smoothed:
        """The smoothed answer for a face of a frame; frames come in order."""
        now = np.array(list(face.probabilities.values()))
        if self.lag_s > 0 and identity in self._kept:
            before_s, before = self._kept[identity]
            share = -math.expm1(-(time_s - before_s) / self.lag_s)
            now = before + share * (now - before)
        self._kept[identity] = (time_s, now)
        if len(self._kept) > 64:
            kept = self._kept.items()
            self._kept = {i: v for i, v in kept if time_s - v[0] <= FORGOTTEN_S}
        best = int(now.argmax())
        valence, arousal = (now @ _PLACES).tolist()
        return Smoothed(EMOTIONS[best], float(now[best]), valence, arousal)

    def to_json(self) -> list[Any]:
        """Everything that it knows, to go on with later."""
        return [[i, time_s, values.tolist()] for i, (time_s, values) in self._kept.items()]

    def restore(self, saved: list[Any]) -> None:
        """Go on with what :meth:`to_json` gave."""
        self._kept = {i: (time_s, np.array(values)) for i, time_s, values in saved}
