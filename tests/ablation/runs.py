"""Finished runs without training: folders with the files an ablation reads."""

import json

from neurogaze_fast.emotions import EMOTIONS


def scores(macro_f1, accuracy):
    return {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "balanced_accuracy": macro_f1,
        "recall": dict.fromkeys(EMOTIONS, macro_f1),
    }


def write_run(out, arm, seed, curve, *, accuracy=0.7, seconds=10.0):
    """A run whose macro-F1 follows `curve` and ends at its last value."""
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
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.json").write_text(json.dumps(history))
    return folder
