"""Measured trials in, map set out: z-score by subject, maps, and what they were made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurogaze_fast.eeg.bad_channels import positions_of
from neurogaze_fast.eeg.decide import Brief, decide
from neurogaze_fast.eeg.map_files import SHARD_WINDOWS
from neurogaze_fast.eeg.map_operator import interpolated, operators
from neurogaze_fast.eeg.maps import FLAGS, OPTIONAL_ROWS, ROWS, MapSet
from neurogaze_fast.eeg.measure import Found, Part
from neurogaze_fast.eeg.recording import Trial
from neurogaze_fast.eeg.scaling import scaled_by_subject, subject_scale

Progress = Callable[[str, int, int | None], None]


def film_of(trial: Trial) -> str:
    """What a person watched, the same text for everybody who watched it."""
    return f"{trial.source}:{trial.film or trial.clip}"


@dataclass
class _Source:
    """Counts of one source, and the sum of its feature before any correction."""

    subjects: dict[str, None] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    flagged: Counter = field(default_factory=Counter)
    total: Any = 0.0

    def summary(self) -> dict[str, Any]:
        counts = ("trials", "windows", "labelled_trials", "labelled_windows")
        mean = self.total / self.counts["windows"]
        return {
            "subjects": list(self.subjects),
            **{name: self.counts[name] for name in counts},
            **{f"windows_{flag}": self.flagged[flag] for flag in FLAGS},
            "mean_feature": [[round(value, 6) for value in row] for row in mean.tolist()],
        }


class Assembly:
    """The map set of everything that was found, one block of windows in memory at a time.

    What was found is gone through three times: to decide what is used, to scale every subject
    (whose windows are held together), and to make the maps.
    """

    def __init__(
        self,
        found: Callable[[], Iterator[Found]],
        settings: dict[str, Any],
        edges: dict[str, tuple[float, float]],
        sites: tuple[str, ...] | None,
        progress: Progress,
    ) -> None:
        """Decide and scale.

        Args:
            found: gives everything, in the order of the recordings, as often as it is called.
            settings: the options that the maps are made with, as they stand in provenance.
            edges: of the bands asked for, Hz.
            sites: that every trial was reduced to; None: as the first one has them.
            progress: called with ("maps", how many are done, how many there are).

        Raises:
            DataError: no window is left; says why trials were left out.
        """
        self._found, self._settings, self._edges = found, settings, edges
        self._progress = progress
        decision = decide(found(), sites, tuple(edges))
        self.kept, self.names, self.bands = decision.kept, decision.names, decision.bands
        self._counts = decision.counts
        self._at = {brief.at: trial for trial, brief in enumerate(self.kept)}
        subjects = dict.fromkeys(brief.trial.subject for brief in self.kept)
        self._subjects = {name: number for number, name in enumerate(subjects)}
        films = sorted({film_of(brief.trial) for brief in self.kept})
        self._clips = {name: number for number, name in enumerate(films)}
        self._sources: dict[str, _Source] = {}
        self._caps: dict[bytes, tuple[int, np.ndarray]] = {}
        self._own_places = False
        self._scale()
        self._operators = operators(
            self.names, self._positions(), settings["size"], settings["method"]
        )

    def __len__(self) -> int:
        return sum(brief.windows for brief in self.kept)

    def blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """The windows' columns, SHARD_WINDOWS at a time; the last block has what is left."""
        waiting: list[dict[str, np.ndarray]] = []
        held = done = 0
        for trial, brief, part in self._parts():
            waiting.append(self._columns(trial, brief, part))
            held += brief.windows
            while held >= SHARD_WINDOWS or (held and trial == len(self.kept) - 1):
                columns = {n: np.concatenate([w[n] for w in waiting]) for n in waiting[0]}
                block = {name: value[:SHARD_WINDOWS] for name, value in columns.items()}
                waiting = [{name: value[SHARD_WINDOWS:] for name, value in columns.items()}]
                held = len(waiting[0]["start"])
                done += len(block["start"])
                maps = interpolated(block["power"], self._operators, block.get("cap"))
                yield {"maps": maps, **block}
                self._progress("maps", done, len(self))

    def frame(self, files: list[dict[str, str]], *, synthetic: bool) -> MapSet:
        """The set's names, tables and provenance, with no window in it.

        Args:
            files: names and hashes of what the trials were read from.
            synthetic: whether any recording is.
        """
        counts, positions = self._counts, self._positions()
        shapes = {
            "maps": (len(self.bands), *self._operators[0].shape),
            "power": (len(self.bands), len(self.names)),
        }
        no_rows: dict[str, Any] = {
            name: np.empty((0, *shapes.get(name, ())), dtype) for name, dtype in ROWS.items()
        }
        if positions is not None:
            no_rows["cap"] = np.empty(0, OPTIONAL_ROWS["cap"])
        stand_ins = {b.trial.path.name: b.trial.stand_ins for b in self.kept if b.trial.stand_ins}
        provenance = {
            "synthetic": synthetic,
            "options": self._settings,
            "operator": self._operators[0].fingerprint,
            "caps": 0 if positions is None else len(positions),
            "stand_ins": stand_ins,
            "band_edges": {name: list(self._edges[name]) for name in self.bands},
            "files": files,
            "sources": {name: source.summary() for name, source in self._sources.items()},
            "left_out": dict(counts.left_out.most_common()),
            "left_out_examples": counts.examples,
            "windows_left_out": dict(counts.windows),
        }
        return MapSet(
            **no_rows,
            subjects=tuple(self._subjects),
            names=self.names,
            bands=self.bands,
            provenance=provenance,
            clips=tuple(self._clips),
            level=self.level,
            spread=self.spread,
            positions=positions,
        )

    def _parts(self) -> Iterator[tuple[int, Brief, Part]]:
        """(number of the trial, what is known of it, its windows) of all that is used."""
        for at, found in enumerate(self._found()):
            trial = self._at.get(at)
            if trial is not None and isinstance(found.kept, Part):
                yield trial, self.kept[trial], found.kept

    def _scale(self) -> None:
        """Each subject's scale, and everything else that needs a look at all windows."""
        shape = (len(self._subjects), len(self.bands), len(self.names))
        self.level, self.spread = np.empty(shape), np.empty(shape)
        left = Counter(brief.trial.subject for brief in self.kept)
        held: dict[str, list[np.ndarray]] = {}
        for _, brief, part in self._parts():
            self._count(brief, part)
            name = brief.trial.subject
            held.setdefault(name, []).append(part.power)
            left[name] -= 1
            if not left[name]:
                power = np.concatenate(held.pop(name))
                level, spread = subject_scale(power, np.zeros(len(power), np.int64), 1)
                one = self._subjects[name]
                self.level[one], self.spread[one] = level[0], spread[0]

    def _count(self, brief: Brief, part: Part) -> None:
        source = self._sources.setdefault(brief.trial.source, _Source())
        source.subjects[brief.trial.subject] = None
        source.total = source.total + part.level * float(brief.windows)
        rated = brief.trial.valence is not None
        source.counts.update(
            trials=1,
            windows=brief.windows,
            labelled_trials=int(rated),
            labelled_windows=brief.windows * rated,
        )
        for flag, bit in FLAGS.items():
            source.flagged[flag] += int(((part.flags & bit) > 0).sum())
        where = self._places(part)
        self._caps.setdefault(where.tobytes(), (len(self._caps), where))
        self._own_places |= part.positions is not None

    def _places(self, part: Part) -> np.ndarray:
        return positions_of(self.names) if part.positions is None else part.positions

    def _positions(self) -> np.ndarray | None:
        """[P, C, 2] of the different caps; None where all sites lie where their names say."""
        return np.stack([where for _, where in self._caps.values()]) if self._own_places else None

    def _columns(self, trial: int, brief: Brief, part: Part) -> dict[str, np.ndarray]:
        """What is written of a trial's windows, but for the maps."""
        facts, one = brief.trial, self._subjects[brief.trial.subject]
        nobody = np.zeros(brief.windows, np.int64)
        scale = self.level[one : one + 1], self.spread[one : one + 1]
        each: dict[str, Any] = {
            "valence": np.nan if facts.valence is None else facts.valence,
            "arousal": np.nan if facts.arousal is None else facts.arousal,
            "subject": one,
            "trial": trial,
            "clip": self._clips[film_of(facts)],
        }
        if self._own_places:
            each["cap"] = self._caps[self._places(part).tobytes()][0]
        columns = {
            "power": scaled_by_subject(part.power, nobody, *scale),
            "start": part.start,
            "flags": part.flags,
        }
        if part.signals is not None:
            columns["signals"] = part.signals
        kinds = ROWS | OPTIONAL_ROWS
        return columns | {n: np.full(brief.windows, v, kinds[n]) for n, v in each.items()}
