"""What is said of one model, for people and for the Hugging Face Hub, made from its own files.

Nothing here is written by hand: provenance is the manifest's, scores are those of metrics.json, so
a card cannot speak of other weights than those beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurogaze_fast.artifacts import read_manifest
from neurogaze_fast.deploy.licence import FERPLUS, FERPLUS_AT_LENGTH, licence
from neurogaze_fast.deploy.vision.crop import MARGIN
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import CheckpointError
from neurogaze_fast.evaluation.metrics_file import read_metrics
from neurogaze_fast.student.model_file import MODEL_FILE

RULES = {"majority": "majority (the literature's)", "ties_shared": "argmax, ties shared"}
NOT_FOR = (
    "**Not for** decisions about people: not at work, in schools, in health, law or policing, nor "
    "to tell what somebody feels. An expression is not an emotion; RESPONSIBLE_USE.md of the "
    "source code has the whole list."
)


@dataclass(frozen=True)
class Described:
    """What a model's folder says of it."""

    sha256: str
    file_bytes: int
    provenance: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Described:
        """Manifest and metrics.json of a folder that holds a model.

        Raises:
            CheckpointError: missing or altered. ArtifactError: metrics.json is none.
        """
        file = Path(folder) / MODEL_FILE
        manifest = read_manifest(file, CheckpointError)
        metrics = read_metrics(file, manifest["sha256"])
        return cls(manifest["sha256"], manifest["bytes"], manifest["provenance"], metrics)

    @property
    def once(self) -> dict[str, Any]:
        """Scores on valid, each face once; empty where the run has none."""
        return self.metrics.get("once", {}).get("valid") or {}

    @property
    def temperature(self) -> float:
        """What graphs divide the logits by."""
        return float(self.metrics.get("once", {}).get("temperature", 1.0))

    @property
    def data_set(self) -> str:
        """Kind of the set trained on."""
        return "demo" if self.provenance["synthetic"] else str(self.provenance["data"]["source"])

    @property
    def licence(self) -> str:
        """The line of its terms."""
        return licence(self.data_set, self.provenance["synthetic"])


def card(model: Described) -> str:
    """The Markdown of a model: what it is, its scores, its calibration, its terms."""
    return "\n".join(_lines(model)) + "\n"


def readme(model: Described) -> str:
    """README.md as the Hub takes it: the metadata block, then :func:`card`."""
    name = f"neurogaze_fast, {model.provenance['architecture']}"
    tags = ["facial-expression-recognition", "emotion", "neurogaze_fast", model.data_set]
    tags += ["synthetic"] if model.provenance["synthetic"] else []
    block = {
        "license": "other",
        "license_name": "see-model-card",
        "library_name": "neurogaze_fast",
        "pipeline_tag": "image-classification",
        "tags": tags,
        "metrics": ["accuracy", "f1"],
        **({"model-index": [_index(model, name)]} if model.once else {}),
    }
    # JSON is YAML: every value on a line of its own key.
    yaml = "".join(f"{key}: {json.dumps(value)}\n" for key, value in block.items())
    use = (
        "```python\nfrom neurogaze_fast.deploy import Predictor\n\n"
        'predictor = Predictor.from_pretrained("OWNER/NAME")  # or the folder\n'
        'print(predictor.predict("face.png"))\n```\n'
    )
    return f"---\n{yaml}---\n\n# {name}\n\n{use}\n{card(model)}"


def config_json(model: Described) -> bytes:
    """config.json: for the Hub and other programs; this package reads the manifest instead."""
    facts = model.provenance
    config = {
        "architectures": [facts["architecture"]],
        "model_type": "neurogaze_fast",
        "id2label": dict(enumerate(EMOTIONS)),
        "label2id": {name: number for number, name in enumerate(EMOTIONS)},
        "image_size": facts["size"],
        "num_channels": facts["channels"],
        "crop_margin": MARGIN,
        "temperature": model.temperature,
        "synthetic": facts["synthetic"],
        "licence": model.licence,
        "model_sha256": model.sha256,
    }
    return (json.dumps(config, indent=2) + "\n").encode()


def describe_folder(folder: Path) -> None:
    """Write README.md and config.json of a folder that holds a model with a public manifest.

    Raises:
        as :meth:`Described.read`.
    """
    model = Described.read(folder)
    (folder / "README.md").write_text(readme(model), encoding="utf-8")
    (folder / "config.json").write_bytes(config_json(model))


def _lines(model: Described) -> Iterator[str]:
    facts, once = model.provenance, model.once
    yield "| | |"
    yield "|---|---|"
    yield (
        f"| Network | `{facts['architecture']}`, {facts['size']} px, {_channels(facts)}; "
        f"{model.file_bytes / 1e6:.1f} MB; SHA-256 `{model.sha256[:16]}...` |"
    )
    yield f"| Output | a probability of each of: {', '.join(EMOTIONS)}; valence and arousal |"
    yield f"| Trained on | {_trained_on(facts)} |"
    yield f"| Taught by | {_taught_by(facts)} |"
    if "options" in facts:
        options = ", ".join(f"{k} {v}" for k, v in sorted(facts["options"].items()))
        yield f"| Options | {options} |"
    chosen = facts["selected"]
    yield f"| Epoch | {chosen['epoch']}, by {chosen['by']} on {chosen['on']} |"
    yield f"| Licence | `license: other`: {model.licence} |"
    yield ""
    if not once:
        yield "No scores were stored with these weights."
    else:
        yield from _scores(model)
    yield ""
    if model.licence == FERPLUS:
        yield f"**Licence.** {FERPLUS_AT_LENGTH}"
        yield ""
    yield NOT_FOR


