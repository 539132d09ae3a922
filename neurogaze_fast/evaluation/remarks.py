"""What must be known to read the scores, in sentences: for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neurogaze_fast.emotions import EMOTIONS

_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
}
INTERVALS = (
    "In brackets: 95 % intervals over images (recall: Wilson; the others: percentile bootstrap). "
    "They do not hold what another seed of the training would change."
)


def remarks(metrics: dict[str, Any]) -> list[str]:
    """Sentences about what was chosen on what, and about each split in metrics.json."""
    found = [*_selection(metrics), *_set(metrics)]
    for name, scores in metrics.items():
        if isinstance(scores, dict) and "8way" in scores:
            found += [f"{name}: {text}" for text in _split(scores)]
    return found


def _selection(metrics: dict[str, Any]) -> Iterator[str]:
    if selected := metrics.get("selected"):
        note = f"The weights are those of epoch {selected['epoch']}, "
        if selected["by"] == "last":
            yield note + "the last: nothing was chosen on a scored split."
        else:
            on = selected["on"]
            if metrics.get("data", {}).get("same_as_training") is False:
                yield f"{note}chosen by {selected['by']} on {on} of the set trained on."
            else:
                yield (
                    f"{note}chosen by {selected['by']} on {on}: the scores on {on} flatter the "
                    "model a little for it."
                )
        if lost := selected.get("lost"):
            yield (
                f"Epoch {lost['epoch']} had scored better, but the file that kept its weights was "
                "damaged."
            )


def _set(metrics: dict[str, Any]) -> Iterator[str]:
    data = metrics.get("data", {})
    if data.get("same_as_training") is False:
        yield (
            "This is not the set the model was trained with. It was used for nothing but this "
            "scoring: weights, epoch and temperature come from the set trained on."
        )
    elif data.get("same_as_training"):
        yield "The set is the one the model was trained with (same pixels and votes)."
    for split, reasons in data.get("left_out", {}).items():
        for reason, count in reasons.items():
            yield f"{count} rows of {split} were left out: {reason}."
    yield from data.get("notes", [])
    if mapping := data.get("mapping"):
        pairs = ", ".join(f"{found} = {emotion}" for found, emotion in mapping.items())
        yield f"Labels as found in the set, and the emotion each was taken for: {pairs}."


def _split(scores: dict[str, Any]) -> Iterator[str]:
    if bounds := scores["8way"].get("intervals"):
        named = [
            f"{_NAMES[s]} {100 * low:.1f} to {100 * high:.1f}" for s, (low, high) in bounds.items()
        ]
        yield f"95 % intervals over images, 8-way: {', '.join(named)}."
    absent = [emotion for emotion in EMOTIONS if emotion not in scores["present"]]
    if absent:
        yield (
            f"no image of {', '.join(absent)}; 8-way macro-F1 counts each as 0, present-only "
            "scores leave them out."
        )
    if duplicates := scores.get("duplicates"):
        n = duplicates["n"]
        if not duplicates["known"]:
            yield (
                f"whether images also occur in the training set is unknown ({duplicates['why']})."
            )
        elif n:
            yield f"{n} of {scores['n']} images also occur in the training set."
        else:
            yield "no image also occurs in the training set."
    if calibration := scores.get("calibration"):
        yield _calibration("calibration", calibration, brier="Brier")
    if votes := scores.get("votes"):
        own = f"to the raters' votes (whose own entropy is {votes['before']['entropy']:.3f} nats)"
        yield _calibration(own, votes, jsd="JSD")
    if points := scores.get("images_per_macro_f1_point"):
        least, most = min(points, key=points.__getitem__), max(points, key=points.__getitem__)
        text = f"one point of macro-F1 is {points[least]:.1f} {least} images"
        yield text + (f", or {points[most]:.1f} {most} images." if most != least else ".")
    if "valence_arousal" in scores:
        yield _valence_arousal(scores["valence_arousal"])


def _calibration(title: str, calibration: dict[str, Any], **last: str) -> str:
    """Scores before and after scaling; `last`: the key of a third score and its name."""
    ((key, name),) = last.items()

    def numbers(part: dict[str, float]) -> str:
        return f"ECE {100 * part['ece']:.2f} %, NLL {part['nll']:.3f}, {name} {part[key]:.3f}"

    text = f"{title}: {numbers(calibration['before'])}"
    if calibration["after"] is None:
        return f"{text}; temperature scaling: {calibration['source']}."
    found = calibration["temperature"]
    values = found if isinstance(found, list) else [found]
    named = " and ".join(f"{value:.3f}" for value in values)
    after = numbers(calibration["after"])
    return f"{text}; after temperature scaling {after} (T = {named}, {calibration['source']})."


def _valence_arousal(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no annotated valence and arousal (V/A) in this set."
    parts = []
    for name in ("valence", "arousal"):
        ccc = found[name]["ccc"]
        value = "undefined" if ccc is None else f"{ccc:.3f}"
        parts.append(f"{name} CCC {value}, RMSE {found[name]['rmse']:.3f}")
    return f"read-out `{found['read_out']}` against {found['n']} annotations: {'; '.join(parts)}."
