"""One teacher from its configuration to the files in its folder."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
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
from neurogaze_fast.teacher.baselines import mean_prediction, ridge_prediction
from neurogaze_fast.teacher.config import TrainTeacherConfig, maps_folder
from neurogaze_fast.teacher.model import TEACHER_FILE, TeacherNet, embed, save_teacher
from neurogaze_fast.teacher.plots import plot_scores, plot_teacher_curves
from neurogaze_fast.teacher.scores import DRAWS, INTERVAL, TARGETS, bootstrap, scores, trial_means
from neurogaze_fast.teacher.splits import (
    SplitRows,
    labelled_subjects,
    rows_for,
    split_subjects,
    subject_folds,
)
from neurogaze_fast.teacher.training import TeacherTrainer
from neurogaze_fast.teacher.views import ResidentMaps
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
MODELS = ("teacher", "ridge", "mean")


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
        self.folds = subject_folds(names, config.folds, config.seed) if config.folds else []
        support = sorted(set(maps.subjects) - set(names))
        self.metadata: dict[str, Any] = {
            "maps": {
                "path": str(maps_folder(config)),
                "sha256": maps.sha256,
                "windows": len(maps),
                "size": list(maps.maps.shape[2:]),
                "bands": list(maps.bands),
                "names": list(maps.names),
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
            "environment": environment(),
        }
        if config.resume is not None:
            self.seal = self._check_resumed()
        else:
            with new_folder(folder) as draft:
                self.seal = write_config(draft, replace(config, out=folder), self.metadata)
        self.store = ResidentMaps.of(maps, self.device)

    def train(self, stop: threading.Event) -> dict[str, Any]:
        """Train the fixed-split teacher and the folds' teachers, score, write; return the scores.

        Raises:
            Interrupted: `stop` was set, after saving.
        """
        main = self._trainer("teacher", self.rows, stop, validate=True)
        history = main.fit()
        plot_teacher_curves(history, self.folder / "curves.png")
        result: dict[str, Any] = {
            "synthetic": self.maps.synthetic,
            "fixed_split": self._fixed_split(main.model),
        }
        if self.folds:
            result |= self._leave_subjects_out(stop)
            plot_scores(result, self.folder / "scores.png")
        text = json.dumps(seal(result), indent=2, allow_nan=False) + "\n"
        atomic_write(self.folder / SCORES_FILE, text.encode())
        metadata = {
            **self.metadata,
            "options": to_dict(self.config),
            "scores": {key: value for key, value in result.items() if key != "folds"},
        }
        save_teacher(self.folder / TEACHER_FILE, main.model, metadata)
        return result

    def _trainer(
        self, name: str, rows: SplitRows, stop: threading.Event, *, validate: bool = False
    ) -> TeacherTrainer:
        """A trainer at the start, or where its newest intact checkpoint stands."""
        torch.manual_seed(self.config.seed)
        folder = self.folder / CHECKPOINTS / name
        trainer = TeacherTrainer(
            self.config,
            TeacherNet(len(self.maps.bands), self.config.width),
            self.store,
            rows,
            folder=folder,
            console=self.console,
            stop=stop,
            title=name,
            name_row=self._name_row,
            validate=self._validate if validate else None,
            run=f"{self.seal} {name}",
        )
        if has_begun(folder):
            state, path, skipped = newest_checkpoint(folder, "last")
            for reason in skipped:
                self.console.print(f"[yellow]Passed over:[/] {escape(reason)}")
            trainer.load_state_dict(state, str(path))
            where = f"Continuing the {name} from step {trainer.step} of {trainer.total_steps}."
            self.console.print(where, highlight=False)
        return trainer

    def _validate(self, model: TeacherNet) -> dict[str, float]:
        found = scores(self._predict(model, self.rows.held), self._target(self.rows.held))
        return {f"ccc_{name}": found[name]["ccc"] or 0.0 for name in TARGETS}

    def _predict(self, model: TeacherNet, rows: np.ndarray) -> np.ndarray:
        va = embed(model, self.store.maps, rows, device=self.device)[1]
        broken = int((~np.isfinite(va)).any(1).sum())
        if broken:
            raise NonFiniteError(
                f"The teacher diverged: its answers to {broken} of {len(va)} windows are not "
                "finite. Lower --learning-rate and start a new run."
            )
        return va

    def _target(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([self.maps.valence[rows], self.maps.arousal[rows]], axis=1)

    def _predictions(
        self, model: TeacherNet, rows: SplitRows
    ) -> tuple[dict[str, np.ndarray], float]:
        """Teacher and baselines on the held-out windows of `rows`; the ridge's penalty."""
        maps, target = self.maps, self._target(rows.train)
        ridge, alpha = ridge_prediction(
            maps.power[rows.train], target, maps.subject[rows.train], maps.power[rows.held]
        )
        mean = mean_prediction(target, len(rows.held))
        teacher = self._predict(model, rows.held)
        return dict(zip(MODELS, (teacher, ridge, mean), strict=True)), alpha

    def _fixed_split(self, model: TeacherNet) -> dict[str, Any]:
        """Scores on the bank's subjects: nothing was chosen on them, but they are one draw."""
        predictions, alpha = self._predictions(model, self.rows)
        return {
            "train": list(self.train_names),
            "valid": list(self.valid_names),
            "ridge_alpha": alpha,
            "window": {
                name: scores(value, self._target(self.rows.held))
                for name, value in predictions.items()
            },
        }

    def _leave_subjects_out(self, stop: threading.Event) -> dict[str, Any]:
        everybody = set(labelled_subjects(self.maps))
        folds, order = [], []
        pooled: dict[str, list[np.ndarray]] = {name: [] for name in MODELS}
        for number, held in enumerate(self.folds):
            rows = rows_for(self.maps, sorted(everybody - set(held)), held)
            trainer = self._trainer(f"fold-{number}", rows, stop)
            trainer.fit()
            predictions, alpha = self._predictions(trainer.model, rows)
            entry: dict[str, Any] = {
                "subjects": list(held),
                "windows": len(rows.held),
                "ridge_alpha": alpha,
            }
            for level in ("window", "trial"):
                entry[level] = {}
                for name, value in predictions.items():
                    seen, target, _ = self._at(level, value, rows.held)
                    entry[level][name] = scores(seen, target)
            folds.append(entry)
            order.append(rows.held)
            for name, value in predictions.items():
                pooled[name].append(value)
        everyone = np.concatenate(order)
        values = {name: np.concatenate(parts) for name, parts in pooled.items()}
        result: dict[str, Any] = {"folds": folds, "pooled": {}}
        for level in ("window", "trial"):
            pairs = {name: self._at(level, value, everyone) for name, value in values.items()}
            _, target, subject = pairs["teacher"]
            result["pooled"][level] = bootstrap(
                {name: part[0] for name, part in pairs.items()},
                target,
                subject,
                draws=DRAWS,
                seed=self.config.seed,
            )
        result["bootstrap"] = {"unit": "subject", "draws": DRAWS, "interval": INTERVAL}
        return result

    def _at(
        self, level: str, prediction: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(prediction, target, subject) per window, or per trial."""
        target, subject = self._target(rows), self.maps.subject[rows]
        if level == "window":
            return prediction, target, subject
        return trial_means(prediction, target, self.maps.trial[rows], subject)

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