def _channels(facts: dict[str, Any]) -> str:
    return "one grey channel" if facts["channels"] == 1 else f"{facts['channels']} channels"


def _trained_on(facts: dict[str, Any]) -> str:
    data = facts["data"]
    rows = f", {facts['training_rows']} images" if "training_rows" in facts else ""
    if facts["synthetic"]:
        return f"**drawn faces**{rows}: it knows nothing of real ones"
    bank = facts.get("bank") or {}
    eeg = "**simulated** EEG" if bank.get("synthetic") else "EEG"
    prior = f"; prototype bank of {eeg} (SHA-256 `{bank['sha256'][:16]}...`)" if bank else ""
    digest = str(data.get("sha256", ""))[:16]
    return f"{data['source']}{rows} (SHA-256 `{digest}...`), and nothing else{prior}"


def _taught_by(facts: dict[str, Any]) -> str:
    teacher = facts.get("kd_teacher")
    if not teacher:
        return "the raters' votes"
    models = ", ".join(f"`{sha[:16]}...`" for sha in teacher.get("models", [teacher["sha256"]]))
    marked = "; **one of them learned from drawn faces**" if teacher.get("synthetic") else ""
    return f"the mean of the models {models}{marked}"


def _scores(model: Described) -> Iterator[str]:
    once = model.once
    without = once.get("without_duplicates")
    yield (
        "Scores on the set's own valid split, which also chose the epoch, of **one run**; each "
        "face is seen once, as `predict` does. In brackets 95 % intervals over images."
    )
    yield ""
    yield "| rule | images | accuracy, % | macro-F1, % | who knows the votes: accuracy |"
    yield "|---|---|---|---|---|"
    ceiling = (once.get("vote_ceiling") or {}).get("accuracy")
    yield _row("argmax", once["n"], once["8way"], ceiling)
    if without:
        yield _row("argmax, without duplicates", without["n"], without["8way"], None)
    for rule, name in RULES.items():
        whole = (once.get("rules") or {}).get(rule)
        part = ((without or {}).get("rules") or {}).get(rule)
        if whole:
            yield _row(name, whole["n"], whole, whole["ceiling"]["accuracy"])
        if part:
            yield _row(f"{name}, without duplicates", part["n"], part, part["ceiling"]["accuracy"])
    mirrored = model.metrics.get("valid")
    if mirrored:
        yield _row("argmax, mean with the mirror image", mirrored["n"], mirrored["8way"], None)
    yield ""
    if without:
        yield (
            f"{once['duplicates']['n']} of the images are also training images: the rows without "
            "duplicates are the ones to quote."
        )
        yield ""
    yield "| expression | images | recall, % | images without duplicates | recall, % |"
    yield "|---|---|---|---|---|"
    for name in EMOTIONS:
        cells = [name]
        for scores in (once, without):
            cells += _recall(scores, name)
        yield f"| {' | '.join(cells)} |"
    yield ""
    votes = once.get("votes")
    if votes and votes.get("after"):
        before, after = votes["before"], votes["after"]
        yield (
            f"**Calibration.** The logits are divided by {model.temperature:.3f}, fitted to the "
            "raters' votes on valid. Cross-fitted on its halves, confidence and the share of votes "
            f"differ by {100 * after['ece']:.1f} % on average (before: {100 * before['ece']:.1f}), "
            f"and the Jensen-Shannon divergence to the votes is {after['jsd']:.3f} nats (before: "
            f"{before['jsd']:.3f}), the negative log-likelihood {after['nll']:.3f} (the votes' "
            f"own entropy: {after['entropy']:.3f})."
        )


def _row(name: str, n: int, scores: dict[str, Any], ceiling: float | None) -> str:
    shown = [_share(scores, key) for key in ("accuracy", "macro_f1")]
    best = "" if ceiling is None else f"{100 * ceiling:.1f}"
    return f"| {name} | {n} | {shown[0]} | {shown[1]} | {best} |"


def _share(scores: dict[str, Any], key: str) -> str:
    interval = (scores.get("intervals") or {}).get(key)
    edges = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"{100 * scores[key]:.1f}{edges}"


def _recall(scores: dict[str, Any] | None, name: str) -> list[str]:
    if not scores or not scores["n_by_emotion"].get(name):
        return ["0", ""]
    form = scores["8way"]
    low, high = form["recall_intervals"][name]
    value = f"{100 * form['recall'][name]:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
    return [str(scores["n_by_emotion"][name]), value]


def _index(model: Described, name: str) -> dict[str, Any]:
    """The Hub's model-index: the argmax scores."""
    form = model.once["8way"]
    values = [
        {
            "type": kind,
            "value": round(form[key], 4),
            "name": f"{words}, argmax rule, each face once",
        }
        for kind, key, words in (
            ("accuracy", "accuracy", "accuracy"),
            ("f1", "macro_f1", "macro-F1"),
        )
    ]
    task = {"type": "image-classification", "name": "facial expression recognition"}
    data = {"type": model.data_set, "name": model.data_set, "split": "valid"}
    return {"name": name, "results": [{"task": task, "dataset": data, "metrics": values}]}
