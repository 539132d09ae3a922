"""Does an engine give the answers of the model it was made from? Measured on real faces."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neurogaze_fast.deploy.engines.base import Engine
from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import DataError, NeurogazeError

if TYPE_CHECKING:
    from rich.table import Table

    from neurogaze_fast.evaluation.run_record import RunRecord
    from neurogaze_fast.faces.faceset import FaceSet
    from neurogaze_fast.student.networks import Student

TIE = 1e-3
"""A face whose two best probabilities are closer than this is a tie: rounding may decide it."""
AFFECT = 1e-3
"""How far valence and arousal may lie from what the engine's own probabilities give."""
_SINGLE_CALLS, _BATCH_CALLS, _BATCH = 200, 20, 64
_SECONDS = 3.0
"""No timing takes much longer than this."""


class ParityError(NeurogazeError):
    """An engine does not give the answers of the model it was made from."""

    exit_code = 3


@dataclass(frozen=True)
class Limit:
    """What a precision may change at most."""

    difference: float | None
    """Largest difference of a probability, or None."""
    agreement: float
    """Smallest share of faces with the same label, ties left out: broken where the whole 95 %
    interval of what was measured lies below it, so that one face of a thousand decides nothing."""
    macro_f1_loss: float | None
    """Largest loss of macro-F1, or None."""


LIMITS = {
    "fp32": Limit(1e-4, 1.0, None),
    "fp16": Limit(None, 0.995, None),
    "bf16": Limit(None, 0.995, None),
    "int8": Limit(None, 0.97, 0.01),
}


@dataclass(frozen=True)
class ParityFaces:
    """Faces for a comparison."""

    images: np.ndarray
    """uint8 [N, S, S, 3]."""
    labels: np.ndarray
    """int64 [N]."""
    source: str
    synthetic: bool


def take_faces(faces: FaceSet, split: str, count: int, size: int) -> ParityFaces:
    """Up to `count` labelled faces of a split, evenly spread over it, at `size` pixels; a few
    whose images are damaged are left out.

    Raises:
        DataError: the set has no such split, or no labelled face in it.
    """
    part = faces[split]
    index, targets = part.labelled("argmax")
    if not len(index):
        raise DataError(f"{faces.source} has no labelled face in {split!r}: name another --data.")
    chosen = np.unique(np.linspace(0, len(index) - 1, min(count, len(index))).astype(np.int64))
    part, damaged = part.subset(index[chosen]).usable()
    labels = np.delete(targets[chosen].argmax(1), list(damaged))
    images = np.stack([prepare_face(image, size) for image in part.images])
    where = f"{split} of {faces.source}"
    return ParityFaces(images, labels, where, faces.synthetic)


