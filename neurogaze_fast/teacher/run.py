"""One teacher from its configuration to the files in its folder."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from neurogaze_fast.artifacts import atomic_write, check_fields, seal
from neurogaze_fast.config import to_dict
from neurogaze_fast.device import pick_device, prepare_torch
from neurogaze_fast.environment import environment
from neurogaze_fast.errors import CheckpointError, ConfigError, NonFiniteError, OutputExistsError
from neurogaze_fast.teacher.config import TrainTeacherConfig, maps_folder
from neurogaze_fast.teacher.folds import baselines, score_split, targets
from neurogaze_fast.teacher.inputs import InputMaker, Inputs
from neurogaze_fast.teacher.model import FILMS_OUT_FILE, TEACHER_FILE, embed, save_teacher
from neurogaze_fast.teacher.networks import TeacherModel, make_network, network_versions
from neurogaze_fast.teacher.plots import plot_scores, plot_teacher_curves
from neurogaze_fast.teacher.scores import TARGETS, scores
from neurogaze_fast.teacher.splits import (
    SPLITS,
    Fold,
    SplitRows,
    clip_folds,
    folds_of,
    labelled_clips,
    labelled_subjects,
    rows_for,
    rows_of,
    split_subjects,
    subject_folds,
)
from neurogaze_fast.teacher.training import TeacherTrainer
from neurogaze_fast.training.checkpoint import has_begun, newest_checkpoint
from neurogaze_fast.training.run_folder import (
    CHECKPOINTS,
    CONFIG_FILE,
    new_folder,
    read_config,
    write_config,
)

if TYPE_CHECKING:
    from neurogaze_fast.eeg.maps import MapSet

SCORES_FILE = "scores.json"
SCORE_KEYS = {"both": "people_and_clips_out", "clips": "clips_out"}
"""Where scores.json has a split; people alone are at its top."""


class TeacherRun:
    """A teacher's folder being written: config.json, checkpoints, scores, plots, the model."""

    def __init__(
        self, config: TrainTeacherConfig, maps: MapSet, folder: Path, console: Console
    ) -> None:
        """Prepare everything; an existing folder is only touched when it is being resumed."""
        self.config, self.maps, self.folder, self.console = config, maps, folder, console
        self.device = pick_device(config.device)
        prepare_torch(config)
        names = labelled_subjects(maps)
        self.train_names, self.valid_names = split_subjects(
            names, config.train_subjects, config.valid_subjects, config.seed
        )
        self.rows = rows_for(maps, self.train_names, self.valid_names)
        self.folds = _folds(config, maps, names)
        self.films_out = _films_out(config, maps, self.valid_names)
        self.inputs = InputMaker(maps, config.normalise, config.model, self.device)
        # Made once before there is a folder: what cannot be made leaves none.
        versions = network_versions(make_network(config.model, maps, config.width))
        support = sorted(set(maps.subjects) - set(names))
        self.metadata: dict[str, Any] = {
            "maps": {
                "path": str(maps_folder(config)),
                "sha256": maps.sha256,
                "windows": len(maps),
                "size": list(maps.maps.shape[2:]),
                "bands": list(maps.bands),
                "names": list(maps.names),
                "clips": len(maps.clips),
                "options": maps.provenance.get("options"),
            },
            "split": {
                "train": list(self.train_names),
                "valid": list(self.valid_names),
                "support": support,
                "windows": {
                    "train": len(self.rows.train),
                    "valid": len(self.rows.held),
                    "support": len(self.rows.support),
                },
            },
            "synthetic": maps.synthetic,
            "environment": environment() | versions,
        }
        if config.resume is not None:
            self.seal = self._check_resumed()
        else:
            with new_folder(folder) as draft:
                self.seal = write_config(draft, replace(config, out=folder), self.metadata)

    def train(self, stop: threading.Event) -> dict[str, Any]:
        """Train the fixed-split teacher and the folds' teachers, score, write; return the scores.

        Raises:
            Interrupted: `stop` was set, after saving.
        """
        main, inputs = self._fitted("teacher", self.rows, stop, validate=True)
        plot_teacher_curves(main.history, self.folder / "curves.png")
        result: dict[str, Any] = {
            "synthetic": self.maps.synthetic,
            "normalise": self.config.normalise,
            "model": self.config.model,
            "fixed_split": self._fixed_split(main.model, inputs),
        }
        lines = {}
        for split, folds in self.folds.items():
            answer = partial(self._answer, stop=stop)
            found, lines[split] = score_split(self.maps, folds, answer, seed=self.config.seed)
            # People out is what earlier versions wrote at the top.
            result |= found if split == "people" else {SCORE_KEYS[split]: found}
        if self.folds:
            plot_scores(result, self.folder / "scores.png")
        text = json.dumps(seal(result), indent=2, allow_nan=False) + "\n"
        atomic_write(self.folder / SCORES_FILE, text.encode())
        line = next((lines[split] for split in SPLITS if lines.get(split) is not None), None)
        metadata = {
            **self.metadata,
            "options": to_dict(self.config),
            "calibration": None if line is None else line.tolist(),
            "scores": _brief(result),
        }
        if self.films_out is not None:
            self._train_films_out(stop, metadata, self.films_out)
        self._save(TEACHER_FILE, main.model, inputs, metadata)
        return result

    def _train_films_out(self, stop: threading.Event, metadata: dict[str, Any], fold: Fold) -> None:
        """The teacher for a bank of films that it never saw, beside the usual one."""
        rows = rows_of(self.maps, fold)
        trainer, inputs = self._fitted(fold.name, rows, stop)
        held = list(fold.clips or ())
        split = {
            **metadata["split"],
            "clips": {"train": sorted(set(self.maps.clips) - set(held)), "held": held},
        }
        metadata = {**metadata, "split": split, "calibration": None, "scores": {}}
        self._save(FILMS_OUT_FILE, trainer.model, inputs, metadata)

    def _save(
        self, file: str, model: TeacherModel, inputs: Inputs, metadata: dict[str, Any]
    ) -> None:
        scale = None if inputs.scale is None else inputs.scale.to_json()
        about = {"normalise": self.config.normalise, "scale": scale}
        save_teacher(self.folder / file, model, {**metadata, **about})

    def _answer(
        self, fold: Fold, rows: SplitRows, *, stop: threading.Event
    ) -> tuple[np.ndarray, np.ndarray]:
        trainer, inputs = self._fitted(fold.name, rows, stop)
        return self._predict(trainer.model, inputs, rows.held), inputs.power

    def _fitted(
        self, name: str, rows: SplitRows, stop: threading.Event, *, validate: bool = False
    ) -> tuple[TeacherTrainer, Inputs]:
        """A trained teacher, from the start or from its newest intact checkpoint."""
        inputs = self.inputs.of(rows.train)
        torch.manual_seed(self.config.seed)
        folder = self.folder / CHECKPOINTS / name
        trainer = TeacherTrainer(
            self.config,
            make_network(self.config.model, self.maps, self.config.width),
            inputs.store,
            rows,
            folder=folder,
            console=self.console,
            stop=stop,
            title=name,
            name_row=self._name_row,
            validate=partial(self._validate, inputs) if validate else None,
            run=f"{self.seal} {name}",
        )
        if has_begun(folder):
            state, path, skipped = newest_checkpoint(folder, "last")
            for reason in skipped:
                self.console.print(f"[yellow]Passed over:[/] {escape(reason)}")
            trainer.load_state_dict(state, str(path))
            where = f"Continuing the {name} from step {trainer.step} of {trainer.total_steps}."
            self.console.print(where, highlight=False)
        trainer.fit()
        return trainer, inputs

    def _validate(self, inputs: Inputs, model: TeacherModel) -> dict[str, float]:
        held = self.rows.held
        found = scores(self._predict(model, inputs, held), targets(self.maps, held))
        return {f"ccc_{name}": found[name]["ccc"] or 0.0 for name in TARGETS}

    def _predict(self, model: TeacherModel, inputs: Inputs, rows: np.ndarray) -> np.ndarray:
        va = embed(model, inputs.store.maps, rows, device=self.device)[1]
        broken = int((~np.isfinite(va)).any(1).sum())
        if broken:
            raise NonFiniteError(
                f"The teacher diverged: its answers to {broken} of {len(va)} windows are not "
                "finite. Lower --learning-rate and start a new run."
            )
        return va

    def _fixed_split(self, model: TeacherModel, inputs: Inputs) -> dict[str, Any]:
        """Scores on the bank's subjects: nothing was chosen on them, but they are one draw."""
        rows = self.rows
        found, alpha = baselines(self.maps, rows, inputs.power, people_out=True, clips_out=False)
        predictions = {"teacher": self._predict(model, inputs, rows.held), **found}
        return {
            "train": list(self.train_names),
            "valid": list(self.valid_names),
            "ridge_alpha": alpha,
            "window": {
                name: scores(value, targets(self.maps, rows.held))
                for name, value in predictions.items()
            },
        }

    def _name_row(self, row: int) -> str:
        maps = self.maps
        who = maps.subjects[maps.subject[row]]
        return f"{who} trial {maps.trial[row]} at {maps.start[row]:g} s"

    def _check_resumed(self) -> str:
        path = self.folder / CONFIG_FILE
        recorded = read_config(path)
        check_fields(recorded, {"maps": {"sha256": str}}, path, ConfigError)
        if recorded["maps"]["sha256"] != self.maps.sha256:
            raise CheckpointError(
                f"{self.config.maps} is not the map set {self.folder} was started with (its hash "
                "differs). Point to the original, or start a new run."
            )
        if (self.folder / TEACHER_FILE).exists():
            raise OutputExistsError(
                f"{self.folder / TEACHER_FILE} exists: this teacher is finished and was left alone."
            )
        return recorded["sha256"]


