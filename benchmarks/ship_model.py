"""Makes the model inside the package from a finished run: weights, scores, graph, model card.

    python -m benchmarks.ship_model runs/NAME --data FERPLUS

Weights of convolutions and the classifier are stored as float16 (half the bytes); what is scored,
and what the temperature is fitted to, is the file as it is shipped. Nothing of the machine that
made it goes in.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from neurogaze_fast.artifacts import atomic_write, sha256_file, write_artifact
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import open_engine
from neurogaze_fast.deploy.export.config import ExportConfig
from neurogaze_fast.deploy.export.exporting import export
from neurogaze_fast.deploy.export.hub import public_graph, public_provenance, public_report
from neurogaze_fast.deploy.model_card import Described, card, describe_folder
from neurogaze_fast.deploy.shipped import SHIPPED
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.evaluation.metrics_file import METRICS_FILE
from neurogaze_fast.evaluation.run_record import find_faces, read_run
from neurogaze_fast.evaluation.scoring import Temperatures, predict_split, scaling_of, score
from neurogaze_fast.evaluation.training_images import TrainingImages
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import load_model, save_model
from neurogaze_fast.student.model_file import MODEL_FILE

CPU = torch.device("cpu")
CARD = Path(__file__).parents[1] / "MODEL_CARD.md"
BEGIN, END = "<!-- shipped model: begin -->", "<!-- shipped model: end -->"
"""Between them MODEL_CARD.md holds what is said of the shipped model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="the set it was trained on")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    words = parser.parse_args()
    ship(words.run, words.data, words.out)


def ship(folder: Path, data: Path | None, out: Path) -> None:
    """Write `out` anew from the run in `folder`."""
    run = read_run(folder)
    kind, faces = find_faces(run, None, data)
    metadata = public_provenance(run)
    metadata["data"]["source"] = kind
    if out.exists():
        shutil.rmtree(out)
    state = {
        name: value.half() if value.ndim > 1 else value
        for name, value in run.model.state_dict().items()
    }
    save_model(out / MODEL_FILE, run.model, state, metadata)
    model, _ = load_model(out)
    how = {"size": metadata["size"], "device": CPU}
    training = TrainingImages.of_split(faces["train"])
    once = predict_split(model, faces, "valid", **how)
    mirrored = predict_split(model, faces, "valid", **how, flip=True)
    metrics = {
        "once": {
            "valid": score(once, training, scaling_of("valid", None)).scores,
            "temperature": Temperatures.fitted(once).votes,
            "temperature_from": "votes of valid, each face once",
        },
        "valid": score(mirrored, training, scaling_of("valid", None)).scores,
        "synthetic": run.metadata["synthetic"],
        "selected": run.metadata["selected"],
        "model_sha256": sha256_file(out / MODEL_FILE),
    }
    atomic_write(out / METRICS_FILE, (json.dumps(metrics, indent=1) + "\n").encode())
    config = ExportConfig(run=out, data=data, parity_faces=4000)
    for engine, precision in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        done = export(replace(config, engine=engine, precision=precision))
        print(engine, precision, "passed" if done.report and done.report["passed"] else "FAILED")
    _forget_machine(out, kind)
    _expected(out)
    describe_folder(out)
    if out == SHIPPED:
        CARD.write_text(with_card(CARD.read_text(), card(Described.read(out))))
    scores = metrics["once"]["valid"]
    print(json.dumps({k: scores["8way"][k] for k in ("accuracy", "macro_f1")}), scores["votes"])


def _forget_machine(out: Path, kind: str) -> None:
    """Take folders and the system's name out of the graph's manifest and the reports."""
    graph = open_graph(out / "export" / "fp32.onnx")
    write_artifact(graph.path, graph.data, public_graph(graph.metadata))
    for path in (out / "export").glob("*.parity.json"):
        report = public_report(json.loads(path.read_text()), kind)
        atomic_write(path, (json.dumps(report, indent=2) + "\n").encode())


def with_card(text: str, body: str) -> str:
    """MODEL_CARD.md with another shipped model's part."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{body}{END}{after}"


def _expected(out: Path) -> None:
    """The answers for ten drawn faces, which tests/deploy/test_shipped.py compares with."""
    engine = open_engine(out, "torch")
    faces = np.repeat(draw_faces("valid", 10)[0][..., None], 3, axis=3)
    probabilities = engine.run(faces)[0]
    answers = {
        "labels": [EMOTIONS[i] for i in probabilities.argmax(1)],
        "probabilities": probabilities.round(6).tolist(),
    }
    atomic_write(out / "expected.json", (json.dumps(answers) + "\n").encode())


if __name__ == "__main__":
    main()
