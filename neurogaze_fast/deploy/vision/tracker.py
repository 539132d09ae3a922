"""Which face of one frame is which of the next: identities by motion, size and looks.

Own code, because the packages weighed do not fit: `supervision` brings PyAV, Matplotlib and
requests and tracks by overlap alone, `norfair` wants numpy below 2, `motpy` is of 2021 and knows no
looks; what is needed here is one assignment a frame.

An identity means "the face seen here a moment ago". It ends where the picture is cut or the face is
away for :data:`FORGOTTEN_S`; nobody is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

FORGOTTEN_S = 2.0
"""A face that is away for longer comes back as another one."""
_REACH, _REACH_A_S = 0.8, 4.0
"""How far from where it is expected a face may be, in its own sizes: at once, and more for each
second that it was not seen."""
_MOST_GROWTH = 1.8
"""How much larger or smaller it may be."""
_LEAST_LIKENESS = 0.3
_MOTION, _GROWTH, _LOOKS, _AWAY = 1.0, 0.5, 2.0, 0.5
"""Weights of the parts of a cost, each about 1 where a match is as bad as it may be; the last for
each second that a face was not seen."""
_FOLLOW, _LEARN = 0.6, 0.3
"""Share of each new velocity and look in what is kept of a track."""
_PERSISTENCE_S = 0.7
"""Nobody goes on for ever: a velocity that is not seen falls to 1/e in so long."""
_NEVER = 1e6
"""Stands for an infinite cost, far above the sum of all others."""
_NEAR = 0.05
"""Intersection over union from which faces may hide one another, so that no look is learned."""

LOOK_PIXELS = 24
"""Faces are cut out at this size to be looked at."""


@dataclass
class Track:
    """One face over time; positions in pixels, times in seconds."""

    identity: int
    centre: np.ndarray
    size: float
    look: np.ndarray
    seen_s: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def expected(self, time_s: float) -> np.ndarray:
        """Where its centre should be."""
        away = max(0.0, time_s - self.seen_s)
        return self.centre + self.velocity * _PERSISTENCE_S * -np.expm1(-away / _PERSISTENCE_S)


class Tracker:
    """Gives each face of each frame an identity, counted from 1."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.given = 0
        """Identities given so far."""

    def update(self, time_s: float, boxes: np.ndarray, looks: np.ndarray) -> list[int]:
        """Identities of the faces of a frame, in their order.

        Args:
            time_s: of the frame; never earlier than the last one's.
            boxes: [n, >= 4] left, top, right, bottom; looks: [n, d] of :func:`look_of`.
        """
        self.tracks = [t for t in self.tracks if time_s - t.seen_s <= FORGOTTEN_S]
        boxes = np.asarray(boxes[:, :4], np.float64)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        sizes = np.maximum((boxes[:, 2:] - boxes[:, :2]).mean(axis=1), 1.0)
        identities = [0] * len(boxes)
        cost = self._cost(time_s, centres, sizes, looks)
        alone = _apart(boxes)
        for at, which in cheapest_pairs(cost):
            track = self.tracks[at]
            identities[which] = track.identity
            self._follow(track, time_s, centres[which], sizes[which])
            if alone[which]:
                track.look = _unit((1 - _LEARN) * track.look + _LEARN * looks[which])
        for which in (i for i, identity in enumerate(identities) if not identity):
            self.given += 1
            identities[which] = self.given
            self.tracks.append(
                Track(self.given, centres[which], float(sizes[which]), looks[which], time_s)
            )
        return identities

    def forget(self) -> None:
        """The picture is cut: whoever is seen from here on is somebody new."""
        self.tracks = []

    def _cost(
        self, time_s: float, centres: np.ndarray, sizes: np.ndarray, looks: np.ndarray
    ) -> np.ndarray:
        """[tracks, faces]; infinite where a face cannot be that track's."""
        cost = np.full((len(self.tracks), len(centres)), np.inf)
        for row, track in zip(cost, self.tracks, strict=True):
            away = time_s - track.seen_s
            reach = _REACH + _REACH_A_S * away
            unit = np.sqrt(sizes * track.size) * reach
            distance = np.linalg.norm(centres - track.expected(time_s), axis=1) / unit
            # Whoever turns back is where the last frame had it rather than where it was to be.
            stayed = np.linalg.norm(centres - track.centre, axis=1) / unit
            growth = np.abs(np.log(sizes / track.size)) / np.log(_MOST_GROWTH)
            likeness = looks @ track.look
            nearest = np.minimum(distance, stayed)
            # Close by even a face that is half hidden is its own; from afar it must look alike.
            like = (likeness >= _LEAST_LIKENESS) | (nearest * reach <= _REACH)
            possible = (nearest <= 1) & (growth <= 1) & like
            total = _MOTION * distance + _GROWTH * growth + _LOOKS * (1 - likeness) + _AWAY * away
            row[possible] = total[possible]
        return cost

    def _follow(self, track: Track, time_s: float, centre: np.ndarray, size: float) -> None:
        away = time_s - track.seen_s
        if away > 0:
            velocity = (centre - track.centre) / away
            # The first one is all that is known.
            share = _FOLLOW if track.velocity.any() else 1.0
            track.velocity = (1 - share) * track.velocity + share * velocity
        track.centre, track.seen_s = centre, time_s
        track.size = (1 - _FOLLOW) * track.size + _FOLLOW * float(size)

    def velocities(self) -> dict[int, np.ndarray]:
        """Identity -> pixels a second (x, y), of those that are known."""
        return {track.identity: track.velocity for track in self.tracks}

    def to_json(self) -> dict[str, Any]:
        """Everything that it knows, to go on with later."""
        tracks = [
            {
                "identity": t.identity, "centre": t.centre.tolist(), "size": t.size,
                "look": t.look.tolist(), "seen_s": t.seen_s, "velocity": t.velocity.tolist(),
            }
            for t in self.tracks
        ]  # fmt: skip
        return {"given": self.given, "tracks": tracks}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Tracker:
        """What :meth:`to_json` gave."""
        tracker = cls()
        tracker.given = saved["given"]
        tracker.tracks = [
            Track(
                t["identity"], np.array(t["centre"]), t["size"], np.array(t["look"]), t["seen_s"],
                np.array(t["velocity"]),
            )
            for t in saved["tracks"]
        ]  # fmt: skip
        return tracker