def teacher_folder(config: TrainTeacherConfig) -> Path:
    """--out, the resumed folder, or a name made of the time."""
    if config.resume is not None:
        return config.resume
    return config.out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-teacher"


def _folds(
    config: TrainTeacherConfig, maps: MapSet, names: tuple[str, ...]
) -> dict[str, list[Fold]]:
    """The folds of every split asked for that these maps allow, the strictest split first."""
    if not config.folds:
        return {}
    people = subject_folds(names, config.folds, config.seed)
    clips = []
    if config.clip_folds and maps.knows_clips:
        clips = clip_folds(*labelled_clips(maps), config.clip_folds, config.seed)
    wanted = [split for split in SPLITS if split in config.splits]
    return {split: folds_of(split, people, clips) for split in wanted if clips or split == "people"}


def _films_out(config: TrainTeacherConfig, maps: MapSet, valid: tuple[str, ...]) -> Fold | None:
    """Validation people and half of the films; None where no split holds films out."""
    if not (config.folds and config.clip_folds and maps.knows_clips and "both" in config.splits):
        return None
    half = clip_folds(*labelled_clips(maps), 2, config.seed)[0]
    return Fold("films-out", valid, half, (0, 0))


def _brief(result: dict[str, Any]) -> dict[str, Any]:
    """The scores without those of every fold."""
    kept = {key: value for key, value in result.items() if key != "folds"}
    for key in SCORE_KEYS.values():
        if key in kept:
            kept[key] = {name: v for name, v in kept[key].items() if name != "folds"}
    return kept
