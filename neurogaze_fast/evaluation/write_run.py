"""Everything a finished run leaves beside its model: metrics, plots, duplicates, report."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from neurogaze_fast.artifacts import atomic_write, sha256_file
from neurogaze_fast.evaluation.metrics import confusion
from neurogaze_fast.evaluation.plots import plot_bank, plot_confusion, plot_curves
from neurogaze_fast.evaluation.report import write_report
from neurogaze_fast.evaluation.scoring import score_split
from neurogaze_fast.student.inference import MODEL_FILE, load_model

if TYPE_CHECKING:
    from neurogaze_fast.student.run import TrainingRun


def write_results(run: TrainingRun) -> dict[str, Any]:
    """Score the selected model from its file, write every result, and return metrics.json.

    The scores come from the verified file, not from memory, so that they belong to what is shipped.
    """
    folder, faces = run.folder, run.faces
    model, facts = load_model(folder)
    model = model.to(run.device)
    history = run.trainer.history
    metrics: dict[str, Any] = {}
    for split in ("valid", "test"):
        if split not in faces.splits:
            continue
        scores, logits, labels = score_split(
            model, faces, split, size=facts["size"], device=run.device, flip=facts["flip"]
        )
        metrics[split] = scores
        name = "confusion.png" if split == "valid" else f"confusion_{split}.png"
        plot_confusion(confusion(logits, labels), folder / name, f"{split}, {len(labels)} images")
    if facts["selected"]["epoch"] != len(history):
        last, _, _ = score_split(
            run.trainer.scored_model, faces, "valid", size=facts["size"], device=run.device,
            flip=facts["flip"],
        )  # fmt: skip
        metrics["last"] = {"valid": last}
    metrics["synthetic"] = facts["synthetic"]
    metrics["synthetic_bank"] = run.bank is not None and run.bank.synthetic
    metrics["selected"] = facts["selected"]
    metrics["model_sha256"] = sha256_file(folder / MODEL_FILE)
    _write_json(folder / "metrics.json", metrics)
    _write_json(folder / "history.json", history)
    plot_curves(history, folder / "curves.png", best=facts["selected"]["epoch"])
    if run.bank is not None:
        bank = run.bank
        plot_bank(bank.centres, bank.counts, bank.filled_from.any(1), folder / "bank.png")
    _write_duplicates(run)
    write_report(
        folder,
        config=json.loads((folder / "config.json").read_text())["config"],
        metrics=metrics,
        history=history,
        provenance=facts,
    )
    return metrics


def _write_json(path: Any, value: Any) -> None:
    atomic_write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _write_duplicates(run: TrainingRun) -> None:
    text = io.StringIO()
    columns = ("split", "row", "name", "train_row", "train_name")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(run.faces.duplicates)
    atomic_write(run.folder / "duplicates.csv", text.getvalue().encode())