def cheapest_pairs(cost: np.ndarray) -> list[tuple[int, int]]:
    """(row, column) of the assignment that pairs as many as can be, and of these the cheapest.

    Args:
        cost: [rows, columns], infinite where two cannot be a pair.
    """
    possible = np.isfinite(cost)
    rows, columns = np.flatnonzero(possible.any(axis=1)), np.flatnonzero(possible.any(axis=0))
    # Where each has its own nearest there is nothing to weigh, as in nearly every frame; scipy, of
    # which the import alone takes as long as ten searches for faces, is for the others.
    if not len(rows):
        return []
    nearest = cost[rows].argmin(axis=1).tolist()
    if len(set(nearest)) == len(rows):
        return list(zip(rows.tolist(), nearest, strict=True))
    nearest = cost[:, columns].argmin(axis=0).tolist()
    if len(set(nearest)) == len(columns):
        return list(zip(nearest, columns.tolist(), strict=True))
    from scipy.optimize import linear_sum_assignment

    pairs = zip(*linear_sum_assignment(np.minimum(cost, _NEVER)), strict=True)
    return [(int(row), int(column)) for row, column in pairs if possible[row, column]]


def look_of(faces: np.ndarray) -> np.ndarray:
    """float64 [n, d] unit vectors of faces uint8 [n, S, S, 3]: coarse colours, brightness apart.

    Two looks of one person have a product near 1, of two persons usually below 0.8. It tells who
    of two faces that meet is which, and no more: it is far too coarse to know anybody again by.
    """
    from PIL import Image

    small = [
        np.asarray(Image.fromarray(face).resize((8, 8), Image.Resampling.BOX)) for face in faces
    ]
    flat = np.array(small, np.float64).reshape(len(faces), 192) if small else np.zeros((0, 192))
    return _unit(flat - flat.mean(axis=1, keepdims=True))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _apart(boxes: np.ndarray) -> np.ndarray:
    """Whether each of [n, 4] overlaps no other."""
    from neurogaze_fast.deploy.vision.network import overlap

    return np.array([(overlap(box, boxes) > _NEAR).sum() <= 1 for box in boxes], bool)