def compare(
    engine: Engine,
    precision: str,
    model: Student,
    size: int,
    faces: ParityFaces,
    *,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """The report: an engine against the unfolded student in float32 torch, on the same pixels.

    Args:
        model: in evaluation mode; `size`: the side it was trained with.
        temperature: what the engine's graph divides the logits by.

    Returns:
        JSON: differences, scores of both, time, whether the limits of `precision` hold, and why
        not. Times are of this machine as busy as it is.
    """
    wanted = _reference(model, size, faces.images, temperature)
    found, affect = engine.run(faces.images)
    best = np.sort(wanted, axis=1)
    tie = best[:, -1] - best[:, -2] < TIE
    same = wanted.argmax(1) == found.argmax(1)
    clear = same[~tie]
    scores = [_scores(p, faces.labels) for p in (wanted, found)]
    coordinates = wanted @ _coordinates()
    own = found.astype(np.float64) @ _coordinates()
    report: dict[str, Any] = {
        "engine": engine.name,
        "detail": engine.detail,
        "precision": precision,
        "input_size": engine.input_size,
        "faces": {"n": len(wanted), "source": faces.source, "synthetic": faces.synthetic},
        "max_probability_difference": float(np.abs(wanted - found).max()),
        "max_valence_arousal_difference": float(np.abs(coordinates - affect).max()),
        "valence_arousal_error": float(np.abs(own - affect).max()),
        "label_agreement": float(same.mean()),
        "label_agreement_without_ties": float(clear.mean()) if len(clear) else 1.0,
        "label_agreement_interval": _interval(clear),
        "ties": int(tie.sum()),
        "torch": scores[0],
        "of_engine": scores[1],
        "accuracy_change": scores[1]["accuracy"] - scores[0]["accuracy"],
        "macro_f1_change": scores[1]["macro_f1"] - scores[0]["macro_f1"],
        "time": _times(engine, faces.images),
        "limits": asdict(LIMITS[precision]),
    }
    reasons = _broken(report, LIMITS[precision])
    return {**report, "passed": not reasons, "reasons": reasons}


def remarks_of(run: RunRecord, faces: FaceSet, side: int, temperature: float) -> list[str]:
    """What somebody who compares the report with metrics.json should know."""
    remarks = []
    if run.metadata.get("flip"):
        remarks.append(
            "The run's own scores average each face and its mirror image; the graph sees the face "
            "once, and so does this report."
        )
    if temperature == 1:
        remarks.append(
            "The probabilities are the network's own: no temperature was fitted to the raters' "
            "votes, or --no-calibrate was given."
        )
    stored = next(iter(faces.splits.values())).subset(np.array([0])).images.shape[1]
    if stored != side:
        remarks.append(
            f"The set is stored at {stored} pixels and the graph takes {side}: faces were resized "
            f"by an antialiased filter. --input-size {stored} resizes inside the graph instead, "
            "exactly as training did."
        )
    return remarks


def table(report: dict[str, Any]) -> Table:
    """The report for people."""
    from rich.table import Table

    shown = Table(title=f"{report['detail']}, {report['faces']['n']} faces", title_justify="left")
    shown.add_column("what")
    shown.add_column("torch, fp32", justify="right")
    shown.add_column(f"{report['engine']}, {report['precision']}", justify="right")
    for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1")):
        pair = [f"{100 * report[side][key]:.2f} %" for side in ("torch", "of_engine")]
        shown.add_row(name, *pair)
    low, high = report["label_agreement_interval"]
    rows = {
        "same label": f"{100 * report['label_agreement']:.2f} %",
        "same label, ties left out": f"{100 * report['label_agreement_without_ties']:.2f} %",
        "95 % interval of it": f"{100 * low:.2f} to {100 * high:.2f} %",
        "largest change of a probability": f"{report['max_probability_difference']:.2e}",
        "largest change of V/A": f"{report['max_valence_arousal_difference']:.2e}",
    }
    time_ = report["time"]
    rows["one face, median"] = f"{time_['one_p50_ms']:.3f} ms"
    rows["one face, 99th of 100"] = f"{time_['one_p99_ms']:.3f} ms (n = {time_['one_n']})"
    rows[f"batches of {_BATCH}"] = f"{time_['images_per_second']:.0f} img/s"
    if "file_bytes" in report:
        rows["file"] = f"{report['file_bytes'] / 1e6:.1f} MB"
    for name, value in rows.items():
        shown.add_row(name, "", value)
    return shown


def _reference(
    model: Student, size: int, images: np.ndarray, temperature: float = 1.0
) -> np.ndarray:
    """float64 [N, 8]: the path that evaluation takes, on the grey that decoding makes of faces."""
    import torch
    from PIL import Image

    from neurogaze_fast.student.inference import predict_logits

    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    device = next(model.parameters()).device
    logits = predict_logits(model, grey, size=size, device=device, batch_size=64)
    return (torch.from_numpy(logits).double() / temperature).softmax(1).numpy()


def _coordinates() -> np.ndarray:
    from neurogaze_fast.emotions import VALENCE_AROUSAL

    return np.array([VALENCE_AROUSAL[name] for name in EMOTIONS])


def _scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    from neurogaze_fast.evaluation.metrics import split_scores

    logits = np.log(np.maximum(probabilities, 1e-12))
    scores = split_scores(logits, labels, np.zeros(len(labels), bool))["8way"]
    return {"accuracy": float(scores["accuracy"]), "macro_f1": float(scores["macro_f1"])}


def _interval(same: np.ndarray) -> list[float]:
    """Wilson's 95 % interval of a share of faces; all of none is all."""
    from neurogaze_fast.evaluation.intervals import wilson

    return list(wilson(int(same.sum()), len(same))) if len(same) else [1.0, 1.0]


def _times(engine: Engine, images: np.ndarray) -> dict[str, Any]:
    single, many = images[:1], np.resize(images, (_BATCH, *images.shape[1:]))
    ones = _timed(engine, single, _SINGLE_CALLS)
    batches = _timed(engine, many, _BATCH_CALLS)
    return {
        "one_n": len(ones),
        "one_p50_ms": 1000 * float(np.percentile(ones, 50)),
        "one_p99_ms": 1000 * float(np.percentile(ones, 99)),
        "batch": _BATCH,
        "batch_n": len(batches),
        "images_per_second": _BATCH / float(np.median(batches)),
    }


def _timed(engine: Engine, images: np.ndarray, calls: int) -> list[float]:
    engine.run(images)  # warm
    taken: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(taken) < calls and (len(taken) < 2 or time.perf_counter() < end):
        begin = time.perf_counter()
        engine.run(images)
        taken.append(time.perf_counter() - begin)
    return taken


def _broken(report: dict[str, Any], limit: Limit) -> list[str]:
    reasons = []
    difference = report["max_probability_difference"]
    if limit.difference is not None and difference > limit.difference:
        reasons.append(
            f"a probability changed by {difference:.2e}, more than {limit.difference:.0e}"
        )
    low, high = report["label_agreement_interval"]
    if high < limit.agreement:
        agreement = 100 * report["label_agreement_without_ties"]
        reasons.append(
            f"{agreement:.3f} % of the labels are the same (ties left out; 95 % interval "
            f"{100 * low:.2f} to {100 * high:.2f} %), fewer than {100 * limit.agreement:g} %"
        )
    loss = -report["macro_f1_change"]
    if limit.macro_f1_loss is not None and loss > limit.macro_f1_loss:
        reasons.append(
            f"macro-F1 lost {100 * loss:.2f} points, more than {100 * limit.macro_f1_loss:g}"
        )
    error = report["valence_arousal_error"]
    if not error < AFFECT:
        reasons.append(
            f"valence and arousal lie {error:.2e} from what its probabilities give, more than "
            f"{AFFECT:.0e}"
        )
    return reasons
