"""Everything a finished run leaves beside its model: metrics, plots, fingerprint, report."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neurogaze_fast.artifacts import atomic_write, sha256_file
from neurogaze_fast.config import to_dict
from neurogaze_fast.evaluation.fingerprint import SWITCHES, write_fingerprint
from neurogaze_fast.evaluation.metrics_file import METRICS_FILE
from neurogaze_fast.evaluation.plots import plot_bank, plot_curves
from neurogaze_fast.evaluation.report import write_report
from neurogaze_fast.evaluation.scoring import (
    Predictions,
    Temperatures,
    draw_split,
    predict_split,
    scaling_of,
    score,
)
from neurogaze_fast.evaluation.training_images import TrainingImages, save_training_images
from neurogaze_fast.evaluation.valid_logits import save_valid_logits
from neurogaze_fast.student.config import LEARNABLE
from neurogaze_fast.student.controls import prototypes_and_cells
from neurogaze_fast.student.geometry_watch import binding
from neurogaze_fast.student.inference import load_model
from neurogaze_fast.student.model_file import MODEL_FILE

if TYPE_CHECKING:
    from neurogaze_fast.student.run import TrainingRun


def write_results(run: TrainingRun) -> dict[str, Any]:
    """Score the selected model from its file, write every result, and return metrics.json.

    The scores come from the verified file, not from memory, so that they belong to what is shipped.
    """
    folder, faces = run.folder, run.faces
    model, metadata = load_model(folder)
    history = run.trainer.history
    how: dict[str, Any] = {"size": metadata["size"], "device": run.device, "flip": metadata["flip"]}
    model = model.to(run.device)
    found = {
        split: predict_split(model, faces, split, **how)
        for split in ("valid", "test")
        if split in faces.splits
    }
    temperatures = Temperatures.fitted(found["valid"])
    training = TrainingImages.of_split(faces["train"])
    metrics: dict[str, Any] = {}
    for split, predictions in found.items():
        scored = score(predictions, training, scaling_of(split, temperatures))
        metrics[split] = scored.scores
        title = f"{split}, {len(predictions.labels)} images"
        draw_split(scored, folder, title, "" if split == "valid" else f"_{split}")
    if metadata["selected"]["epoch"] != len(history):
        last = predict_split(run.trainer.scored_model, faces, "valid", **how)
        metrics["last"] = {"valid": score(last, training, scaling_of("valid", None)).scores}
    metrics["synthetic"] = metadata["synthetic"]
    metrics["synthetic_bank"] = run.bank is not None and run.bank.synthetic
    metrics["selected"] = metadata["selected"]
    metrics["model_sha256"] = sha256_file(folder / MODEL_FILE)
    metrics["temperature"] = temperatures.labels
    metrics["vote_temperature"] = temperatures.votes
    metrics["once"] = _each_face_once(run, found["valid"])
    metrics["training_images"] = save_training_images(folder, faces["train"])
    metrics["data"] = {"sha256": metadata["data"]["sha256"]}
    metrics["geo"] = binding(history, run.config)
    metrics["valid_logits"] = _save_logits(folder, found["valid"])
    metrics["prototypes"] = _learned(run)
    _write_json(folder / METRICS_FILE, metrics)
    switches = {name: value for name, value in to_dict(run.config).items() if name in SWITCHES}
    fingerprint = write_fingerprint(folder, metadata, switches, run.device.type)
    _write_json(folder / "history.json", history)
    plot_curves(history, folder / "curves.png", best=metadata["selected"]["epoch"])
    if run.bank is not None:
        bank = run.bank
        plot_bank(bank.centres, bank.counts, bank.filled, folder / "bank.png")
    _write_duplicates(run)
    write_report(
        folder,
        config=json.loads((folder / "config.json").read_text())["config"],
        metrics=metrics,
        history=history,
        provenance={**metadata, "fingerprint_sha256": fingerprint},
    )
    return metrics


def _each_face_once(run: TrainingRun, valid: Predictions) -> dict[str, Any]:
    """Scores on valid without mirror images, and the temperature that exported graphs carry.

    An engine sees a face once, so what it is divided by must have been fitted to just that.
    """
    assert valid.plain is not None  # predict_split gives them
    once = replace(valid, logits=valid.plain)
    scored = score(once, TrainingImages.of_split(run.faces["train"]), scaling_of("valid", None))
    return {
        "valid": scored.scores,
        "temperature": Temperatures.fitted(once).votes,
        "temperature_from": "votes of valid, each face once",
    }


def _learned(run: TrainingRun) -> dict[str, Any] | None:
    """Write the prototypes that were trained with the student, and say how far they went.

    Those of the last epoch, unit rows [K, D] in learned_prototypes.npy. None where they are frozen.
    """
    if run.config.prototypes not in LEARNABLE or run.bank is None:
        return None
    learned = run.trainer.run_step.objective.prototypes
    assert learned is not None
    end = torch.nn.functional.normalize(learned.detach().float().cpu(), dim=1).numpy()
    start, _ = prototypes_and_cells(run.bank, run.config)
    cosines = (start * end).sum(1)
    buffer = io.BytesIO()
    np.save(buffer, end, allow_pickle=False)
    atomic_write(run.folder / "learned_prototypes.npy", buffer.getvalue())
    return {"mean_cosine_to_start": float(cosines.mean()), "least": float(cosines.min())}


def _save_logits(folder: Path, valid: Predictions) -> dict[str, object]:
    part, index = valid.part, valid.index
    return save_valid_logits(folder, valid.logits, part.votes[index], part.rows[index])


def _write_json(path: Any, value: Any) -> None:
    atomic_write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _write_duplicates(run: TrainingRun) -> None:
    text = io.StringIO()
    columns = ("split", "row", "name", "train_row", "train_name")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(run.faces.duplicates)
    atomic_write(run.folder / "duplicates.csv", text.getvalue().encode("utf-8", "backslashreplace"))
