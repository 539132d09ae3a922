"""Finished runs without training: folders with the files an ablation reads."""

import json

import numpy as np

from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.valid_logits import save_valid_logits


def scores(macro_f1, accuracy):
    return {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "balanced_accuracy": macro_f1,
        "recall": dict.fromkeys(EMOTIONS, macro_f1),
    }


def write_answers(folder, logits, votes):
    """The answers of a run for its valid images; returns what its metrics.json says of them."""
    return save_valid_logits(folder, logits, votes, np.arange(len(logits)))


def fingerprint(*, code="aa", threads=1, bank=None, cpu="one"):
    return {
        "code": {"version": "0.1.0", "commit": None, "training_sha256": code},
        "environment": {"threads": threads, "torch": "2", "cpu": cpu, "gpu": None},
        "bank": None if bank is None else {"sha256": bank},
    }


def write_run(
    out, arm, seed, curve, *, accuracy=0.7, seconds=10.0, answers=None, made=None, nll=None
):
    """A run whose macro-F1 follows `curve` and ends at its last value.

    `answers`: (logits, votes) of its valid images; `made`: its fingerprint; `nll`: to the votes.
    """
    folder = out / "runs" / arm / f"seed{seed}"
    folder.mkdir(parents=True)
    valid = {
        "8way": scores(curve[-1], accuracy),
        "n": 100,
        "without_duplicates": {"8way": scores(curve[-1] - 0.01, accuracy)},
        "images_per_macro_f1_point": {"contempt": 2.0, "happiness": 50.0},
    }
    metrics = {
        "valid": valid,
        "synthetic": False,
        "synthetic_bank": True,
        "selected": {"by": "last", "epoch": len(curve)},
    }
    history = [
        {
            "epoch": epoch + 1,
            "seconds": seconds,
            "valid": {"macro_f1": value, "accuracy": accuracy, "balanced_accuracy": value},
        }
        for epoch, value in enumerate(curve)
    ]
    if answers is not None:
        metrics["valid_logits"] = write_answers(folder, *answers)
    if nll is not None:
        valid["votes"] = {"before": {"nll": nll}}
    if made is not None:
        (folder / "fingerprint.json").write_text(json.dumps(made))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.json").write_text(json.dumps(history))
    return folder
