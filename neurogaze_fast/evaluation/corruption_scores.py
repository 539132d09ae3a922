"""How runs stand corrupted faces: errors by kind and strength, and what they come to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neurogaze_fast.artifacts import atomic_write
from neurogaze_fast.errors import ConfigError
from neurogaze_fast.evaluation.config import EvaluateConfig
from neurogaze_fast.evaluation.corruption_plots import plot_corruptions, plot_examples
from neurogaze_fast.evaluation.corruptions import KINDS, STRENGTHS, corrupt
from neurogaze_fast.evaluation.evaluate_set import claim_folder
from neurogaze_fast.evaluation.intervals import summary_of
from neurogaze_fast.evaluation.metrics import SUMMARY, confusion
from neurogaze_fast.evaluation.run_record import (
    describe_set,
    find_faces,
    read_run,
    same_set,
)
from neurogaze_fast.evaluation.scoring import labelled_part
from neurogaze_fast.student.inference import predict_logits

if TYPE_CHECKING:
    from rich.table import Table

FILE = "corruptions.json"
Say = Callable[[str], None]


def score_corruptions(
    config: EvaluateConfig, device: torch.device, say: Say = lambda line: None
) -> tuple[dict[str, Any], Path]:
    """Score RUN and those of --against on the same corrupted faces; return (result, its folder).

    The folder gets corruptions.json, corruptions.csv, corruptions.png and
    corruption_examples.png.

    Raises:
        OutputExistsError: the folder holds something else. ConfigError: two runs of one name.
        ConfigError, DataError, ArtifactError: a run or the set cannot be read or scored.
    """
    paths = [config.run, *config.against]
    names = _names(paths)
    records = [read_run(path) for path in paths]
    kind, faces = find_faces(
        records[0], config.faces, config.data, neutral_frames=config.neutral_frames,
        on_conflict=config.on_conflict,
    )  # fmt: skip
    same = same_set(records[0], faces)
    whole = not same and not getattr(faces, "official_split", True)
    split = config.split or ("all" if whole else "valid")
    folder = config.out or records[0].folder / "evaluation" / f"{kind}-{split}-corruptions"
    claim_folder(folder, records[0], FILE)
    part, index, labels = labelled_part(faces, split)
    images = part.images[index]
    runs: dict[str, dict[str, Any]] = {name: {} for name in names}

    def answered(pictures: np.ndarray) -> dict[str, dict[str, float]]:
        found = {}
        for name, record in zip(names, records, strict=True):
            flip = record.metadata.get("flip", False) if config.flip is None else config.flip
            logits = predict_logits(
                record.model.to(device), pictures, size=record.metadata["size"], device=device,
                batch_size=config.batch_size, flip=bool(flip),
            )  # fmt: skip
            values = summary_of(confusion(logits, labels), present_only=False).tolist()
            found[name] = dict(zip(SUMMARY, values, strict=True))
        return found

    for name, scores in answered(images).items():
        runs[name] = {"clean": scores, "kinds": {kind: [] for kind in KINDS}}
    for what in KINDS:
        for strength in STRENGTHS:
            pictures = corrupt(images, what, strength, seed=config.seed)
            for name, scores in answered(pictures).items():
                runs[name]["kinds"][what].append(scores)
        say(f"{what}: done")
    for name in names:
        runs[name] |= summary(runs[name], runs[names[0]])
    result = {
        "reference": names[0],
        "seed": config.seed,
        "split": split,
        "n": len(labels),
        "runs": runs,
        "models": {n: r.model_sha256 for n, r in zip(names, records, strict=True)},
        "model_sha256": records[0].model_sha256,
        "synthetic": faces.synthetic or any(r.metadata["synthetic"] for r in records),
        "data": describe_set(kind, faces, same),
        "written_by": "evaluate",
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    atomic_write(folder / FILE, text.encode())
    atomic_write(folder / "corruptions.csv", corruptions_csv(result))
    plot_corruptions(result, folder / "corruptions.png")
    plot_examples(images, config.seed, folder / "corruption_examples.png")
    return result, folder


def summary(run: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """What a run's errors come to, after Hendrycks & Dietterich 2019.

    Args:
        run: ``{"clean": scores, "kinds": {kind: [scores of each strength]}}``; reference: likewise.

    Returns:
        ``mean_accuracy`` over kinds and strengths; ``mce``: mean over kinds of (sum of errors over
        strengths / the reference's); ``relative_mce``: the same of (errors beyond the clean one),
        what a run loses where the reference loses 1; ``by_kind``: both for each kind. A quotient by
        0 or less is None, and left out of the mean.
    """
    accuracy = {kind: [s["accuracy"] for s in each] for kind, each in run["kinds"].items()}
    by_kind = {}
    for kind, values in accuracy.items():
        errors = 1 - np.array(values)
        theirs = 1 - np.array([s["accuracy"] for s in reference["kinds"][kind]])
        lost = errors.sum() - len(errors) * (1 - run["clean"]["accuracy"])
        lost_there = theirs.sum() - len(theirs) * (1 - reference["clean"]["accuracy"])
        by_kind[kind] = {
            "mean_accuracy": float(np.mean(values)),
            "ce": _quotient(errors.sum(), theirs.sum()),
            "relative_ce": _quotient(lost, lost_there),
        }
    return {
        "mean_accuracy": float(np.mean(list(accuracy.values()))),
        "mce": _mean([v["ce"] for v in by_kind.values()]),
        "relative_mce": _mean([v["relative_ce"] for v in by_kind.values()]),
        "by_kind": by_kind,
    }


def corruption_table(result: dict[str, Any]) -> Table:
    """A column for each run: clean, mean over corruptions, both errors, accuracy by kind."""
    from rich import box
    from rich.table import Table

    caption = f"accuracy, per cent; mCE and relative mCE: 100 is {result['reference']}"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption)
    table.add_column("", no_wrap=True)
    for name in result["runs"]:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows(result):
        table.add_row(*row)
    return table


def rows(result: dict[str, Any]) -> list[list[str]]:
    """Clean, mean over corruptions, both errors, and each kind's accuracy: of every run."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    runs = result["runs"].values()
    return [
        ["clean", *(percent(run["clean"]["accuracy"]) for run in runs)],
        ["corrupted", *(percent(run["mean_accuracy"]) for run in runs)],
        ["mCE", *(percent(run["mce"]) for run in runs)],
        ["relative mCE", *(percent(run["relative_mce"]) for run in runs)],
        *(
            [kind, *(percent(run["by_kind"][kind]["mean_accuracy"]) for run in runs)]
            for kind in KINDS
        ),
    ]


def corruptions_csv(result: dict[str, Any]) -> bytes:
    """A row for each run, kind and strength (0: clean): run, kind, strength, the three scores."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "kind", "strength", *SUMMARY])
    for name, run in result["runs"].items():
        each = [("clean", 0, run["clean"])]
        each += [
            (kind, strength, scores)
            for kind, every in run["kinds"].items()
            for strength, scores in zip(STRENGTHS, every, strict=True)
        ]
        for kind, strength, scores in each:
            writer.writerow([name, kind, strength, *(f"{scores[s]:.6f}" for s in SUMMARY)])
    return text.getvalue().encode("utf-8", errors="backslashreplace")


def _names(paths: Sequence[Path]) -> list[str]:
    """A short name for each run: as many of the last parts of its path as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise ConfigError("--against names a run twice, or RUN itself. Name each run once.")
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(each) for each in parts]


def _quotient(above: float, below: float) -> float | None:
    return float(above / below) if below > 0 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
