"""Score a run on a face set and write what came out into a folder of its own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.config import to_dict
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ArtifactError, ConfigError, OutputExistsError
from neurogaze_fast.evaluation.calibration import Scaling, probabilities
from neurogaze_fast.evaluation.circumplex import expected_va
from neurogaze_fast.evaluation.config import EvaluateConfig
from neurogaze_fast.evaluation.feature_plots import plot_features, plot_geometry
from neurogaze_fast.evaluation.features import (
    agreement,
    bank_geometry,
    bank_of,
    cells_of_votes,
    class_means,
    features_of,
    neighbour_map,
    principal_plane,
)
from neurogaze_fast.evaluation.group_plots import plot_groups
from neurogaze_fast.evaluation.groups import group_scores
from neurogaze_fast.evaluation.latex import latex_table
from neurogaze_fast.evaluation.metrics_file import METRICS_FILE, read_json
from neurogaze_fast.evaluation.report import write_report
from neurogaze_fast.evaluation.run_record import RunRecord, describe_set, find_faces, same_set
from neurogaze_fast.evaluation.scoring import (
    Predictions,
    Temperatures,
    draw_split,
    predict_split,
    scaling_of,
    score,
)
from neurogaze_fast.evaluation.training_images import TrainingImages
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.labels import renormalised
from neurogaze_fast.faces.manifest import manifest_column

WRITTEN_BY = "evaluate"


def evaluate_set(
    run: RunRecord, config: EvaluateConfig, device: torch.device
) -> tuple[dict[str, Any], Path]:
    """Score one split of a set; return (metrics.json, the folder it and the rest lie in).

    The folder holds metrics.json, report.html, confusion.png, reliability.png, circumplex.png,
    scores.tex and predictions.csv, with --groups also groups.png, with --features features.png and
    geometry.png. Without --split it is valid of the set trained on; of another
    set all, where it has no official split, else valid.

    Raises:
        OutputExistsError: the folder holds something that evaluate did not write for this model.
        ConfigError, DataError, ArtifactError: the set cannot be read or scored.
    """
    if config.out is not None:
        claim_folder(config.out, run)
    kind, faces = find_faces(
        run,
        config.faces,
        config.data,
        neutral_frames=config.neutral_frames,
        on_conflict=config.on_conflict,
    )
    same = same_set(run, faces)
    whole = not same and not getattr(faces, "official_split", True)
    split = config.split or ("all" if whole else "valid")
    folder = config.out or run.folder / "evaluation" / f"{kind}-{split}"
    claim_folder(folder, run)
    how: dict[str, Any] = {
        "size": run.metadata["size"],
        "flip": run.metadata.get("flip", False) if config.flip is None else config.flip,
        "device": device,
        "batch_size": config.batch_size,
    }
    model = run.model.to(device)
    predictions = predict_split(model, faces, split, **how)
    scaling = _foreign_scaling(run)
    if same:
        temperatures = _recorded(run)
        if temperatures is None and split not in ("valid", "all"):  # a run of an older version
            temperatures = Temperatures.fitted(predict_split(model, faces, "valid", **how))
        scaling = scaling_of(split, temperatures)
    scored = score(predictions, _training_images(run, faces, same), scaling)
    grouped = None
    if config.groups is not None:
        grouped = _by_group(config.groups, kind, faces, predictions)
    metrics: dict[str, Any] = {
        split: scored.scores,
        "synthetic": faces.synthetic or run.metadata["synthetic"],
        "synthetic_bank": run.synthetic_bank,
        "selected": run.metadata["selected"],
        "model_sha256": run.model_sha256,
        "data": describe_set(kind, faces, same),
        "flip": how["flip"],
        "written_by": WRITTEN_BY,
    }
    if grouped is not None:
        metrics["groups"] = grouped
    _create(folder)
    if config.features:
        metrics["features"] = draw_features(
            run, predictions, folder, device, f"{kind}, {split}", config.batch_size
        )
    # First, so that a folder left half-written by an interruption can be written again.
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    atomic_write(folder / METRICS_FILE, text.encode())
    atomic_write(folder / "scores.tex", latex_table(metrics).encode())
    atomic_write(folder / "predictions.csv", predictions_csv(predictions))
    draw_split(scored, folder, f"{kind}, {split}, {len(predictions.labels)} images")
    if grouped is not None:
        plot_groups(grouped["column"], grouped, folder / "groups.png")
    write_report(
        folder,
        config=to_dict(config),
        metrics=metrics,
        history=[],
        provenance={"model_sha256": run.model_sha256, "set": metrics["data"], "run": run.metadata},
        title=f"NeuroGaze run {run.folder.resolve().name} on {kind}, {split}",
    )
    return metrics, folder


def predictions_csv(predictions: Predictions) -> bytes:
    """A row per image: row, name, label, predicted, eight probabilities, valence, arousal.

    `row` and `name` are the data set's; the probabilities are the model's own, before temperature
    scaling; valence and arousal are the read-out ``expected``.
    """
    predicted = probabilities(predictions.logits)
    read_out = expected_va(predicted)
    part, index = predictions.part, predictions.index
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "name", "label", "predicted", *EMOTIONS, "valence", "arousal"])
    answers = predictions.logits.argmax(axis=1)
    for i, (row, name) in enumerate(zip(part.rows[index], part.names[index], strict=True)):
        names = [EMOTIONS[predictions.labels[i]], EMOTIONS[answers[i]]]
        numbers = [f"{value:.6f}" for value in (*predicted[i], *read_out[i])]
        writer.writerow([int(row), str(name), *names, *numbers])
    return text.getvalue().encode("utf-8", errors="backslashreplace")


def _by_group(column: str, kind: str, faces: FaceSet, found: Predictions) -> dict[str, Any]:
    """Scores by the groups in a manifest's column.

    Raises:
        ConfigError: the set is no manifest. DataError: no such column, or it holds no groups.
    """
    if kind != "manifest":
        raise ConfigError(
            f"--groups names a column of a manifest, and this set is of kind {kind}. Write a csv "
            "with image_path, label_name and the column, and give it with --faces manifest."
        )
    values = manifest_column(Path(faces.source), column)
    groups = np.array([values[int(row)] for row in found.part.rows[found.index]])
    return {"column": column, **group_scores(found.logits, found.labels, groups)}


def draw_features(
    run: RunRecord,
    found: Predictions,
    folder: Path,
    device: torch.device,
    title: str,
    batch_size: int,
) -> dict[str, Any]:
    """Write features.png and geometry.png; return what metrics.json says of them."""
    bank = bank_of(run.folder)
    vectors = features_of(
        run.model, found.part.images[found.index], size=run.metadata["size"], device=device,
        batch_size=batch_size,
    )  # fmt: skip
    plane, shares = principal_plane(vectors)
    planes = [(f"PCA ({100 * shares[0]:.0f} and {100 * shares[1]:.0f} % of the variance)", plane)]
    if (near := neighbour_map(vectors)) is not None:
        planes.append(("t-SNE (distances between clusters mean nothing)", near))
    grid = 5 if bank is None else bank[1]
    cells = cells_of_votes(renormalised(found.part.votes[found.index]), grid)
    plot_features(planes, found.labels, cells, grid, folder / "features.png", title)
    means = class_means(vectors, found.labels)
    asked = None if bank is None else bank_geometry(*bank)
    compared = None if asked is None else agreement(means, asked)
    plot_geometry(means, asked, compared, folder / "geometry.png", title)
    return {"variance": shares, "bank": compared}


def _training_images(run: RunRecord, faces: FaceSet, same: bool) -> TrainingImages:
    if same and "train" in faces.splits:
        return TrainingImages.of_split(faces["train"])
    return TrainingImages.load(run.folder, run.metrics.get("training_images"))


def _foreign_scaling(run: RunRecord) -> Scaling:
    """The temperature for a set the model was not trained on: that of the run's own valid."""
    temperature = run.metrics.get("temperature")
    if temperature is None:
        return Scaling("unavailable: the run recorded no temperature of its own valid split")
    votes = run.metrics.get("vote_temperature")
    return Scaling("fitted on valid of the set trained on", float(temperature), votes)


def _recorded(run: RunRecord) -> Temperatures | None:
    """The temperatures the run fitted; None where it is of a version that had not both."""
    faces, votes = (run.metrics.get(name) for name in ("temperature", "vote_temperature"))
    if faces is None or votes is None:
        return None
    return Temperatures(float(faces), float(votes))


def claim_folder(folder: Path, run: RunRecord, file: str = METRICS_FILE) -> None:
    """Refuse a folder with anything in it but an earlier evaluation of the same model.

    Args:
        file: the one that tells which model it was.

    Raises:
        OutputExistsError: there is something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        there = read_json(folder / file) if folder.is_dir() else {}
    except ArtifactError:
        there = {}
    if there.get("written_by") != WRITTEN_BY or there.get("model_sha256") != run.model_sha256:
        raise OutputExistsError(
            f"{folder} exists and was left alone: it is not an evaluation of this very model. "
            "Choose another --out, or move it away."
        )


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise ConfigError(
            f"{folder} cannot be created ({cause.strerror}). Choose a folder with --out."
        ) from cause
