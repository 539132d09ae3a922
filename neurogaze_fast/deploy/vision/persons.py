"""What the persons of a video expressed: a summary of each, in memory that does not grow with it.

Time is counted in at most :data:`BINS` bins: where a video is longer, two become one and each is
twice as long. At most :data:`PERSONS` are kept, those seen longest; the others are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurogaze_fast.deploy.face import Face
from neurogaze_fast.emotions import EMOTIONS, VALENCE_AROUSAL

BINS = 512
PERSONS = 64
FIRST_BIN_S = 0.25
_PLACES = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])


@dataclass
class Person:
    """One identity over the whole video."""

    identity: int
    first_s: float
    last_s: float = 0.0
    faces: int = 0
    quality: float = 0.0
    """Sum over the faces."""
    uncertain: int = 0
    labels: np.ndarray = field(default_factory=lambda: np.zeros(len(EMOTIONS), np.int64))
    """Faces of each label."""
    sums: np.ndarray = field(default_factory=lambda: np.zeros((BINS, len(EMOTIONS))))
    """Probabilities, added up by bin."""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def probabilities(self) -> np.ndarray:
        """float64 [8]: the mean of all its faces."""
        return self.sums.sum(axis=0) / max(1, self.faces)

    def over_time(self) -> np.ndarray:
        """float64 [BINS, 8], NaN where it was not seen."""
        with np.errstate(invalid="ignore"):
            return self.sums / np.where(self.counts, self.counts, np.nan)[:, None]

    def summary(self) -> dict[str, Any]:
        """For the results."""
        mean = self.probabilities()
        valence, arousal = (mean @ _PLACES).tolist()
        return {
            "id": self.identity, "first_s": round(self.first_s, 3),
            "last_s": round(self.last_s, 3), "faces": self.faces,
            "label": EMOTIONS[int(mean.argmax())],
            "probabilities": dict(zip(EMOTIONS, mean.round(6).tolist(), strict=True)),
            "valence": round(valence, 4), "arousal": round(arousal, 4),
            "labels": {n: int(c) for n, c in zip(EMOTIONS, self.labels, strict=True) if c},
            "quality": round(self.quality / max(1, self.faces), 3), "uncertain": self.uncertain,
        }  # fmt: skip


class Persons:
    """All identities of one video."""

    def __init__(self) -> None:
        self.bin_s = FIRST_BIN_S
        self.all: dict[int, Person] = {}
        self.left_out = 0
        """Identities that were seen too shortly to be kept."""
        self.end_s = 0.0

    def add(self, time_s: float, faces: Sequence[Face]) -> None:
        """The faces of one frame; those without an identity are passed over."""
        self.end_s = max(self.end_s, time_s)
        while time_s >= BINS * self.bin_s:
            self._halve()
        at = int(time_s / self.bin_s)
        for face in faces:
            if face.identity is None:
                continue
            person = self.all.get(face.identity)
            if person is None:
                person = self.all[face.identity] = Person(face.identity, time_s)
            probabilities = np.fromiter(face.probabilities.values(), float, len(EMOTIONS))
            person.last_s = time_s
            person.faces += 1
            person.quality += 0.0 if face.quality is None else face.quality.value
            person.uncertain += face.uncertain
            person.labels[int(probabilities.argmax())] += 1
            person.sums[at] += probabilities
            person.counts[at] += 1
        if len(self.all) > 2 * PERSONS:
            self._forget(time_s)

    def longest(self, most: int = PERSONS) -> list[Person]:
        """Those seen in most frames, in the order they came."""
        chosen = sorted(self.all.values(), key=lambda p: -p.faces)[:most]
        return sorted(chosen, key=lambda p: p.identity)

    def summary(self) -> dict[str, Any]:
        """For the results."""
        shown = self.longest()
        left_out = self.left_out + len(self.all) - len(shown)
        return {"persons": [p.summary() for p in shown], "persons_left_out": left_out}

    def _halve(self) -> None:
        self.bin_s *= 2
        for person in self.all.values():
            for name in ("sums", "counts"):
                pairs = getattr(person, name)
                joined = np.zeros_like(pairs)
                joined[: BINS // 2] = pairs[::2] + pairs[1::2]
                setattr(person, name, joined)

    def _forget(self, now_s: float) -> None:
        # Whoever is there now has not had the time yet: the half that was not seen last goes first.
        kept = sorted(self.all.values(), key=lambda p: (now_s - p.last_s > 10, -p.faces))[:PERSONS]
        self.left_out += len(self.all) - len(kept)
        self.all = {p.identity: p for p in sorted(kept, key=lambda p: p.identity)}

    def to_json(self) -> dict[str, Any]:
        """Everything that it knows, to go on with later."""
        return {
            "bin_s": self.bin_s, "left_out": self.left_out, "end_s": self.end_s,
            "all": [
                {
                    "identity": p.identity, "first_s": p.first_s, "last_s": p.last_s,
                    "faces": p.faces, "quality": p.quality, "uncertain": p.uncertain,
                    "labels": p.labels.tolist(), "sums": p.sums.tolist(),
                    "counts": p.counts.tolist(),
                }
                for p in self.all.values()
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Persons:
        """What :meth:`to_json` gave."""
        persons = cls()
        persons.bin_s, persons.left_out = saved["bin_s"], saved["left_out"]
        persons.end_s = saved["end_s"]
        for p in saved["all"]:
            arrays = {name: np.array(p[name]) for name in ("labels", "sums", "counts")}
            persons.all[p["identity"]] = Person(**{**p, **arrays})
        return persons
